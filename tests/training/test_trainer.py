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
from transformers import TrainerCallback

from dllm_audio.errors import CheckpointError, TrainingError
from dllm_audio.losses import VRPOLoss
from dllm_audio.training import (
    CurvePlot,
    DiffusionTask,
    ExactTrainer,
    PreferenceTask,
    Reference,
    attach_lora,
    checkpoints,
    last_good_checkpoint,
    state,
    train_only,
)

from .tiny import LORA, arguments, collator, lora_model, parameters, rows, tiny_model


class Stop(Exception):  # noqa: N818
    """Stands for a power cut."""


class StopAt(TrainerCallback):
    def __init__(self, step: int) -> None:
        self.step = step

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        if state.global_step == self.step:
            raise Stop


def run(
    folder: Path,
    *,
    pairs: bool = False,
    callbacks: tuple[TrainerCallback, ...] = (),
    dropout: float = 0.0,
    **options: Any,
) -> ExactTrainer:
    model = lora_model().double()
    if dropout:
        model = tiny_model(dropout=dropout).double()
        train_only(model, ["adapter"])
    task: Any = DiffusionTask(model)
    if pairs:
        task = PreferenceTask(model, VRPOLoss(), Reference("adapter", model, LORA))
    args = arguments(folder, **options)
    trainer = ExactTrainer(
        task, args, rows(12, pairs), rows(4, pairs), collator(pairs), callbacks=callbacks
    )
    trainer.resume()
    return trainer


def difference(a: ExactTrainer, b: ExactTrainer) -> float:
    first, second = parameters(a.model), parameters(b.model)
    assert first.keys() == second.keys()
    return max(float((first[name] - second[name]).abs().max()) for name in first)


@pytest.mark.parametrize("pairs", [False, True])
def test_accumulation_equals_the_large_batch(tmp_path: Path, pairs: bool) -> None:
    large = run(tmp_path / "a", pairs=pairs, max_steps=3)
    small = run(
        tmp_path / "b",
        pairs=pairs,
        max_steps=3,
        per_device_train_batch_size=1,
        gradient_accumulation_steps=4,
    )
    assert difference(large, small) < 1e-10
    losses = [[e["loss"] for e in t.state.log_history if "loss" in e] for t in (large, small)]
    assert losses[0] == pytest.approx(losses[1], rel=1e-5)


def test_gradient_checkpointing_changes_nothing(tmp_path: Path) -> None:
    plain = run(tmp_path / "a")
    recomputed = run(tmp_path / "b", activation_checkpointing=True)
    assert recomputed.model.model.backbone.gradient_checkpointing
    assert difference(plain, recomputed) < 1e-10


@pytest.mark.parametrize("stored", [torch.float32, torch.bfloat16])
def test_bfloat16_keeps_trained_weights_in_float32(tmp_path: Path, stored: torch.dtype) -> None:
    model = tiny_model()
    model.backbone.to(stored)
    attach_lora(model.backbone, LORA)
    train_only(model, ["adapter", "lora"])
    args = arguments(tmp_path, bf16=True, max_steps=2)
    trainer = ExactTrainer(DiffusionTask(model), args, rows(8), None, collator())
    trainer.resume()
    assert {p.dtype for p in model.parameters() if p.requires_grad} == {torch.float32}
    moments = trainer.optimizer.optimizer.state.values()
    assert {m["exp_avg_sq"].dtype for m in moments} == {torch.float32}
    assert all(math.isfinite(e["loss"]) for e in trainer.state.log_history if "loss" in e)


def test_frozen_parts_are_bit_equal_and_take_no_optimizer_memory(tmp_path: Path) -> None:
    model = tiny_model()
    train_only(model, ["adapter"])
    before, buffers = parameters(model), {n: b.clone() for n, b in model.named_buffers()}
    args = arguments(tmp_path, save_strategy="steps", save_steps=4)
    trainer = ExactTrainer(DiffusionTask(model), args, rows(12), None, collator())
    trainer.resume()
    trained = {name for name, p in model.named_parameters() if p.requires_grad}
    for name, parameter in model.named_parameters():
        assert torch.equal(parameter, before[name]) == (name not in trained), name
    assert all(torch.equal(b, buffers[n]) for n, b in model.named_buffers())
    optimizer = trainer.optimizer.optimizer
    held = {id(p) for group in optimizer.param_groups for p in group["params"]}
    assert held == {id(p) for p in model.parameters() if p.requires_grad}
    assert {id(p) for p in optimizer.state} <= held
    saved = state._read_tensors(tmp_path / "checkpoint-4" / state.WEIGHTS)
    assert set(saved) == {f"model.{name}" for name in trained}


def test_a_run_stopped_again_and_again_ends_as_an_undisturbed_one(tmp_path: Path) -> None:
    options = {"max_steps": 6, "save_strategy": "steps", "save_steps": 1, "dropout": 0.1}
    whole = run(tmp_path / "whole", **options)  # two epochs of three steps
    for step in (1, 3, 4, 5):  # before the first checkpoint, at an epoch's end, inside one
        with pytest.raises(Stop):
            run(tmp_path / "cut", callbacks=(StopAt(step),), **options)
    resumed = run(tmp_path / "cut", **options)
    assert difference(whole, resumed) == 0.0
    steps = [e["step"] for e in resumed.state.log_history if "loss" in e]
    assert steps == [1, 2, 3, 4, 5, 6]


def test_a_run_at_its_end_takes_no_further_step(tmp_path: Path) -> None:
    # Killed after the last checkpoint; a constant rate would show a step too many.
    options = {"max_steps": 4, "lr_scheduler_type": "constant", "warmup_steps": 0}
    options |= {"save_strategy": "steps", "save_steps": 2}
    whole = run(tmp_path, **options)
    again = run(tmp_path, **options)
    assert again.state.global_step == 4
    assert difference(whole, again) == 0.0
    assert not (tmp_path / "checkpoint-5").exists()


def test_one_process_uses_one_device(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    args = arguments(tmp_path)
    args._n_gpu = 2
    trainer = ExactTrainer(DiffusionTask(lora_model()), args, rows(4), None, collator())
    assert trainer.args.n_gpu == 1
    assert "one of 2 GPUs is used" in caplog.text


def test_evaluation_does_not_disturb_training(tmp_path: Path) -> None:
    plain = run(tmp_path / "a")
    watched = run(tmp_path / "b", eval_strategy="steps", eval_steps=1, callbacks=(CurvePlot(),))
    assert difference(plain, watched) == 0.0
    assert sum("eval_loss" in entry for entry in watched.state.log_history) == 4
    assert (tmp_path / "b" / "curves.png").stat().st_size > 1000


def test_preference_metrics_are_logged(tmp_path: Path) -> None:
    trainer = run(tmp_path, pairs=True, eval_strategy="steps", eval_steps=4)
    entries = trainer.state.log_history
    assert all(0 <= e["preference_accuracy"] <= 1 for e in entries if "loss" in e)
    assert any("eval_margin" in entry for entry in entries)
    # Margins are logged for the rows of the step; the first one is that of equal models.
    assert entries[0]["margin"] == pytest.approx(0, abs=1e-9)


# Damaged checkpoints.

SAVING = {"save_strategy": "steps", "save_steps": 1, "max_steps": 3}


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
    weights = [state._read_tensors(f / "checkpoint-3" / state.WEIGHTS) for f in (saved, finished)]
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
    trainer = ExactTrainer(DiffusionTask(model), arguments(saved), rows(8), None, collator())
    with pytest.raises(CheckpointError, match="not a checkpoint of this model"):
        trainer.resume()


def test_checkpoints_hold_no_pickles_and_old_ones_go(tmp_path: Path) -> None:
    run(tmp_path, save_strategy="steps", save_steps=1, max_steps=4, save_total_limit=2)
    kept = [step for step, _ in checkpoints.numbered_checkpoints(tmp_path)]
    assert kept == [4, 3]
    suffixes = {p.suffix for p in tmp_path.rglob("*") if p.is_file()}
    assert suffixes == {".json", ".safetensors"}


# Faults of a run.


def test_a_loss_that_is_not_finite_ends_the_run_before_it_does_harm(tmp_path: Path) -> None:
    class Poison(TrainerCallback):
        def on_step_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
            if state.global_step == 2:
                model = kwargs["model"].model
                with torch.no_grad():
                    model.adapter.semantic.norm.weight[0] = math.nan

    with pytest.raises(TrainingError, match=r"step 3: the loss is not finite.*checkpoint-2"):
        run(tmp_path, save_strategy="steps", save_steps=1, callbacks=(Poison(),))
    good = last_good_checkpoint(tmp_path)
    assert good is not None
    assert good.name == "checkpoint-2"
    weights = state._read_tensors(good / state.WEIGHTS)
    assert all(tensor.isfinite().all() for tensor in weights.values())


def test_weights_that_are_not_finite_are_not_saved(tmp_path: Path) -> None:
    class Poison(TrainerCallback):
        def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
            if state.global_step == 2:
                with torch.no_grad():
                    kwargs["model"].model.adapter.semantic.norm.weight[0] = math.inf

    with pytest.raises(TrainingError, match=r"checkpoint-2 could not be saved.*checkpoint-1"):
        run(tmp_path, save_strategy="steps", save_steps=1, callbacks=(Poison(),))
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
        run(tmp_path, save_strategy="steps", save_steps=1)
    assert not list(tmp_path.glob(".partial-*"))
    monkeypatch.undo()
    options = {"save_strategy": "steps", "save_steps": 1}
    assert difference(run(tmp_path, **options), run(tmp_path / "whole")) == 0.0


def test_the_state_is_readable_json(finished: Path) -> None:
    latest = finished / "checkpoint-3"
    assert json.loads((latest / state.SCHEDULER).read_text())["last_epoch"] == 3
    assert json.loads((latest / "trainer_state.json").read_text())["global_step"] == 3
