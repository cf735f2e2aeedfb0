"""The config of a Whisper encoder, checked before anything is built."""

from __future__ import annotations

from transformers import WhisperConfig

from ..errors import InvalidArgumentError
from ..transformers_config import LARGEST, MOST_LAYERS, config_from, plain_config, read_config

__all__ = ["check_config", "config_from", "plain_config", "read_config"]

_SIZES = (
    "d_model",
    "encoder_layers",
    "encoder_attention_heads",
    "encoder_ffn_dim",
    "num_mel_bins",
    "max_source_positions",
)
_RATES = ("dropout", "attention_dropout", "activation_dropout")


def check_config(config: WhisperConfig) -> None:
    """Refuse a config that no encoder with all its hidden states can be built from.

    Raises:
        InvalidArgumentError: no WhisperConfig, sizes that are not positive, heads that do not
            divide the width, rates that are none, or layers that are dropped in training and so
            leave no output.
    """
    if not isinstance(config, WhisperConfig):
        raise InvalidArgumentError("config", "a WhisperConfig", type(config).__name__)
    for field in _SIZES:
        if not 1 <= (size := getattr(config, field)) <= LARGEST:
            expected = f"a positive integer up to {LARGEST}"
            raise InvalidArgumentError(f"config.{field}", expected, size)
    for field in _RATES:
        if not 0 <= (rate := getattr(config, field)) <= 1:
            raise InvalidArgumentError(f"config.{field}", "a number in [0, 1]", rate)
    if config.encoder_layers > MOST_LAYERS:
        expected = f"at most {MOST_LAYERS}"
        raise InvalidArgumentError("config.encoder_layers", expected, config.encoder_layers)
    heads = config.encoder_attention_heads
    if config.d_model % heads:
        expected = f"a divisor of d_model = {config.d_model}"
        raise InvalidArgumentError("config.encoder_attention_heads", expected, heads)
    if config.encoder_layerdrop:
        raise InvalidArgumentError("config.encoder_layerdrop", "0", config.encoder_layerdrop)
