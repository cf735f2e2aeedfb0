"""The parity data: inputs, weights and outputs of the original implementations."""

from __future__ import annotations

import json
from pathlib import Path

import torch
from safetensors.torch import load_file

GOLDEN = Path(__file__).parent / "golden"


def load_golden(name: str) -> dict[str, torch.Tensor]:
    """Tensors of one parity file; half-precision weights come back as float32."""
    tensors = load_file(GOLDEN / f"{name}.safetensors")
    return {k: v.float() if v.dtype == torch.float16 else v for k, v in tensors.items()}


def load_golden_json(name: str) -> dict:
    """One parity file's settings."""
    return json.loads((GOLDEN / f"{name}.json").read_text())
