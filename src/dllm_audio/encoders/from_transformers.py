"""Building and loading transformers' audio models and their feature extractors, strictly."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
import transformers
from torch import Tensor, nn
from transformers import AutoModel, PretrainedConfig, PreTrainedModel, SequenceFeatureExtractor

from ..errors import CheckpointError, one_line
from ..weights import iter_weights, read_json, shorten
from .config import config_from, read_config

_TOWER = re.compile(r"(?:.*\.)?audio_tower\.(.+)")
# Learned for the training by masked prediction only; many published models come without it.
_UNUSED = ("masked_spec_embed",)
_EXTRACTOR = re.compile(r"[A-Za-z0-9]+FeatureExtractor")


def new_model(config: PretrainedConfig) -> PreTrainedModel:
    """A model of transformers' own classes with new weights.

    Raises:
        CheckpointError: no model of transformers, or none that can be built.
    """
    try:
        return AutoModel.from_config(config)
    except Exception as error:  # whatever hundreds of models raise for a stranger's settings
        reason = str(error).partition("\n")[0]
        raise CheckpointError(f"config of {config.model_type!r}: {reason}") from error


def new_extractor(values: Mapping[str, Any]) -> SequenceFeatureExtractor:
    """A feature extractor of transformers' own classes.

    Raises:
        CheckpointError: another class, or values that it refuses.
    """
    name = values.get("feature_extractor_type")
    known = isinstance(name, str) and _EXTRACTOR.fullmatch(name)
    cls = getattr(transformers, str(name), None) if known else None
    if not (isinstance(cls, type) and issubclass(cls, SequenceFeatureExtractor)):
        expected = "expected a feature extractor of transformers"
        raise CheckpointError(f"feature_extractor_type: {expected}, got {name!r:.60}")
    for key, value in values.items():
        number = isinstance(value, int | float) and not isinstance(value, bool)
        if key.startswith("_") or (number and not -(2**24) <= value <= 2**24):
            raise CheckpointError(f"feature extractor: {key}: got {value!r:.40}")
    try:
        return cls(**{k: v for k, v in values.items() if k != "feature_extractor_type"})
    except Exception as error:
        raise CheckpointError(f"{name}: {one_line(error)}") from error


def read_extractor(directory: Path) -> SequenceFeatureExtractor:
    """The feature extractor of a published folder.

    Raises:
        CheckpointError: missing or damaged.
    """
    path = directory / "preprocessor_config.json"
    if path.exists():
        values: Any = read_json(path)
    else:
        path = directory / "processor_config.json"
        values = read_json(path).get("feature_extractor") if path.exists() else None
    if not isinstance(values, dict):
        expected = "preprocessor_config.json or a processor_config.json with a feature_extractor"
        raise CheckpointError(f"{directory}: expected {expected}")
    values.pop("processor_class", None)
    values.setdefault("feature_extractor_type", "Wav2Vec2FeatureExtractor")
    try:
        return new_extractor(values)
    except CheckpointError as error:
        raise CheckpointError(f"{path}: {one_line(error)}") from error


def read_model(directory: Path, dtype: torch.dtype | None) -> PreTrainedModel:
    """The audio model of a published folder, or the audio tower of a larger one.

    Args:
        directory: ``config.json`` and safetensors; nothing else is read, no code is run.
        dtype: of the weights; None keeps what the files hold.

    Raises:
        CheckpointError: tensors of the encoder that are missing, left over or misshapen.
    """
    tower = read_json(directory / "config.json").get("audio_config")
    config = read_config(directory) if not isinstance(tower, dict) else _tower_config(tower)
    with torch.device("meta"):
        empty = new_model(config)
    state = dict(_encoder_tensors(directory, isinstance(tower, dict)))
    if dtype is None:
        dtype = next((t.dtype for t in state.values() if t.is_floating_point()), torch.float32)
    load: Any = type(empty).from_pretrained
    try:
        model, found = load(
            None, config=config, state_dict=state, dtype=dtype, output_loading_info=True
        )
    except (OSError, ValueError, RuntimeError, KeyError) as error:
        raise CheckpointError(f"{directory}: {one_line(error)}") from error
    _check_loaded(directory, model, found)
    return model


def _tower_config(values: Mapping[str, Any]) -> PretrainedConfig:
    return config_from({k: v for k, v in values.items() if not k.startswith("_")})


def _encoder_tensors(directory: Path, tower: bool) -> Iterator[tuple[str, Tensor]]:
    def wanted(name: str) -> bool:
        return not tower or _TOWER.fullmatch(name) is not None

    for name, tensor in iter_weights(directory, "cpu", wanted=wanted):
        inside = _TOWER.fullmatch(name) if tower else None
        yield (inside[1] if inside else name), tensor


def _check_loaded(directory: Path, model: PreTrainedModel, found: Mapping[str, Any]) -> None:
    """Refuse what is missing or left over; heads of other tasks are passed over."""
    missing = {name for name in found["missing_keys"] if not name.endswith(_UNUSED)}
    own = {name for name, _ in (*model.named_children(), *model.named_parameters(recurse=False))}
    prefix = f"{model.base_model_prefix}."
    left = {
        name
        for name in map(str, found["unexpected_keys"])
        if name.startswith(prefix) or name.partition(".")[0] in own
    }
    wrong = {str(item[0]) for item in found.get("mismatched_keys", ())}
    for what, names in (("missing", missing), ("left over", left), ("misshapen", wrong)):
        if names:
            listed = shorten(sorted(names))
            raise CheckpointError(f"{directory}: {len(names)} tensors are {what}: {listed}")
    for name, parameter in model.named_parameters():
        if name in found["missing_keys"]:
            nn.init.zeros_(parameter)
