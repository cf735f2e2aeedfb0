"""A transformers Trainer whose checkpoints are atomic, free of pickles, and hold what trains only.

They are the same whatever engine made them: weights and moments whole, in float32.
"""

from __future__ import annotations

import logging
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from torch import Tensor
from transformers import Trainer

from ..errors import TrainingError
from . import checkpoints, state, zero

logger = logging.getLogger(__name__)


class CheckpointedTrainer(Trainer):
    """Saves and resumes; what a step computes is the subclass's."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self._saving_to: Path | None = None
        self._problem: Exception | None = None
        super().__init__(*args, **kwargs)

    @property
    def _root(self) -> Path:
        return Path(str(self.args.output_dir))

    @property
    def _task(self) -> Any:
        # The task itself; under FSDP2 its parameters are sharded in place.
        return self.model

    def _kept(self) -> str:
        kept = checkpoints.numbered_checkpoints(self._root)
        return f"the last checkpoint is {kept[0][1]}" if kept else "nothing was saved yet"

    def resume(self) -> Any:
        """Train, going on from the last good checkpoint of the output folder if there is one."""
        if self.is_world_process_zero():
            checkpoints.remove_leftovers(self._root)
        self.accelerator.wait_for_everyone()
        found = checkpoints.last_good_checkpoint(self._root)
        if found is not None:
            logger.warning("going on from %s", found)
        return self.train(resume_from_checkpoint=None if found is None else str(found))

    def _get_output_dir(self, trial: Any) -> str:
        # While a checkpoint is being written, everything goes to the hidden folder.
        return super()._get_output_dir(trial) if self._saving_to is None else str(self._saving_to)

    def _save_checkpoint(self, model: Any, trial: Any) -> None:
        root = self._root
        name = f"checkpoint-{self.state.global_step}"
        staging = checkpoints.staging_folder(root / name)
        self._saving_to, self._problem = staging, None
        try:
            with self._noting_problems():
                super()._save_checkpoint(model, trial)
        finally:
            self._saving_to = None
        self._agree(name, staging)
        if self.is_world_process_zero():
            with self._noting_problems():
                checkpoints.publish(staging / name, root / name)
        self._agree(name, staging)
        if self.is_world_process_zero():
            shutil.rmtree(staging, ignore_errors=True)
            checkpoints.remove_old(root, self.args.save_total_limit)

    @contextmanager
    def _noting_problems(self) -> Iterator[None]:
        """Keep a failure for later: the other processes wait in collective calls meanwhile."""
        try:
            yield
        except (OSError, SafetensorError, TrainingError) as error:
            self._problem = self._problem or error

    def _agree(self, name: str, staging: Path) -> None:
        """Stop on every process when saving failed on one of them."""
        failed = torch.tensor(float(self._problem is not None), device=self.args.device)
        if not bool(self.accelerator.reduce(failed, reduction="sum") > 0):
            return
        # A full disk gets its room back.
        shutil.rmtree(staging, ignore_errors=True)
        reason = self._problem or "another process could not write"
        raise TrainingError(
            f"{name} could not be saved: {reason}; {self._kept()}"
        ) from self._problem

    def save_model(self, output_dir: str | None = None, _internal_call: bool = False) -> None:
        """Write the trainable weights; the whole model is ``task.model.save_pretrained``."""
        folder = self._root if output_dir is None else Path(output_dir)
        weights = self._trainable_state()
        with self._noting_problems():
            folder.mkdir(parents=True, exist_ok=True)
            if self.args.should_save:
                state.save_weights(weights, folder)
        if not _internal_call and self._problem is not None:
            raise TrainingError(f"{folder}: {self._problem}") from self._problem

    def trained_weights(self) -> dict[str, Tensor]:
        """Weights that trained, named as in the task's model; every process must call."""
        return {k.removeprefix("model."): v for k, v in self._trainable_state().items()}

    def _trainable_state(self) -> dict[str, Tensor]:
        if self.is_deepspeed_enabled:
            return zero.master_weights(self._task)
        return state.trainable_state(self._task)

    def _save_optimizer_and_scheduler(self, output_dir: str) -> None:
        if self.is_deepspeed_enabled:
            moments = zero.optimizer_state(self._task, zero.zero_optimizer(self.deepspeed))
        else:
            moments = state.optimizer_state(self._task, _bare(self.optimizer))
        if self.args.should_save:
            with self._noting_problems():
                state.save_optimizer(moments, Path(output_dir))
                state.save_scheduler(self.lr_scheduler, Path(output_dir))

    def _save_rng_state(self, output_dir: str) -> None:
        """Nothing: every step seeds itself."""

    def _load_rng_state(self, checkpoint: str | None) -> None:
        """Nothing: every step seeds itself."""

    def _load_from_checkpoint(self, resume_from_checkpoint: str, model: Any = None) -> None:
        state.load_weights(self._task if model is None else model, Path(resume_from_checkpoint))

    def _prepare_for_training(
        self, max_steps: int, train_dataloader: Any, resume_from_checkpoint: Any
    ) -> Any:
        if not self.is_deepspeed_enabled:
            return super()._prepare_for_training(
                max_steps, train_dataloader, resume_from_checkpoint
            )
        # DeepSpeed rounds the weights before it makes its float32 masters, and its own checkpoints
        # are pickles: both are set from ours instead.
        weights = zero.weights_as_loaded(self._task)
        prepared = super()._prepare_for_training(max_steps, train_dataloader, None)
        optimizer = zero.zero_optimizer(self.deepspeed)
        if resume_from_checkpoint is not None:
            folder = Path(resume_from_checkpoint)
            weights = state.read_weights(folder)
            state.check_trainable(self._task, weights, str(folder))
            zero.set_optimizer_state(self._task, optimizer, state.read_optimizer(folder))
            state.load_scheduler(self.lr_scheduler, folder)
        zero.set_master_weights(self._task, weights)
        return prepared

    def _load_optimizer_and_scheduler(self, checkpoint: str | None) -> None:
        if checkpoint is not None:  # with DeepSpeed it is loaded elsewhere
            state.load_optimizer(self._task, _bare(self.optimizer), Path(checkpoint))
            state.load_scheduler(self.lr_scheduler, Path(checkpoint))


def _bare(optimizer: Any) -> torch.optim.Optimizer:
    """The optimizer inside accelerate's wrapper."""
    return getattr(optimizer, "optimizer", optimizer)
