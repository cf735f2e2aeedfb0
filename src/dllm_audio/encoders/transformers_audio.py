"""Any audio model of transformers with hidden states as an encoder."""

from __future__ import annotations

import copy
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pad_sequence
from transformers import PreTrainedModel, SequenceFeatureExtractor

from ..audio.waveforms import checked_waveforms
from ..errors import (
    CheckpointError,
    InvalidArgumentError,
    NonFiniteAudioError,
    ShapeError,
    one_line,
)
from ..outputs import EncoderOutput
from ..parts import register
from ..weights import resolve_directory
from .config import config_from, plain_config
from .framing import framing_of
from .from_transformers import new_extractor, new_model, read_extractor, read_model
from .stored import StoredModel


@register("encoder", "transformers")
class TransformersEncoder(nn.Module):
    """HuBERT, Wav2Vec2, WavLM, AST, or the audio tower of Qwen2-Audio and its like.

    The front end is the model's own feature extractor, run on every clip alone.  A row's frames do
    not depend on its batch: models that were trained with an attention mask get one, all others
    encode rows of equal length together (a fixed window makes all of them equal).  AST's frames
    are patches over time and frequency; each of them counts, whatever the length of the clip.
    Hooks are not pickled.

    Args:
        model: of transformers, with hidden states; of a model that also decodes, its encoder.
        feature_extractor: the one that belongs to it.
        trainable: let gradients reach the weights and let ``train()`` switch on what the model
            does in training.  A frozen encoder stays in evaluation mode.

    Raises:
        InvalidArgumentError: no such model, or a feature extractor that does not fit it.

    Example:
        >>> import torch
        >>> from transformers import HubertConfig, HubertModel, Wav2Vec2FeatureExtractor
        >>> config = HubertConfig(hidden_size=16, num_hidden_layers=2, num_attention_heads=2,
        ...                       intermediate_size=32, num_conv_pos_embedding_groups=4)
        >>> encoder = TransformersEncoder(HubertModel(config), Wav2Vec2FeatureExtractor())
        >>> output = encoder(*encoder.features([torch.randn(16000), torch.randn(8000)]))
        >>> output.last_hidden_state.shape, output.lengths.tolist()
        (torch.Size([2, 49, 16]), [49, 24])
    """

    def __init__(
        self,
        model: PreTrainedModel,
        feature_extractor: SequenceFeatureExtractor,
        *,
        trainable: bool = False,
    ) -> None:
        super().__init__()
        if not isinstance(model, PreTrainedModel):
            raise InvalidArgumentError("model", "a model of transformers", type(model).__name__)
        if not isinstance(feature_extractor, SequenceFeatureExtractor):
            got = type(feature_extractor).__name__
            raise InvalidArgumentError("feature_extractor", "one of transformers for audio", got)
        self.feature_extractor: Any = feature_extractor
        names = getattr(feature_extractor, "model_input_names", None)
        if not names or names[0] != model.main_input_name:
            expected = f"one that gives {model.main_input_name!r}, which the model reads"
            raise InvalidArgumentError("feature_extractor", expected, names)
        self.config = model.config
        self.model = model.get_encoder() if self.config.is_encoder_decoder else model
        self.framing = framing_of(self.config, feature_extractor)
        self.requires_grad_(trainable)
        self.train(trainable)

    @classmethod
    def from_pretrained(
        cls,
        id_or_dir: str | Path,
        *,
        dtype: torch.dtype | None = torch.float32,
        device_map: torch.device | str | None = None,
        revision: str | None = None,
        trainable: bool = False,
    ) -> TransformersEncoder:
        """Load a published audio model, or the audio tower of a larger one.

        Only safetensors are read, strictly; heads of other tasks are passed over.  Code that
        comes with a model is never run.

        Args:
            id_or_dir: local directory or hub id, such as ``"facebook/hubert-base-ls960"``.
            dtype: of the weights; None keeps what the file holds.
            device_map: where the weights are placed; None: the CPU.
            revision: branch, tag or commit on the hub.
            trainable: see the class.

        Raises:
            CheckpointError: missing, incomplete or damaged; names the tensors concerned.
            UnsafeCheckpointError: the checkpoint reaches outside its directory.
        """
        root = resolve_directory(id_or_dir, revision)
        model, extractor = read_model(root, dtype), read_extractor(root)
        try:
            encoder = cls(model, extractor, trainable=trainable)
        except InvalidArgumentError as error:
            raise CheckpointError(f"{root}: {one_line(error)}") from error
        return encoder if device_map is None else encoder.to(device_map)

    @classmethod
    def from_config(cls, values: Mapping[str, Any]) -> TransformersEncoder:
        """An encoder with new weights from what :meth:`to_config` gave.

        Raises:
            CheckpointError: values that are refused, or a class that transformers does not know.
        """
        model, extractor = values.get("model"), values.get("feature_extractor")
        unknown = sorted(values.keys() - {"model", "feature_extractor"})
        if unknown or not isinstance(model, Mapping) or not isinstance(extractor, Mapping):
            raise CheckpointError(
                f"expected objects 'model' and 'feature_extractor', got {unknown}"
            )
        return cls(new_model(config_from(model)), new_extractor(extractor))

    def to_config(self) -> dict[str, Any]:
        """The model's config and that of its feature extractor, as plain JSON values.

        Raises:
            InvalidArgumentError: classes that transformers does not have.
        """
        extractor = json.loads(self.feature_extractor.to_json_string())
        settings = {k: v for k, v in extractor.items() if k != "processor_class"}
        config = {"model": plain_config(self.config), "feature_extractor": settings}
        try:
            found = type(new_extractor(settings))
            config_from(config["model"])
        except CheckpointError as error:
            raise InvalidArgumentError("encoder", "classes of transformers", error) from error
        if found is not type(self.feature_extractor):
            got = type(self.feature_extractor).__name__
            raise InvalidArgumentError("feature_extractor", "a class of transformers", got)
        return config

    def __deepcopy__(self, memo: dict[int, Any]) -> TransformersEncoder:
        twin = type(self).__new__(type(self))
        memo[id(self)] = twin
        vars(twin).update(copy.deepcopy(vars(self), memo))
        return twin

    def __reduce__(self) -> tuple[Any, ...]:
        every = vars(nn.Module()).keys()
        held = {name: value for name, value in vars(self).items() if name not in every}
        held |= dict(self.named_parameters(recurse=False)) | dict(self.named_children())
        held |= {"model": StoredModel.of(self.model), "training": self.training}
        return _restored, (type(self), held)

    @property
    def hidden_size(self) -> int:
        """Width ``E`` of the frames."""
        width: int = getattr(self.config, "hidden_size", None) or self.config.d_model
        return width

    @property
    def num_layers(self) -> int:
        """Transformer layers; there is one hidden state more."""
        return self.config.num_hidden_layers

    @property
    def num_heads(self) -> int:
        """Attention heads of a layer."""
        return self.config.num_attention_heads

    @property
    def sampling_rate(self) -> int:
        """Samples per second that the feature extractor expects."""
        return self.feature_extractor.sampling_rate

    @property
    def window_seconds(self) -> float | None:
        """Longest clip in seconds; None: any length."""
        window = self.framing.window
        return None if window is None else window / self.sampling_rate

    @property
    def trainable(self) -> bool:
        """Whether gradients reach the weights."""
        return any(parameter.requires_grad for parameter in self.parameters())

    def requires_grad_(self, requires_grad: bool = True) -> TransformersEncoder:
        """Freeze or unfreeze the weights; sinusoidal positions always stay fixed."""
        super().requires_grad_(requires_grad)
        for name, parameter in self.named_parameters():
            if name.endswith("embed_positions.weight"):
                parameter.requires_grad_(False)
        return self

    def train(self, mode: bool = True) -> TransformersEncoder:
        """Set training mode; a frozen encoder stays in evaluation mode."""
        return super().train(mode and self.trainable)

    def num_frames(self, num_samples: int) -> int:
        """Frames of a clip of so many samples."""
        return int(self.framing.frames(self.framing.steps(num_samples)))

    def features(self, waveforms: Sequence[Tensor], *, crop: bool = False) -> tuple[Tensor, Tensor]:
        """What the feature extractor makes of each clip alone, padded to one length.

        Args:
            waveforms: one floating point ``[T]`` per item at ``sampling_rate``; clips that are
                too short for one frame are padded with silence.
            crop: keep the first window of a longer clip instead of raising.

        Returns:
            Samples ``[B, T]`` or features over the whole window, float32, on the device of the
            waveforms, and the steps ``[B]`` int64 that hold sound.

        Raises:
            InvalidArgumentError, ShapeError, AudioError: see :class:`dllm_audio.LogMel`.
        """
        items = checked_waveforms(waveforms, self.framing.window, self.sampling_rate, crop=crop)
        bad = [i for i, each in enumerate(items) if not each.isfinite().all()]
        if bad:
            raise NonFiniteAudioError(f"waveforms: NaN or infinite samples in items {bad}")
        found = [self._extracted(item) for item in items]
        lengths = [self.framing.steps(len(item)) for item in items]
        device = waveforms[0].device
        return pad_sequence(found, True).to(device), torch.tensor(lengths, device=device)

    def _extracted(self, waveform: Tensor) -> Tensor:
        silence = max(self.framing.shortest - len(waveform), 0)
        samples = nn.functional.pad(waveform.detach().cpu(), (0, silence)).numpy()
        made = self.feature_extractor(
            samples, sampling_rate=self.sampling_rate, return_tensors="pt"
        )
        return made[self.feature_extractor.model_input_names[0]][0].float()

    def forward(self, features: Tensor, lengths: Tensor) -> EncoderOutput:
        """Encode.

        Args:
            features: what :meth:`features` gave; cast to the weights' dtype.
            lengths: ``[B]`` integer, steps that hold sound.

        Returns:
            The model's own hidden states; ``hidden_lengths`` tells which of their frames count.

        Raises:
            ShapeError: features or lengths of another shape.
            InvalidArgumentError: lengths that are none, or a model with frames of other numbers.
        """
        steps = self._check(features, lengths)
        parameter = next(self.model.parameters())
        features = features.to(parameter.device, parameter.dtype)
        if self.framing.window is not None:
            last, states = self._run(features)
        elif min(steps) == max(steps) or self.framing.masked:
            last, states = self._run(features[:, : max(steps)], steps)
        else:
            last, states = self._grouped(features, steps)
        counted = lengths.to(features.device, torch.int64)
        frames, hidden = self.framing.frames(counted), self.framing.hidden(counted)
        longest = self.framing.frames(max(steps))
        full = features.shape[-1] if self.framing.window is not None else max(steps)
        if states[0].shape[1] != self.framing.hidden(full) or last.shape[1] < longest:
            expected = f"{self.framing.hidden(full)} frames of {full} steps of features"
            raise InvalidArgumentError("model", expected, states[0].shape[1])
        return EncoderOutput(last[:, :longest], states, frames, hidden)

    def _run(
        self, features: Tensor, steps: list[int] | None = None
    ) -> tuple[Tensor, tuple[Tensor, ...]]:
        options: dict[str, Tensor] = {}
        if steps is not None and min(steps) < max(steps):
            places = torch.arange(features.shape[1], device=features.device)
            valid = torch.tensor(steps, device=features.device)[:, None]
            options["attention_mask"] = (places < valid).long()
        inputs = {self.model.main_input_name: features}
        output = self.model(**inputs, **options, output_hidden_states=True, return_dict=True)
        return output.last_hidden_state, tuple(output.hidden_states)

    def _grouped(self, features: Tensor, steps: list[int]) -> tuple[Tensor, tuple[Tensor, ...]]:
        """Rows of equal length together, without padding; put back in order and padded."""
        rows: dict[int, list[int]] = {}
        for row, count in enumerate(steps):
            rows.setdefault(count, []).append(row)
        tensors: list[list[Tensor]] = [[] for _ in steps]
        for count, group in rows.items():
            last, states = self._run(features[group, :count])
            for place, row in enumerate(group):
                tensors[row] = [tensor[place] for tensor in (last, *states)]
        padded = [pad_sequence(list(each), True) for each in zip(*tensors, strict=True)]
        return padded[0], tuple(padded[1:])

    def _check(self, features: Tensor, lengths: Tensor) -> list[int]:
        """Check the arguments of ``forward``; the lengths on the host (the one sync)."""
        raw = self.framing.window is None
        if features.dim() != (2 if raw else 3) or not len(features):
            expected = "shape [B, T]" if raw else "shape [B, ...] of a window"
            raise ShapeError("features", expected, list(features.shape))
        if lengths.shape != features.shape[:1]:
            raise ShapeError("lengths", f"shape [{len(features)}]", list(lengths.shape))
        if lengths.is_floating_point() or lengths.dtype == torch.bool:
            raise InvalidArgumentError("lengths", "integers", lengths.dtype)
        steps = lengths.tolist()
        least = self.framing.shortest if raw else 1
        most = features.shape[1] if raw else self.framing.steps(self.framing.window or 0)
        if min(steps) < least or max(steps) > most:
            got = f"{min(steps)} to {max(steps)}"
            raise InvalidArgumentError("lengths", f"{least} to {most} steps", got)
        return steps


def _restored(cls: type[TransformersEncoder], held: Mapping[str, Any]) -> TransformersEncoder:
    encoder = cls.__new__(cls)
    nn.Module.__init__(encoder)
    for name, value in held.items():
        setattr(encoder, name, value.model() if isinstance(value, StoredModel) else value)
    return encoder
