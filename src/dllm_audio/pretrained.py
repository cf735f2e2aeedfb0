"""A whole model as a folder: ``config.json``, safetensors, and the tokenizer's files."""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from .adapters import adapter_from_config, adapter_to_config
from .backbones import LLaDA, LLaDAConfig
from .encoders import WhisperEncoder
from .errors import CheckpointError
from .prompts import load_tokenizer
from .weights import iter_weights, load_weights, read_json

MODEL_TYPE = "dllm-audio"
_CONFIG = "config.json"
_PARTS = ("encoder", "adapter", "backbone")


def write_folder(
    model: Any, directory: str | Path, storage_dtype: torch.dtype | None = None
) -> None:
    """Save a model; every file appears whole or not at all.

    Args:
        model: an ``AudioDiffusionLM``.
        directory: made when it does not exist; weights of an earlier save are replaced.
        storage_dtype: of floating-point weights on disk; None keeps the model's. The config
            names the model's own dtype, which loading restores.
    """
    from huggingface_hub import save_torch_state_dict

    target = Path(directory)
    target.mkdir(parents=True, exist_ok=True)
    config = {
        "model_type": MODEL_TYPE,
        "dtype": str(model.dtype).removeprefix("torch."),
        "encoder": json.loads(model.encoder.config.to_json_string(use_diff=False)),
        "adapter": adapter_to_config(model.adapter),
        "backbone": model.backbone.config.to_dict(),
        "generation": model.generation,
    }
    with tempfile.TemporaryDirectory(dir=target, prefix=".saving-") as scratch:
        save_torch_state_dict(_state_dict(model, storage_dtype), scratch, safe_serialization=True)
        if model.tokenizer is not None:
            model.tokenizer.save_pretrained(scratch)
        text = json.dumps(config, indent=2, sort_keys=True) + "\n"
        (Path(scratch) / _CONFIG).write_text(text, encoding="utf-8")
        new = sorted(path.name for path in Path(scratch).iterdir())
        for name in new:
            os.replace(Path(scratch) / name, target / name)
    for stale in [*target.glob("*.safetensors"), *target.glob("*.safetensors.index.json")]:
        if stale.name not in new:
            stale.unlink()


def read_folder(
    directory: Path, dtype: torch.dtype | None, device: torch.device | str
) -> tuple[WhisperEncoder, nn.Module, LLaDA, Any, dict[str, Any]]:
    """Encoder, adapter, backbone, tokenizer and generation settings of a saved model.

    Raises:
        CheckpointError: anything missing, damaged, left over or of the wrong shape.
    """
    config = read_json(directory / _CONFIG)
    if config.get("model_type") != MODEL_TYPE:
        raise CheckpointError(
            f"{directory}: expected model_type {MODEL_TYPE!r}, got {config.get('model_type')!r}; "
            "for a published DIFFA checkpoint use load_diffa"
        )
    missing = [name for name in (*_PARTS, "dtype") if name not in config]
    if missing:
        raise CheckpointError(f"{directory}/{_CONFIG}: lacks {missing}")
    if dtype is None:
        dtype = getattr(torch, str(config["dtype"]), None)
        if not isinstance(dtype, torch.dtype):
            raise CheckpointError(f"{directory}/{_CONFIG}: unknown dtype {config['dtype']!r}")
    from transformers import WhisperConfig

    with torch.device("meta"):
        parts = nn.ModuleDict(
            {
                "encoder": WhisperEncoder(WhisperConfig.from_dict(config["encoder"])),
                "adapter": adapter_from_config(config["adapter"]),
                "backbone": LLaDA(LLaDAConfig.from_dict(config["backbone"])),
            }
        )
    weights: Iterator[tuple[str, Tensor]] = iter_weights(directory, device=device)
    load_weights(parts, weights, source=str(directory), dtype=dtype, device=device)
    tokenizer = None
    if (directory / "tokenizer.json").exists():
        tokenizer = load_tokenizer(directory)
    encoder, adapter, backbone = (parts[name] for name in _PARTS)
    return encoder, adapter, backbone, tokenizer, dict(config.get("generation") or {})  # type: ignore[return-value]


def _state_dict(model: Any, dtype: torch.dtype | None) -> dict[str, Tensor]:
    parts = nn.ModuleDict({name: getattr(model, name) for name in _PARTS})
    return {
        name: tensor.to(dtype) if dtype is not None and tensor.is_floating_point() else tensor
        for name, tensor in parts.state_dict().items()
    }
