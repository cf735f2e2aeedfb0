"""Whisper's encoder half (arXiv 2212.04356) with every hidden state and valid lengths."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Mapping, Sequence
from contextvars import ContextVar
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from transformers import WhisperConfig
from transformers.models.whisper.modeling_whisper import WhisperEncoder as WhisperEncoderModule

from ..audio import LogMel
from ..audio.units import HOP_LENGTH, SAMPLING_RATE
from ..errors import CheckpointError, InvalidArgumentError, ShapeError
from ..outputs import EncoderOutput
from ..parts import register
from ..weights import iter_weights, load_weights, resolve_directory
from .config import check_config, config_from, plain_config, read_config
from .names import from_hub_name
from .openai import openai_config, openai_weights, read_openai

_FRAMES_PER_POSITION = 2  # stride of the second convolution
_MEL_FRAMES_PER_SECOND = 100
_noted: ContextVar[list[Tensor] | None] = ContextVar("inputs_of_layers", default=None)


@register("encoder", "whisper")
class WhisperEncoder(nn.Module):
    """Whisper encoder: waveforms through log-mel features to frames, frozen unless asked.

    The encoder runs over the whole padded window without a mask, as Whisper was trained; the
    valid lengths tell which frames hold sound.

    Args:
        config: sizes; ``max_source_positions`` sets the window, so that short windows work.
        trainable: let gradients reach the weights (not the fixed positions) and let ``train()``
            switch dropout on.  A frozen encoder stays in evaluation mode.

    Raises:
        InvalidArgumentError: ``config`` is no usable WhisperConfig (see ``check_config``).

    Example:
        >>> import torch
        >>> from transformers import WhisperConfig
        >>> config = WhisperConfig(d_model=32, encoder_layers=2, encoder_attention_heads=2,
        ...                        encoder_ffn_dim=64, max_source_positions=50)
        >>> encoder = WhisperEncoder(config)
        >>> output = encoder(*encoder.features([torch.zeros(9600)]))  # 0.6 s
        >>> output.last_hidden_state.shape, len(output.hidden_states), output.lengths.tolist()
        (torch.Size([1, 30, 32]), 3, [30])
    """

    def __init__(self, config: WhisperConfig, *, trainable: bool = False) -> None:
        super().__init__()
        check_config(config)
        # A copy, because transformers writes its choice of attention into the config.
        self.config: WhisperConfig = copy.deepcopy(config)
        self.model = WhisperEncoderModule(self.config)
        # transformers' own hooks for hidden states, once installed, cannot be pickled.
        for layer in self.model.layers:
            layer.register_forward_pre_hook(_note_input)
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
    ) -> WhisperEncoder:
        """Load the encoder half of a Whisper checkpoint in transformers' layout.

        Safetensors are read (sharded too), or where there are none a ``pytorch_model.bin``, without
        running code; strictly, and only the encoder's tensors.

        Args:
            id_or_dir: local directory or hub id, such as ``"openai/whisper-small"``.
            dtype: of the weights; None keeps what the file holds.
            device_map: where the weights are placed; None: the CPU.
            revision: branch, tag or commit on the hub.
            trainable: see the class.

        Raises:
            CheckpointError: missing, incomplete or damaged; names the tensors concerned.
            UnsafeCheckpointError: the checkpoint reaches outside its directory.
        """
        root = resolve_directory(id_or_dir, revision)
        config: Any = read_config(root, "whisper")
        pairs = iter_weights(
            root,
            device_map or "cpu",
            wanted=lambda name: from_hub_name(name) is not None,
            pickled=True,
        )
        renamed = ((str(from_hub_name(name)), tensor) for name, tensor in pairs)
        return cls._filled(config, renamed, str(root), dtype=dtype, trainable=trainable)

    @classmethod
    def from_openai(
        cls,
        name_or_model: Any,
        *,
        dtype: torch.dtype | None = torch.float32,
        device_map: torch.device | str | None = None,
        trainable: bool = False,
    ) -> WhisperEncoder:
        """Load the encoder half of an openai-whisper model.

        Args:
            name_or_model: a name of ``whisper.available_models()`` (downloaded by
                openai-whisper), a checkpoint file of its layout, or a loaded model, whose
                weights are copied.
            dtype: of the weights; None keeps what the model holds.
            device_map: where the weights are placed; None: where the model is.
            trainable: see the class.

        Raises:
            InvalidArgumentError: unknown name or kind of object.
            CheckpointError: the file is missing something or damaged.
            UnsafeCheckpointError: the file would run code when loaded.
        """
        dims, state = read_openai(name_or_model)
        source = name_or_model if isinstance(name_or_model, str | Path) else "name_or_model"
        config = openai_config(dims, str(source))
        weights = ((name, tensor.to(device_map)) for name, tensor in openai_weights(state))
        return cls._filled(config, weights, str(source), dtype=dtype, trainable=trainable)

    @classmethod
    def _filled(
        cls,
        config: WhisperConfig,
        weights: Iterable[tuple[str, Tensor]],
        source: str,
        *,
        dtype: torch.dtype | None,
        trainable: bool,
    ) -> WhisperEncoder:
        try:
            with torch.device("meta"):
                encoder = cls(config, trainable=trainable)
        except InvalidArgumentError as error:
            raise CheckpointError(f"{source}: {error}") from error
        load_weights(encoder.model, weights, source=source, dtype=dtype)
        return encoder

    @classmethod
    def from_config(cls, values: Mapping[str, Any]) -> WhisperEncoder:
        """An encoder of these sizes with new weights.

        Raises:
            CheckpointError: values that no encoder can be built from; names them.
        """
        try:
            config: Any = config_from(values, "whisper")
            return cls(config)
        except InvalidArgumentError as error:
            raise CheckpointError(f"whisper: {error}") from error

    def to_config(self) -> dict[str, Any]:
        """Every setting of the WhisperConfig, as plain JSON values."""
        return plain_config(self.config)

    @property
    def hidden_size(self) -> int:
        """Width ``E`` of the frames."""
        return self.config.d_model

    @property
    def num_layers(self) -> int:
        """Transformer layers; there is one hidden state more."""
        return self.config.encoder_layers

    @property
    def num_heads(self) -> int:
        """Attention heads of a layer."""
        return self.config.encoder_attention_heads

    @property
    def n_mels(self) -> int:
        """Mel filters that the features must have."""
        return self.config.num_mel_bins

    @property
    def sampling_rate(self) -> int:
        """Samples per second that :meth:`features` expects."""
        return SAMPLING_RATE

    @property
    def window_frames(self) -> int:
        """Mel frames (100 Hz) of the window that the features must fill."""
        return _FRAMES_PER_POSITION * self.config.max_source_positions

    @property
    def window_seconds(self) -> float:
        """Longest clip in seconds."""
        return self.window_frames / _MEL_FRAMES_PER_SECOND

    def features(self, waveforms: Sequence[Tensor], *, crop: bool = False) -> tuple[Tensor, Tensor]:
        """Log-mel features of waveforms; see :class:`dllm_audio.LogMel`.

        Args:
            waveforms: one floating point ``[T]`` per item at 16 kHz.
            crop: keep the first window of a longer clip instead of raising.

        Returns:
            ``[B, n_mels, window_frames]`` float32, and the mel frames ``[B]`` that hold sound.
        """
        log_mel = LogMel(self.n_mels, chunk_length=self.window_seconds, crop=crop)
        return log_mel(waveforms)

    def num_frames(self, num_samples: int) -> int:
        """Encoder frames (50 Hz) of a clip of so many samples."""
        return _positions(-(-num_samples // HOP_LENGTH))

    @property
    def trainable(self) -> bool:
        """Whether gradients reach the weights."""
        return any(parameter.requires_grad for parameter in self.parameters())

    def requires_grad_(self, requires_grad: bool = True) -> WhisperEncoder:
        """Freeze or unfreeze the weights; the sinusoidal positions always stay fixed."""
        super().requires_grad_(requires_grad)
        self.model.embed_positions.requires_grad_(False)
        return self

    def train(self, mode: bool = True) -> WhisperEncoder:
        """Set training mode; a frozen encoder stays in evaluation mode."""
        return super().train(mode and self.trainable)

    def forward(self, features: Tensor, lengths: Tensor) -> EncoderOutput:
        """Encode log-mel features.

        Args:
            features: ``[B, n_mels, window_frames]`` floating point; cast to the weights' dtype.
            lengths: ``[B]`` integer, mel frames that hold sound, 1 to ``window_frames``.

        Returns:
            Frames ``last_hidden_state [B, max(S), E]``, all ``1 + num_layers`` hidden states
            over the whole window, and the valid lengths ``S = (lengths - 1) // 2 + 1``.

        Raises:
            ShapeError: features or lengths of another shape.
            InvalidArgumentError: features that are no floats; lengths that are no integers or
                outside the window.
        """
        longest = self._check(features, lengths)
        noted: list[Tensor] = []
        token = _noted.set(noted)
        try:
            output = self.model(features.to(self.model.conv1.weight.dtype))
        finally:
            _noted.reset(token)
        return EncoderOutput(
            last_hidden_state=output.last_hidden_state[:, : _positions(longest)],
            hidden_states=(*noted, output.last_hidden_state),
            lengths=_positions(lengths.to(features.device, torch.int64)),
        )

    def _check(self, features: Tensor, lengths: Tensor) -> int:
        """Check the arguments of ``forward`` and return the greatest length."""
        sizes = [self.n_mels, self.window_frames]
        if features.dim() != 3 or not len(features) or list(features.shape[1:]) != sizes:
            expected = f"shape [B, {self.n_mels}, {self.window_frames}]"
            raise ShapeError("features", expected, list(features.shape))
        if not features.is_floating_point():
            raise InvalidArgumentError("features", "floating point", features.dtype)
        if lengths.shape != features.shape[:1]:
            raise ShapeError("lengths", f"shape [{len(features)}]", list(lengths.shape))
        if lengths.is_floating_point() or lengths.dtype == torch.bool or lengths.is_complex():
            raise InvalidArgumentError("lengths", "integers", lengths.dtype)
        shortest, longest = torch.stack(lengths.aminmax()).tolist()  # the one host sync
        if shortest < 1 or longest > self.window_frames:
            got = f"{shortest} to {longest}"
            raise InvalidArgumentError("lengths", f"1 to {self.window_frames} mel frames", got)
        return longest


def _note_input(layer: nn.Module, args: tuple[Tensor, ...]) -> None:
    """Keep a layer's input, while a pass of this thread collects them."""
    noted = _noted.get()
    if noted is not None:
        noted.append(args[0])


def _positions(frames: Any) -> Any:
    """Encoder frames (50 Hz) that ``frames`` mel frames fill."""
    return (frames - 1) // _FRAMES_PER_POSITION + 1
