"""Two processes over gloo give what one process gives with the same global batch."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from dllm_audio.training import trained_weights

from . import workers

# Float64; the processes add the same numbers in another order.
TOLERANCE = 1e-10
KINDS = ("diffusion", "preference")


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("one")
    for kind in KINDS:
        workers.train_and_export(folder / kind, kind, {})
    return folder


@pytest.mark.parametrize("engine", ["ddp", "fsdp2"])
def test_two_processes_equal_one(tmp_path: Path, alone: Path, engine: str) -> None:
    options = {"batch_size": 2, "save_steps": 2}
    options["shard"] = engine == "fsdp2"
    workers.run_ranks(2, workers.train_and_export_all, tmp_path, KINDS, options)
    for kind in KINDS:
        expected = load_file(alone / kind / "trained.safetensors")
        found = load_file(tmp_path / kind / "trained.safetensors")
        assert found.keys() == expected.keys()
        for name, tensor in expected.items():
            torch.testing.assert_close(found[name], tensor, rtol=0, atol=TOLERANCE)
        # Five rows, which two processes with batches of two do not share evenly.
        values = [json.loads((f / kind / "evaluation.json").read_text()) for f in (alone, tmp_path)]
        assert values[0].keys() == values[1].keys() >= {"eval_loss"}
        assert values[0] == pytest.approx(values[1], rel=1e-6)


def test_a_run_goes_on_with_another_number_of_processes(tmp_path: Path, alone: Path) -> None:
    options = {"batch_size": 2, "save_steps": 2}
    stopped = {**options, "stop_at": 2, "shard": True}
    workers.run_ranks(2, workers.train_and_export_all, tmp_path, ("diffusion",), stopped)
    assert not (tmp_path / "diffusion" / "trained.safetensors").exists()
    workers.train_and_export(tmp_path / "diffusion", "diffusion", {})
    expected = load_file(alone / "diffusion" / "trained.safetensors")
    found = load_file(tmp_path / "diffusion" / "trained.safetensors")
    for name, tensor in expected.items():
        torch.testing.assert_close(found[name], tensor, rtol=0, atol=TOLERANCE)


def test_sharding_in_bfloat16_rounds_weights_only(tmp_path: Path) -> None:
    workers.run_ranks(2, workers.note_dtypes, tmp_path)
    assert json.loads((tmp_path / "dtypes.json").read_text()) == {
        "weights": "torch.bfloat16",
        "rotary tables": "torch.float32",
        "loss": "torch.float32",
    }


def test_stages_follow_one_another_sharded(tmp_path: Path) -> None:
    workers.run_ranks(2, workers.train_two_stages, tmp_path / "two", True)
    assert workers.run(workers.train_two_stages, tmp_path / "one", False) == 0
    for stage in ("stage1", "stage2", "stage3"):
        expected = trained_weights(tmp_path / "one" / stage)
        for name, tensor in trained_weights(tmp_path / "two" / stage).items():
            torch.testing.assert_close(tensor, expected[name], rtol=0, atol=TOLERANCE)
