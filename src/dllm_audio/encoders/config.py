"""Configs of Whisper encoders: read from a checkpoint, checked before anything is built."""

from __future__ import annotations

from pathlib import Path

from huggingface_hub.errors import StrictDataclassError
from transformers import WhisperConfig

from ..errors import CheckpointError, InvalidArgumentError
from ..weights import read_json

_SIZES = (
    "d_model",
    "encoder_layers",
    "encoder_attention_heads",
    "encoder_ffn_dim",
    "num_mel_bins",
    "max_source_positions",
)
# Far above any encoder; a stranger's config must not keep us building layers for hours.
_MOST_LAYERS = 2**10


def check_config(config: WhisperConfig) -> None:
    """Refuse a config that no encoder with all its hidden states can be built from.

    Raises:
        InvalidArgumentError: no WhisperConfig, sizes that are not positive, heads that do not
            divide the width, or layers that are dropped in training and so leave no output.
    """
    if not isinstance(config, WhisperConfig):
        raise InvalidArgumentError("config", "a WhisperConfig", type(config).__name__)
    for field in _SIZES:
        if (size := getattr(config, field)) < 1:
            raise InvalidArgumentError(f"config.{field}", "a positive integer", size)
    if config.encoder_layers > _MOST_LAYERS:
        expected = f"at most {_MOST_LAYERS}"
        raise InvalidArgumentError("config.encoder_layers", expected, config.encoder_layers)
    heads = config.encoder_attention_heads
    if config.d_model % heads:
        expected = f"a divisor of d_model = {config.d_model}"
        raise InvalidArgumentError("config.encoder_attention_heads", expected, heads)
    if config.encoder_layerdrop:
        raise InvalidArgumentError("config.encoder_layerdrop", "0", config.encoder_layerdrop)


def read_config(directory: Path) -> WhisperConfig:
    """The Whisper config of a checkpoint.

    Raises:
        CheckpointError: missing, damaged, or of another kind of model.
    """
    path = directory / "config.json"
    fields = read_json(path)
    if (kind := fields.get("model_type")) != "whisper":
        raise CheckpointError(f"{path}: model_type: expected 'whisper', got {kind!r}")
    try:
        return WhisperConfig.from_dict(fields)
    except StrictDataclassError as error:
        raise CheckpointError(f"{path}: {error}") from error
