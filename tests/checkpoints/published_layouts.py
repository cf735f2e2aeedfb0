"""Tiny folders in exactly the published layouts, made from the parity weights."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from parity import load_golden, load_golden_json

RANK = 8
LORA_TARGETS = ("q_proj", "k_proj", "v_proj", "ff_proj", "up_proj")


def write_json(path: Path, content: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content))


def whisper_folder(root: Path) -> Path:
    """As transformers saves a Whisper model; the decoder is left out."""
    settings = load_golden_json("diffa_config")["whisper"]
    write_json(root / "config.json", {"model_type": "whisper", **settings})
    weights = load_golden("diffa_weights")
    encoder = {
        f"model.encoder.{name.removeprefix('whisper_model.')}": tensor
        for name, tensor in weights.items()
        if name.startswith("whisper_model.")
    }
    save_file(encoder, root / "model.safetensors")
    return root


def llada_folder(root: Path, shards: int = 3, name: str = "llada") -> Path:
    """As LLaDA is published: numbered shards and an index."""
    write_json(root / "config.json", load_golden_json(f"{name}_config"))
    weights = load_golden(f"{name}_weights")
    names = sorted(weights)
    weight_map = {}
    for i in range(shards):
        file = f"model-{i + 1:05d}-of-{shards:05d}.safetensors"
        part = names[i::shards]
        save_file({name: weights[name] for name in part}, root / file)
        weight_map.update(dict.fromkeys(part, file))
    write_json(
        root / "model.safetensors.index.json",
        {
            "metadata": {"total_size": sum(t.nbytes for t in weights.values())},
            "weight_map": weight_map,
        },
    )
    return root


def adapter_tensors() -> dict[str, Tensor]:
    return {n: t for n, t in load_golden("diffa_weights").items() if "whisper_model" not in n}


def stage_1_tensors() -> dict[str, Tensor]:
    return {n: t for n, t in adapter_tensors().items() if "acoustic" not in n}


def lora_tensors(seed: int = 0) -> dict[str, Tensor]:
    """Random low-rank updates under the names that peft gave them."""
    generator = torch.Generator().manual_seed(seed)
    weights = load_golden("llada_weights")
    tensors = {}
    for name, weight in weights.items():
        if name.split(".")[-2] in LORA_TARGETS:
            stem = f"llm_model.base_model.model.{name.removesuffix('.weight')}"
            rows, columns = weight.shape
            down = torch.randn(RANK, columns, generator=generator) * 0.1
            tensors[f"{stem}.lora_A.default.weight"] = down
            up = torch.randn(rows, RANK, generator=generator) * 0.1
            tensors[f"{stem}.lora_B.default.weight"] = up
    return tensors


def config() -> dict[str, Any]:
    settings = load_golden_json("diffa_config")
    return {
        "model_type": "diffa",
        "prompt_size": settings["prompt_size"],
        "whisper_model_id": "openai/whisper-small",
        "whisper_config": settings["whisper"],
        "llm_config": load_golden_json("llada_config"),
    }


def diffa_folder(root: Path, tensors: dict[str, Tensor] | None = None) -> Path:
    """DIFFA: ``config.json`` and one pickle with the trained tensors."""
    write_json(root / "config.json", config())
    torch.save(adapter_tensors() if tensors is None else tensors, root / "pytorch_model.bin")
    return root


def diffa_2_folder(root: Path) -> Path:
    """DIFFA-2: stage 4 with LoRA in the root, stage 1 in ``stage1/``."""
    diffa_folder(root, {**adapter_tensors(), **lora_tensors()})
    diffa_folder(root / "stage1", stage_1_tensors())
    return root


def read_folder(root: Path) -> dict[str, Tensor]:
    """Every tensor of a folder, by safetensors' own means."""
    return {n: t for file in root.glob("*.safetensors") for n, t in load_file(file).items()}
