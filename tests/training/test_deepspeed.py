"""DeepSpeed's ZeRO on two CPU processes: exact, resumable, without pickles."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from . import workers

pytest.importorskip("deepspeed", reason="DeepSpeed is not installed")
pytestmark = pytest.mark.slow


def run(folder: Path, ranks: int = 2, stage: int = 1, **options: object) -> dict:
    folder.mkdir(exist_ok=True)
    workers.run_ranks(ranks, workers.train_with_deepspeed, folder, stage, options)
    path = folder / "trained.safetensors"
    return load_file(path) if path.exists() else {}


def assert_equal(found: dict, expected: dict, tolerance: float = 0.0) -> None:
    assert found.keys() == expected.keys() != set()
    for name, tensor in expected.items():
        assert found[name].dtype == torch.float32
        torch.testing.assert_close(found[name], tensor, rtol=0, atol=tolerance)


@pytest.mark.parametrize("stage", [1, 2])
@pytest.mark.parametrize("bf16", [False, True])
def test_interruptions_and_processes_change_nothing(tmp_path: Path, stage: int, bf16: bool) -> None:
    whole = run(tmp_path / "whole", stage=stage, bf16=bf16)
    saved = tmp_path / "whole" / "checkpoint-2"
    files = {file.name for file in saved.iterdir()}
    assert files >= {"trainable.safetensors", "optimizer.safetensors", "manifest.json"}
    assert not any(name.endswith((".pt", ".bin", ".pkl", ".pth")) for name in files)
    shutil.copytree(saved, tmp_path / "cut" / "checkpoint-2")
    assert_equal(run(tmp_path / "cut", stage=stage, bf16=bf16), whole)
    shutil.copytree(saved, tmp_path / "alone" / "checkpoint-2")
    alone = run(tmp_path / "alone", 1, stage, bf16=bf16, gradient_accumulation_steps=2)
    assert_equal(alone, whole, 1e-6)


def test_it_learns_what_one_process_learns_without_it(tmp_path: Path) -> None:
    from dllm_audio.training import DiffusionTask, ExactTrainer

    from .tiny import arguments, collator, lora_model, rows

    task = DiffusionTask(lora_model())
    plain = ExactTrainer(task, arguments(tmp_path / "plain"), rows(16), None, collator())
    plain.resume()
    # AdamW turns the rounding of tiny gradients into steps: a hundredth of one is allowed.
    assert_equal(run(tmp_path / "zero"), plain.trained_weights(), 1e-4)


def test_a_loss_that_is_not_finite_ends_the_run_before_it_does_harm(tmp_path: Path) -> None:
    assert run(tmp_path, poisoned_step=3) == {}
    assert "step 3: the loss is not finite" in (tmp_path / "error.txt").read_text()
    weights = load_file(tmp_path / "checkpoint-2" / "trainable.safetensors")
    assert all(tensor.isfinite().all() for tensor in weights.values())


def test_other_stages_are_refused(tmp_path: Path) -> None:
    assert run(tmp_path, stage=0) == {}
    assert "expected ZeRO stage 1 or 2, got 0" in (tmp_path / "error.txt").read_text()
