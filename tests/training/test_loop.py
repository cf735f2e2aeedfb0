"""Runs in this process: exact accumulation and resumption, frozen parts, faults."""

from __future__ import annotations

import errno
import json
import math
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch

from dllm_audio.errors import CheckpointError, TrainingError
from dllm_audio.losses import VRPOLoss
from dllm_audio.training import (
    DiffusionTask,
    Loop,
    LoopSettings,
    PreferenceTask,
    Reference,
    attach_lora,
    checkpoints,
    engine,
    last_good_checkpoint,
    state,
    train_only,
)

from .tiny import LORA, loop, lora_model, parameters, rows, tiny_model


class Stop(Exception):  # noqa: N818
    """Stands for a power cut."""


def power_cut_at(step: int):
    def stop(loop: Loop) -> None:
        if loop.step == step:
            raise Stop

    return stop


def run(folder: Path, *, pairs: bool = False, dropout: float = 0.0, **options: Any) -> Loop:
    model = lora_model().double()
    if dropout:
        model = tiny_model(dropout=dropout).double()
        train_only(model, ["adapter"])
    task: Any = DiffusionTask(model)
    if pairs:
        task = PreferenceTask(model, VRPOLoss(), Reference("adapter", model, LORA))
    return loop(task, folder, rows(12, pairs), rows(4, pairs), pairs=pairs, **options).run()


def difference(a: Loop, b: Loop) -> float:
    first, second = parameters(a.task), parameters(b.task)
    assert first.keys() == second.keys()
    return max(float((first[name] - second[name]).abs().max()) for name in first)


@pytest.mark.parametrize("pairs", [False, True])
def test_accumulation_equals_the_large_batch(tmp_path: Path, pairs: bool) -> None:
    large = run(tmp_path / "a", pairs=pairs, max_steps=3)
    small = run(
        tmp_path / "b",
        pairs=pairs,
        max_steps=3,
        batch_size=1,
        accumulation=4,
    )
    assert difference(large, small) < 1e-10
    losses = [[e["loss"] for e in t.history if "loss" in e] for t in (large, small)]
    assert losses[0] == pytest.approx(losses[1], rel=1e-5)


def test_gradient_checkpointing_changes_nothing(tmp_path: Path) -> None:
    plain = run(tmp_path / "a")
    recomputed = run(tmp_path / "b", gradient_checkpointing=True)
    assert recomputed.task.model.backbone.gradient_checkpointing
    assert difference(plain, recomputed) < 1e-10


@pytest.mark.parametrize("stored", [torch.float32, torch.bfloat16])
def test_bfloat16_keeps_trained_weights_in_float32(tmp_path: Path, stored: torch.dtype) -> None:
    model = tiny_model()
    model.backbone.to(stored)
    attach_lora(model.backbone, LORA)
    train_only(model, ["adapter", "lora"])
    made = loop(DiffusionTask(model), tmp_path, rows(8), bf16=True, max_steps=2).run()
    assert {p.dtype for p in model.parameters() if p.requires_grad} == {torch.float32}
    moments = made.optimizer.state.values()
    assert {m["exp_avg_sq"].dtype for m in moments} == {torch.float32}
    assert all(math.isfinite(e["loss"]) for e in made.history if "loss" in e)


@pytest.mark.cuda
def test_training_in_bfloat16_learns(tmp_path: Path) -> None:
    model = tiny_model()
    model.backbone.to(torch.bfloat16)
    attach_lora(model.backbone, LORA)
    train_only(model, ["adapter", "lora"])
    made = loop(DiffusionTask(model), tmp_path, rows(8), bf16=True, max_steps=3).run()
    trained = [p for p in model.parameters() if p.requires_grad]
    assert all(p.is_cuda and p.dtype is torch.float32 for p in trained)
    losses = [entry["loss"] for entry in made.history if "loss" in entry]
    assert len(losses) == 3
    assert all(math.isfinite(loss) for loss in losses)


def test_frozen_parts_are_bit_equal_and_take_no_optimizer_memory(tmp_path: Path) -> None:
    model = tiny_model()
    train_only(model, ["adapter"])
    before, buffers = parameters(model), {n: b.clone() for n, b in model.named_buffers()}
    made = loop(DiffusionTask(model), tmp_path, rows(12), save_steps=4).run()
    trained = {name for name, p in model.named_parameters() if p.requires_grad}
    for name, parameter in model.named_parameters():
        assert torch.equal(parameter, before[name]) == (name not in trained), name
    assert all(torch.equal(b, buffers[n]) for n, b in model.named_buffers())
    optimizer = made.optimizer
    held = {id(p) for group in optimizer.param_groups for p in group["params"]}
    assert held == {id(p) for p in model.parameters() if p.requires_grad}
    assert {id(p) for p in optimizer.state} <= held
    saved = state.read_tensors(tmp_path / "checkpoint-4" / state.WEIGHTS)
    assert set(saved) == {f"model.{name}" for name in trained}


def test_a_run_stopped_again_and_again_ends_as_an_undisturbed_one(tmp_path: Path) -> None:
    options = {"max_steps": 6, "save_steps": 1, "dropout": 0.1}
    whole = run(tmp_path / "whole", **options)  # two epochs of three steps
    for step in (1, 3, 4, 5):  # before the first checkpoint, at an epoch's end, inside one
        with pytest.raises(Stop):
            run(tmp_path / "cut", after_step=power_cut_at(step), **options)
    resumed = run(tmp_path / "cut", **options)
    assert difference(whole, resumed) == 0.0
    steps = [e["step"] for e in resumed.history if "loss" in e]
    assert steps == [1, 2, 3, 4, 5, 6]


def test_a_run_at_its_end_takes_no_further_step(tmp_path: Path) -> None:
    # Killed after the last checkpoint; a constant rate would show a step too many.
    options = {"max_steps": 4, "schedule": "constant", "warmup_steps": 0}
    options |= {"save_steps": 2}
    whole = run(tmp_path, **options)
    again = run(tmp_path, **options)
    assert again.step == 4
    assert difference(whole, again) == 0.0
    assert not (tmp_path / "checkpoint-5").exists()


def test_one_process_uses_one_device(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    engine.make_accelerator(lora_model(), LoopSettings(), False, tmp_path)
    assert "one of 2 GPUs is used" in caplog.text


def test_evaluation_does_not_disturb_training(tmp_path: Path) -> None:
    plain = run(tmp_path / "a")
    watched = run(tmp_path / "b", eval_steps=1)
    assert difference(plain, watched) == 0.0
    assert sum("eval_loss" in entry for entry in watched.history) == 4
    assert (tmp_path / "b" / "curves.png").stat().st_size > 1000


def test_preference_metrics_are_logged(tmp_path: Path) -> None:
    entries = run(tmp_path, pairs=True, eval_steps=4).history
    assert all(0 <= e["preference_accuracy"] <= 1 for e in entries if "loss" in e)
    assert any("eval_margin" in entry for entry in entries)
    # Margins are logged for the rows of the step; the first one is that of equal models.
    assert entries[0]["margin"] == pytest.approx(0, abs=1e-9)


# Damaged checkpoints.

SAVING = {"save_steps": 1, "max_steps": 3}


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("finished")
    run(folder, **SAVING)
    return folder


@pytest.fixture
def saved(finished: Path, tmp_path: Path) -> Path:
    """A folder with three checkpoints, to be spoiled."""
    return Path(shutil.copytree(finished, tmp_path / "run"))


def spoil(latest: Path, damage: str) -> None:
    weights, manifest = latest / state.WEIGHTS, latest / checkpoints.MANIFEST
    content = bytearray(weights.read_bytes())
    if damage == "flip":
        content[-9] ^= 1
        weights.write_bytes(bytes(content))
    elif damage == "cut":
        weights.write_bytes(content[:-7])
    elif damage == "lose":
        (latest / state.SCHEDULER).unlink()
    elif damage == "manifest":
        manifest.unlink()
    elif damage == "garbled":
        manifest.write_text('{"files": {"a"')
    else:
        latest.rename(checkpoints.staging_folder(latest))


@pytest.mark.parametrize("damage", ["flip", "cut", "lose", "manifest", "garbled", "half"])
def test_a_damaged_checkpoint_is_passed_over(saved: Path, caplog, damage: str) -> None:
    latest, before, _ = (path for _, path in checkpoints.numbered_checkpoints(saved))
    spoil(latest, damage)
    assert last_good_checkpoint(saved) == before
    named = any(str(latest) in record.getMessage() for record in caplog.records)
    assert named or damage == "half"


@pytest.mark.parametrize("damage", ["flip", "half"])
def test_a_run_makes_a_damaged_checkpoint_again(saved: Path, finished: Path, damage: str) -> None:
    latest = saved / "checkpoint-3"
    spoil(latest, damage)
    run(saved, **SAVING)
    assert checkpoints.fault(latest) is None
    assert not list(saved.glob(".partial-*"))
    weights = [state.read_tensors(f / "checkpoint-3" / state.WEIGHTS) for f in (saved, finished)]
    assert all(torch.equal(weights[0][name], weights[1][name]) for name in weights[1])


def test_no_whole_checkpoint_is_an_error_that_lists_them(saved: Path) -> None:
    for _, path in checkpoints.numbered_checkpoints(saved):
        (path / state.WEIGHTS).unlink()
    with pytest.raises(CheckpointError) as caught:
        last_good_checkpoint(saved)
    assert str(caught.value).count("trainable.safetensors is missing") == 3
    assert last_good_checkpoint(saved / "none") is None


def test_a_checkpoint_of_another_model_is_refused(saved: Path) -> None:
    model = tiny_model()
    train_only(model, ["adapter.semantic"])
    made = loop(DiffusionTask(model), saved, rows(8))
    with pytest.raises(CheckpointError, match="not a checkpoint of this model"):
        made.run()


def test_checkpoints_hold_no_pickles_and_old_ones_go(tmp_path: Path) -> None:
    run(tmp_path, save_steps=1, max_steps=4, save_total_limit=2)
    kept = [step for step, _ in checkpoints.numbered_checkpoints(tmp_path)]
    assert kept == [4, 3]
    suffixes = {p.suffix for p in tmp_path.rglob("*") if p.is_file()}
    assert suffixes == {".json", ".safetensors", ".png"}


# Faults of a run.


def test_a_loss_that_is_not_finite_ends_the_run_before_it_does_harm(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    forward, calls = DiffusionTask.forward, []

    def poisoned(task: DiffusionTask, *args: Any, **kwargs: Any) -> Any:
        calls.append(1)
        if len(calls) == 3:
            with torch.no_grad():
                task.model.adapter.semantic.norm.weight[0] = math.nan
        return forward(task, *args, **kwargs)

    monkeypatch.setattr(DiffusionTask, "forward", poisoned)
    with pytest.raises(TrainingError, match=r"step 3: the loss is not finite.*checkpoint-2"):
        run(tmp_path, save_steps=1)
    good = last_good_checkpoint(tmp_path)
    assert good is not None
    assert good.name == "checkpoint-2"
    weights = state.read_tensors(good / state.WEIGHTS)
    assert all(tensor.isfinite().all() for tensor in weights.values())


def test_weights_that_are_not_finite_are_not_saved(tmp_path: Path) -> None:
    def poison(made: Loop) -> None:
        if made.step == 2:
            with torch.no_grad():
                made.task.model.adapter.semantic.norm.weight[0] = math.inf

    with pytest.raises(TrainingError, match=r"checkpoint-2 could not be saved.*checkpoint-1"):
        run(tmp_path, save_steps=1, after_step=poison)
    assert not list(tmp_path.glob(".partial-*"))


def test_a_full_disk_ends_the_run_with_the_last_checkpoint(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write = state.save_optimizer

    def full(moments: Any, folder: Path) -> None:
        if "checkpoint-2" in str(folder):
            raise OSError(errno.ENOSPC, "No space left on device")
        write(moments, folder)

    monkeypatch.setattr(state, "save_optimizer", full)
    with pytest.raises(TrainingError, match=r"checkpoint-2 .*No space left.*checkpoint-1"):
        run(tmp_path, save_steps=1)
    assert not list(tmp_path.glob(".partial-*"))
    monkeypatch.undo()
    options = {"save_steps": 1}
    assert difference(run(tmp_path, **options), run(tmp_path / "whole")) == 0.0


def test_the_state_is_readable_json(finished: Path) -> None:
    latest = finished / "checkpoint-3"
    assert json.loads((latest / state.SCHEDULER).read_text())["last_epoch"] == 3
    assert json.loads((latest / "progress.json").read_text())["step"] == 3
