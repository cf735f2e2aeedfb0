"""Loading keeps one copy of the weights: measured on a fresh process."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest
import torch
from safetensors.torch import save_file

from dllm_audio import LLaDAConfig

MEASURE = """
import json, sys, torch
from dllm_audio import LLaDA

def peak():
    lines = open("/proc/self/status").read().splitlines()
    return int(next(l for l in lines if l.startswith("VmHWM")).split()[1]) * 1024

LLaDA.from_pretrained(sys.argv[2])  # whatever is loaded on first use
before = peak()
dtype = getattr(torch, sys.argv[3]) if sys.argv[3] else None
model = LLaDA.from_pretrained(sys.argv[1], dtype=dtype)
size = sum(p.nbytes for p in model.parameters())
largest = max(p.nbytes for p in model.parameters())
print(json.dumps({"grown": peak() - before, "size": size, "largest": largest}))
"""


def _write(root, width: int, shards: int) -> None:
    config = LLaDAConfig(
        d_model=width, n_layers=4, n_heads=4, mlp_hidden_size=3 * width, vocab_size=4 * width
    )
    root.mkdir()
    (root / "config.json").write_text(json.dumps(config.to_dict()))
    from dllm_audio import LLaDA

    state = LLaDA(config).state_dict()
    names, weight_map = list(state), {}
    for i in range(shards):
        file = f"model-{i + 1:05d}-of-{shards:05d}.safetensors"
        part = {f"model.transformer.{name}": state[name] for name in names[i::shards]}
        save_file(part, root / file)
        weight_map.update(dict.fromkeys(part, file))
    (root / "model.safetensors.index.json").write_text(json.dumps({"weight_map": weight_map}))


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
@pytest.mark.parametrize("shards", [1, 3])
@pytest.mark.parametrize("dtype", ["", "bfloat16"])
def test_peak_memory_is_one_copy(tmp_path, shards, dtype):
    _write(tmp_path / "small", 16, 1)
    _write(tmp_path / "big", 512, shards)
    arguments = [str(tmp_path / "big"), str(tmp_path / "small"), dtype]
    done = subprocess.run(
        [sys.executable, "-c", MEASURE, *arguments], capture_output=True, text=True, check=True
    )
    found = json.loads(done.stdout)
    assert found["size"] > 30 * 2**20
    # One copy, the tensor that is being converted (twice as wide in the file), and a little.
    allowed = found["size"] + 2 * found["largest"] + 8 * 2**20
    assert found["grown"] < allowed, found
    assert allowed < 1.6 * found["size"]


def test_meta_initialization_allocates_nothing():
    from dllm_audio import LLaDA

    with torch.device("meta"):
        model = LLaDA(LLaDAConfig())  # 8 billion parameters
    assert sum(p.numel() for p in model.parameters()) > 8e9
    assert all(p.is_meta for p in model.parameters())
