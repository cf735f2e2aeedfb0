"""Runs in processes of their own that are killed or run out of disk."""

from __future__ import annotations

import random
import time
from pathlib import Path

import torch
from safetensors.torch import load_file

from dllm_audio.training import checkpoints, last_good_checkpoint

from . import workers

OPTIONS = {"max_steps": 12, "save_steps": 1, "save_total_limit": 3}


def test_kill_at_any_moment(tmp_path: Path) -> None:
    workers.train_and_export(tmp_path / "whole", "diffusion", OPTIONS)
    folder = tmp_path / "killed"
    chance = random.Random(4)
    kills = 0
    for _ in range(40):
        before = latest_step(folder)
        options = {**OPTIONS, "wait_at": before + 4}
        process = workers.start(workers.train_and_export, folder, "diffusion", options)
        # Wait for the run to get somewhere, then for a moment that may fall anywhere in a step.
        while process.is_alive() and latest_step(folder) < before + 2:
            time.sleep(0.005)
        time.sleep(chance.uniform(0, 0.15))
        process.kill()
        process.join()
        kills += process.exitcode == -9
        if (folder / "trained.safetensors").exists():
            break
    assert kills >= 3
    found, expected = (load_file(f / "trained.safetensors") for f in (folder, tmp_path / "whole"))
    assert all(torch.equal(found[name], expected[name]) for name in expected)
    assert all(checkpoints.fault(f) is None for _, f in checkpoints.numbered_checkpoints(folder))


def latest_step(folder: Path) -> int:
    found = checkpoints.numbered_checkpoints(folder)
    return found[0][0] if found else 0


def test_files_that_cannot_grow(tmp_path: Path) -> None:
    assert workers.run(workers.train_with_small_disk, tmp_path, 20_000) == 0
    message = (tmp_path / "error.txt").read_text()
    assert "checkpoint-4 could not be saved" in message
    assert f"the last checkpoint is {tmp_path / 'checkpoint-2'}" in message
    assert last_good_checkpoint(tmp_path) == tmp_path / "checkpoint-2"
    assert not list(tmp_path.glob(".partial-*"))
