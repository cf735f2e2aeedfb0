"""Shared fixtures: the parity data, and a fixed number of threads and seed for every test."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

GOLDEN = Path(__file__).parent / "golden"


def pytest_configure(config: pytest.Config) -> None:
    # Under pytest-xdist every worker gets its share of the two cores that the suite is sized for.
    torch.set_num_threads(1 if "PYTEST_XDIST_WORKER" in os.environ else 2)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if torch.cuda.is_available():
        return
    for item in items:
        if "cuda" in item.keywords:
            item.add_marker(pytest.mark.skip(reason="needs a CUDA device"))


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(0)


def load_golden(name: str) -> dict[str, torch.Tensor]:
    """Tensors of one parity file; half-precision weights come back as float32."""
    tensors = load_file(GOLDEN / f"{name}.safetensors")
    return {k: v.float() if v.dtype == torch.float16 else v for k, v in tensors.items()}


def load_golden_json(name: str) -> dict:
    """One parity file's settings."""
    return json.loads((GOLDEN / f"{name}.json").read_text())
