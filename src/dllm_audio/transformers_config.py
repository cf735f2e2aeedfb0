"""Configs of transformers' models: read from strangers' files, checked before anything is built."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from huggingface_hub.errors import StrictDataclassError
from transformers import AutoConfig, PretrainedConfig

from .errors import CheckpointError, one_line
from .files import read_json

# Far above any model; a stranger's config must not keep us building for hours.
MOST_LAYERS = 2**10
LARGEST = 2**24
_COUNTS = ("layers", "group", "expert", "block_sizes", "block_repeats")  # numbers of modules
_LONGEST = 2**10  # entries of a list or object, characters of a text
# Says nothing about the model: who wrote it, in which dtype it lies, labels of a head.
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
        raise CheckpointError(f"config of {kind!r}: {one_line(error)}") from error


def public_settings(values: Mapping[str, Any]) -> dict[str, Any]:
    """The values without private ones, which are no settings of a model."""
    return {
        name: value
        for name, value in values.items()
        if not name.startswith("_") and name != "attn_implementation"
    }


def read_config(directory: Path, model_type: str | None = None) -> PretrainedConfig:
    """The config of a published checkpoint, whose private settings are passed over.

    Raises:
        CheckpointError: missing, damaged, or of another kind of model.
    """
    path = directory / "config.json"
    try:
        return config_from(public_settings(read_json(path)), model_type)
    except CheckpointError as error:
        raise CheckpointError(f"{path}: {one_line(error)}") from error


def _check_values(value: object, name: str) -> None:
    """Refuse numbers that no model has, wherever they stand."""
    inner: list[tuple[str, object]] = []
    if isinstance(value, Mapping):
        inner = [(str(key), item) for key, item in value.items()]
    elif isinstance(value, list | tuple):
        inner = [(name, item) for item in value]
    elif isinstance(value, int | float) and not isinstance(value, bool):
        most = MOST_LAYERS if any(word in name for word in _COUNTS) else LARGEST
        rate = name.endswith(("dropout", "layerdrop", "_prob"))
        if not (0 <= value <= 1 if rate else -most <= value <= most):
            expected = "a number in [0, 1]" if rate else f"a number of at most {most}"
            raise CheckpointError(f"{name}: expected {expected}, got {value!r:.40}")
    if len(inner) > _LONGEST or (isinstance(value, str) and len(value) > _LONGEST):
        raise CheckpointError(f"{name}: expected at most {_LONGEST} entries or characters")
    for key, item in inner:
        _check_values(item, key)
