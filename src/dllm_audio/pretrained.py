"""A whole model as a folder: ``config.json``, safetensors, and the tokenizer's files."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from .adapters import adapter_from_config, adapter_to_config
from .backbones import LLaDA, LLaDAConfig
from .encoders import WhisperEncoder
from .errors import CheckpointError, InvalidArgumentError
from .prompts import load_tokenizer
from .weights import current_folder, iter_weights, load_weights, read_json, replace_files

MODEL_TYPE = "dllm-audio"
CONFIG = "config.json"
_PARTS = ("encoder", "adapter", "backbone")
# What an earlier save may have left; any other file of the folder is the user's.
_OUTDATED = re.compile(
    r"model(-\d{5}-of-\d{5})?\.safetensors|model\.safetensors\.index\.json"
    r"|tokenizer(_config)?\.json"
)


def write_folder(
    model: Any, directory: str | Path, storage_dtype: torch.dtype | None = None
) -> None:
    """Save a model; until it is saved whole, the folder keeps what it held before.

    Args:
        model: an ``AudioDiffusionLM``.
        directory: made when it does not exist; weights of an earlier save are replaced.
        storage_dtype: of floating-point weights on disk; None keeps the model's. The config
            names the parts' own dtypes, which loading restores.

    Raises:
        InvalidArgumentError: a part that the folder cannot describe.
        CheckpointError: the disk is full or refuses to be written to.
    """
    from huggingface_hub import save_torch_state_dict

    if storage_dtype is not None and not storage_dtype.is_floating_point:
        raise InvalidArgumentError("storage_dtype", "a floating-point dtype", storage_dtype)
    config = _config_of(model, storage_dtype)
    state = _state_dict(model, storage_dtype)
    with replace_files(directory, _OUTDATED) as scratch:
        save_torch_state_dict(state, scratch, safe_serialization=True)
        if model.tokenizer is not None:
            model.tokenizer.save_pretrained(scratch)
        text = json.dumps(config, indent=2, sort_keys=True) + "\n"
        (scratch / CONFIG).write_text(text, encoding="utf-8")


def is_saved_model(directory: Path) -> bool:
    """Whether a folder says that :func:`write_folder` wrote it.

    Raises:
        CheckpointError: no ``config.json``, or a damaged one.
    """
    return read_json(current_folder(directory) / CONFIG).get("model_type") == MODEL_TYPE


def read_folder(
    directory: Path, dtype: torch.dtype | None, device: torch.device | str
) -> dict[str, Any]:
    """The arguments of ``AudioDiffusionLM`` for a saved model.

    Raises:
        CheckpointError: anything missing, damaged, left over or of the wrong shape.
    """
    directory = current_folder(directory)
    source = directory / CONFIG
    config = read_json(source)
    missing = [name for name in _PARTS if not isinstance(config.get(name), dict)]
    if missing:
        raise CheckpointError(f"{source}: lacks {missing}")
    dtypes = dict.fromkeys(_PARTS, dtype) if dtype else _dtypes(config.get("dtype"), source)
    parts = _build(config, source)

    def converted() -> Iterator[tuple[str, Tensor]]:
        for name, tensor in iter_weights(directory, device=device):
            wanted = dtypes.get(name.partition(".")[0])
            yield name, tensor.to(wanted) if wanted and tensor.is_floating_point() else tensor

    load_weights(parts, converted(), source=str(directory), device=device)
    has_tokenizer = (directory / "tokenizer.json").exists()
    return {
        **{name: parts[name] for name in _PARTS},
        "tokenizer": load_tokenizer(directory) if has_tokenizer else None,
        "generation": config.get("generation"),
    }


def load_published(source: str | Path, options: Mapping[str, Any], **placement: Any) -> Any:
    """A checkpoint that this library did not write, as an ``AudioDiffusionLM``.

    Args:
        source: local directory or hub id.
        options: ``whisper``, ``llada`` and ``stage``, each possibly None.
        placement: ``dtype`` and ``device``.

    Raises:
        CheckpointError: nothing says what the checkpoint is, or it cannot be loaded.
        InvalidArgumentError: one of ``whisper`` and ``llada`` is missing.
    """
    if not any(options.values()):
        raise CheckpointError(
            f"{source}: config.json does not have model_type {MODEL_TYPE!r}; a published DIFFA "
            "checkpoint can be loaded with whisper= and llada="
        )
    for name in ("whisper", "llada"):
        if options[name] is None:
            expected = "a directory or hub id, because the checkpoint is a published one"
            raise InvalidArgumentError(name, expected, None)
    # The one import against the layers: checkpoints build the model, and whoever has a published
    # one may expect from_pretrained to load it.
    from .checkpoints import load_diffa

    given = {name: value for name, value in options.items() if value is not None}
    return load_diffa(source, **given, **placement)


def _config_of(model: Any, storage_dtype: torch.dtype | None) -> dict[str, Any]:
    for name, kind in (("encoder", WhisperEncoder), ("backbone", LLaDA)):
        part = getattr(model, name)
        if not isinstance(part, kind):
            expected = f"a {kind.__name__} (merge LoRA into it first)"
            raise InvalidArgumentError(name, expected, type(part).__name__)
    dtypes: dict[str, str | None] = {}
    for name in _PARTS:
        found = {p.dtype for p in getattr(model, name).parameters() if p.is_floating_point()}
        if len(found) > 1 and storage_dtype is not None:
            got = f"{name} holds {sorted(map(str, found))}"
            raise InvalidArgumentError("storage_dtype", "None where a part mixes dtypes", got)
        dtypes[name] = str(*found).removeprefix("torch.") if len(found) == 1 else None
    return {
        "model_type": MODEL_TYPE,
        "dtype": dtypes,
        "encoder": json.loads(model.encoder.config.to_json_string(use_diff=False)),
        "adapter": adapter_to_config(model.adapter),
        "backbone": model.backbone.config.to_dict(),
        "generation": model.generation,
    }


def _build(config: Mapping[str, Any], source: Path) -> nn.ModuleDict:
    """The three parts without weights."""
    from huggingface_hub.errors import StrictDataclassError
    from transformers import WhisperConfig

    try:
        with torch.device("meta"):
            return nn.ModuleDict(
                {
                    "encoder": WhisperEncoder(WhisperConfig.from_dict(config["encoder"])),
                    "adapter": adapter_from_config(config["adapter"]),
                    "backbone": LLaDA(LLaDAConfig.from_dict(config["backbone"])),
                }
            )
    except (
        *(InvalidArgumentError, StrictDataclassError),
        *(AttributeError, KeyError, TypeError, ValueError),  # what transformers raises besides
    ) as error:
        raise CheckpointError(f"{source}: {type(error).__name__}: {error}") from error


def _dtypes(stated: Any, source: Path) -> dict[str, torch.dtype | None]:
    """Dtype of each part; None keeps what the weight file holds."""
    names = stated if isinstance(stated, dict) else dict.fromkeys(_PARTS, stated)
    found = {}
    for part, name in names.items():
        dtype = None if name is None else getattr(torch, str(name), None)
        if name is not None and not (isinstance(dtype, torch.dtype) and dtype.is_floating_point):
            raise CheckpointError(f"{source}: unknown floating-point dtype {name!r}")
        found[part] = dtype
    return found


def _state_dict(model: Any, dtype: torch.dtype | None) -> dict[str, Tensor]:
    parts = nn.ModuleDict({name: getattr(model, name) for name in _PARTS})
    return {
        name: tensor.to(dtype) if dtype is not None and tensor.is_floating_point() else tensor
        for name, tensor in parts.state_dict().items()
    }
