"""How many steps of features and frames a clip becomes in transformers' audio models.

Computed from what their configs and feature extractors publish: kernels and strides of the
convolutions, sizes of patches and windows.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from transformers import PretrainedConfig, SequenceFeatureExtractor

from ..errors import InvalidArgumentError

# Kernel, stride and padding of a convolution or pooling.
Layer = tuple[int, int, int]

_KNOWN = (
    "a config like Wav2Vec2's (conv_kernel, conv_stride), AST's (patch_size, max_length) or "
    "Whisper's (max_source_positions); for others write an encoder under "
    "@register('encoder', ...)"
)
_FBANK_WINDOW, _FBANK_HOP = 0.025, 0.010  # seconds, of Kaldi's filter banks, which AST reads
# Trained with an attention mask over padded batches where features are normalized by layer: in
# these a row is the same alone and in a batch.  Others are encoded in groups of equal length.
_MASKED = ("hubert", "wav2vec2")
_POOLED = {"qwen2_audio_encoder": ((2, 2, 0),)}


@dataclass(frozen=True, slots=True)
class Framing:
    """What becomes of a clip of so many samples.

    Attributes:
        shortest: samples; a shorter clip is padded with silence.
        window: most samples; None: any number, and features are as long as the clip.
        hop: samples of one step of features.
        layers: from features to hidden states.
        pooling: from hidden states to the last one.
        patches: frames of every clip, where they do not depend on its length.
        masked: padded batches are encoded at once, with an attention mask.
    """

    shortest: int = 1
    window: int | None = None
    hop: int = 1
    layers: tuple[Layer, ...] = ()
    pooling: tuple[Layer, ...] = ()
    patches: int | None = None
    masked: bool = False

    def hidden(self, steps: Any) -> Any:
        """Frames of the hidden states that ``steps`` of features fill (int or tensor)."""
        return _through(self.layers, steps) if self.patches is None else 0 * steps + self.patches

    def frames(self, steps: Any) -> Any:
        """Frames of the last hidden state that ``steps`` of features fill, at least one."""
        found = _through(self.pooling, self.hidden(steps))
        return max(found, 1) if isinstance(found, int) else found.clamp(min=1)

    def steps(self, num_samples: int) -> int:
        """Steps of features that a clip fills."""
        return -(-max(num_samples, self.shortest) // self.hop)


def framing_of(config: PretrainedConfig, extractor: SequenceFeatureExtractor) -> Framing:
    """The framing of a model and its feature extractor.

    Raises:
        InvalidArgumentError: a kind of model that is not known, or the two do not fit.
    """
    kernels, strides = getattr(config, "conv_kernel", None), getattr(config, "conv_stride", None)
    if isinstance(kernels, Sequence) and isinstance(strides, Sequence):
        return _of_convolutions(config, list(zip(kernels, strides, strict=True)))
    if hasattr(config, "frequency_stride"):
        return _of_patches(config, extractor)
    if hasattr(config, "max_source_positions") and hasattr(extractor, "nb_max_frames"):
        hop: int = getattr(extractor, "hop_length", 160)
        framing = Framing(
            window=2 * config.max_source_positions * hop,
            hop=hop,
            layers=((3, 1, 1), (3, 2, 1)),
            pooling=_POOLED.get(config.model_type, ()),
        )
        _must_fit("nb_max_frames", 2 * config.max_source_positions, extractor)
        _must_fit("feature_size", config.num_mel_bins, extractor)
        return framing
    raise InvalidArgumentError("model", _KNOWN, config.model_type)


def _of_convolutions(config: PretrainedConfig, convolutions: list[tuple[int, int]]) -> Framing:
    if getattr(config, "add_adapter", False):
        raise InvalidArgumentError("model.config.add_adapter", "False", True)
    layers = tuple((kernel, stride, 0) for kernel, stride in convolutions)
    if min(min(layer[:2]) for layer in layers) < 1:
        raise InvalidArgumentError("model.config.conv_kernel", "integers >= 1", convolutions)
    shortest = 1
    for kernel, stride, _ in reversed(layers):
        shortest = (shortest - 1) * stride + kernel
    masked = (
        config.model_type in _MASKED
        and getattr(config, "feat_extract_norm", None) == "layer"
        and not getattr(config, "conv_pos_batch_norm", False)
    )
    return Framing(shortest=shortest, layers=layers, masked=masked)


def _of_patches(config: PretrainedConfig, extractor: SequenceFeatureExtractor) -> Framing:
    _must_fit("max_length", config.max_length, extractor)
    _must_fit("num_mel_bins", config.num_mel_bins, extractor)
    size, rate = config.patch_size, extractor.sampling_rate
    across = (config.num_mel_bins - size) // config.frequency_stride + 1
    along = (config.max_length - size) // config.time_stride + 1
    hop = round(_FBANK_HOP * rate)
    return Framing(
        shortest=round(_FBANK_WINDOW * rate),
        window=config.max_length * hop,
        hop=hop,
        patches=across * along + 2,  # two tokens in front, for the class and its distillation
    )


def _must_fit(name: str, value: int, extractor: SequenceFeatureExtractor) -> None:
    if getattr(extractor, name, None) != value:
        got = getattr(extractor, name, None)
        raise InvalidArgumentError(f"feature_extractor.{name}", f"{value}, as the model's", got)


def _through(layers: Sequence[Layer], length: Any) -> Any:
    for kernel, stride, padding in layers:
        length = (length + 2 * padding - kernel) // stride + 1
    return length
