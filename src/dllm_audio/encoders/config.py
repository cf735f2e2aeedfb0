"""Configs of encoders: read from strangers' files, checked before anything is built."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from huggingface_hub.errors import StrictDataclassError
from transformers import AutoConfig, PretrainedConfig, WhisperConfig

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
_RATES = ("dropout", "attention_dropout", "activation_dropout")
# Far above any encoder; a stranger's config must not keep us building for hours.
_MOST_LAYERS = 2**10
_LARGEST = 2**24
_LONGEST = 2**10  # entries of a list or object, characters of a text
# Says nothing about the encoder: who wrote it, in which dtype it lies, labels of a head.
_NOT_SETTINGS = {
    *("architectures", "auto_map", "dtype", "torch_dtype", "transformers_version"),
    *("id2label", "label2id", "problem_type"),
    *("output_attentions", "output_hidden_states", "return_dict", "use_return_dict"),
}


def plain_config(config: PretrainedConfig) -> dict[str, Any]:
    """What a config says about the model, as plain JSON values."""
    values = json.loads(config.to_json_string(use_diff=False))
    return {k: v for k, v in values.items() if k not in _NOT_SETTINGS and not k.startswith("_")}


def config_from(values: Mapping[str, Any], model_type: str | None = None) -> PretrainedConfig:
    """The config that :func:`plain_config` gave the values of, or a stranger's.

    Args:
        values: settings with their ``model_type``; private ones, such as the implementation of
            attention, are no settings of a model and are refused.
        model_type: what it must be; None: any that transformers itself knows.

    Raises:
        CheckpointError: values that are refused; names them.
    """
    kind = values.get("model_type")
    if not isinstance(kind, str) or (model_type is not None and kind != model_type):
        raise CheckpointError(f"model_type: expected {model_type or 'a name'!r}, got {kind!r}")
    for name in values:
        if name.startswith("_") or name == "attn_implementation":
            raise CheckpointError(f"{name}: expected only settings of the model")
    settings = {k: v for k, v in values.items() if k not in _NOT_SETTINGS and k != "model_type"}
    _check_values(settings, "")
    try:
        return AutoConfig.for_model(kind, **settings)
    except (StrictDataclassError, ValueError, TypeError, KeyError, AttributeError) as error:
        raise CheckpointError(f"config of {kind!r}: {error}") from error


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
        if not 1 <= (size := getattr(config, field)) <= _LARGEST:
            expected = f"a positive integer up to {_LARGEST}"
            raise InvalidArgumentError(f"config.{field}", expected, size)
    for field in _RATES:
        if not 0 <= (rate := getattr(config, field)) <= 1:
            raise InvalidArgumentError(f"config.{field}", "a number in [0, 1]", rate)
    if config.encoder_layers > _MOST_LAYERS:
        expected = f"at most {_MOST_LAYERS}"
        raise InvalidArgumentError("config.encoder_layers", expected, config.encoder_layers)
    heads = config.encoder_attention_heads
    if config.d_model % heads:
        expected = f"a divisor of d_model = {config.d_model}"
        raise InvalidArgumentError("config.encoder_attention_heads", expected, heads)
    if config.encoder_layerdrop:
        raise InvalidArgumentError("config.encoder_layerdrop", "0", config.encoder_layerdrop)


def read_config(directory: Path, model_type: str | None = None) -> PretrainedConfig:
    """The config of a published checkpoint, whose private settings are passed over.

    Raises:
        CheckpointError: missing, damaged, or of another kind of model.
    """
    path = directory / "config.json"
    values = {k: v for k, v in read_json(path).items() if not k.startswith("_")}
    values.pop("attn_implementation", None)
    try:
        return config_from(values, model_type)
    except CheckpointError as error:
        raise CheckpointError(f"{path}: {error}") from error


def _check_values(value: object, name: str) -> None:
    """Refuse numbers that no encoder has, wherever they stand."""
    inner: list[tuple[str, object]] = []
    if isinstance(value, Mapping):
        inner = [(str(key), item) for key, item in value.items()]
    elif isinstance(value, list | tuple):
        inner = [(name, item) for item in value]
    elif isinstance(value, int | float) and not isinstance(value, bool):
        most = _MOST_LAYERS if name.endswith("layers") else _LARGEST
        rate = name.endswith(("dropout", "layerdrop", "_prob"))
        if not (0 <= value <= 1 if rate else -most <= value <= most):
            expected = "a number in [0, 1]" if rate else f"a number of at most {most}"
            raise CheckpointError(f"{name}: expected {expected}, got {value!r:.40}")
    if len(inner) > _LONGEST or (isinstance(value, str) and len(value) > _LONGEST):
        raise CheckpointError(f"{name}: expected at most {_LONGEST} entries or characters")
    for key, item in inner:
        _check_values(item, key)
