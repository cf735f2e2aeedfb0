"""The training loop: how a step goes, from rows to changed weights.

Runs are exact.  The order of the rows and the noise depend on seed, epoch, step and row alone; the
loss of a step is divided by the true count over micro-batches and processes; a run killed at any
moment goes on from its last checkpoint to the same bits; a loss that is not finite or a full disk
ends the run with the last good checkpoint named.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset
from tqdm.auto import tqdm
from transformers import get_scheduler

from ..data import IGNORED, EpochOrder
from ..data.records import Record
from ..errors import TrainingError
from . import checkpoints, state
from .curves import draw_curves
from .engine import make_accelerator
from .meter import DeviceMeter, Meter
from .noise import EVALUATION, row_seeds, seed_step
from .settings import LoopSettings, Optimization
from .tasks import Task, TaskOutput

logger = logging.getLogger(__name__)

Records = Dataset[Record] | Sequence[Record]
Batch = dict[str, Tensor]


@dataclass(frozen=True, slots=True)
class StageData:
    """What a stage learns from.

    Args:
        train: records.
        collator: makes batches of them.
        evaluation: held-out records, or named sets of them; None goes without.
        lengths: one number per training row, to group rows of similar length.
    """

    train: Records
    collator: Callable[[Sequence[Any]], Batch]
    evaluation: Records | Mapping[str, Records] | None = None
    lengths: Sequence[float] | None = None


class Loop:
    """Trains a :class:`Task` in the folder of a run; :meth:`run` starts it or goes on with it.

    Args:
        task: what a step computes; parameters that do not require gradients stay as they are.
        data: what is learned from.
        folder: of checkpoints, curves and logs.
        optimization: rates, batches, lengths.
        settings: how the run is watched, kept and spread.
        seed: of order, noise and dropout.
        after_step: called when a step is done, before it is logged and saved; True ends the run
            behind it.

    Attributes:
        step: optimizer steps that are done.
        history: what was logged, with ``step`` and ``epoch``.
    """

    def __init__(
        self,
        task: Task,
        data: StageData,
        folder: str | Path,
        optimization: Optimization,
        settings: LoopSettings | None = None,
        *,
        seed: int = 0,
        after_step: Callable[[Loop], bool | None] | None = None,
    ) -> None:
        self.task, self.data, self.folder = task, data, Path(folder)
        self.optimization, self.seed, self.after_step = optimization, seed, after_step
        self.settings = LoopSettings() if settings is None else settings
        self.accelerator = make_accelerator(task, self.settings, optimization.bf16, self.folder)
        if optimization.gradient_checkpointing:
            task.recompute_blocks()
        # What is frozen is not in the optimizer and takes no memory there.
        matrices: list[nn.Parameter] = []
        vectors: list[nn.Parameter] = []
        for parameter in state.trainable_parameters(task).values():
            (matrices if parameter.ndim > 1 else vectors).append(parameter)
        decays = ((matrices, optimization.weight_decay), (vectors, 0.0))
        optimizer = torch.optim.AdamW(
            [{"params": group, "weight_decay": decay} for group, decay in decays if group],
            lr=optimization.learning_rate,
            fused=True,
        )
        self.device: torch.device = self.accelerator.device
        self.model, prepared = self.accelerator.prepare(task, optimizer)
        self.optimizer: torch.optim.Optimizer = prepared.optimizer
        world = self.accelerator.num_processes
        rows = optimization.batch_size * optimization.accumulation * world
        self.order = EpochOrder(len(data.train), rows, seed, data.lengths)  # type: ignore[arg-type]
        self.steps_per_epoch = len(self.order) // rows
        self.steps = optimization.max_steps
        if self.steps <= 0:
            self.steps = math.ceil(optimization.epochs * self.steps_per_epoch)
        self.scheduler = get_scheduler(
            optimization.schedule, self.optimizer, optimization.warmup_steps, self.steps
        )
        self.step, self.rate = 0, 0.0
        self.history: list[dict[str, float]] = []
        self.meter = Meter()

    # The run.

    def run(self) -> Loop:
        """Train to the end, from the last good checkpoint of the folder if there is one.

        Raises:
            TrainingError: a loss that is not finite, or a checkpoint that cannot be written.
            CheckpointError: none of the checkpoints can be used.
        """
        self._resume()
        hidden = not (self.settings.progress and self.accelerator.is_main_process)
        bar = tqdm(total=self.steps, initial=self.step, unit="step", disable=hidden)
        stopped = False
        while self.step < self.steps and not stopped:
            for batches in self._steps_of_epoch():
                self._take_step(batches)
                self.step += 1
                bar.update()
                stopped = bool(self.after_step and self.after_step(self))
                if self._is_due(self.settings.logging_steps):
                    self._log({**self.meter.means(), "learning_rate": self.rate})
                    self.meter = Meter()
                    bar.set_postfix(loss=self.history[-1]["loss"])
                if self.data.evaluation is not None and self._is_due(self.settings.eval_steps):
                    self._log(self.evaluate())
                if self.settings.save_steps is not None and self._is_due(self.settings.save_steps):
                    self._save()
                if stopped or self.step >= self.steps:
                    break
        bar.close()
        if self.accelerator.is_main_process:
            draw_curves(self.history, self.folder)
        for tracker in self.accelerator.trackers:
            tracker.finish()
        return self

    def _steps_of_epoch(self) -> Iterator[list[Batch]]:
        """This process's micro-batches of each step that is left of the present epoch."""
        epoch, done = divmod(self.step, self.steps_per_epoch)
        self.order.set_epoch(epoch)
        rows, size = list(self.order), self.optimization.batch_size
        # Micro-batches of a step: the first of every process, then the second of every process.
        micro = [rows[i : i + size] for i in range(done * self.order.global_batch, len(rows), size)]
        mine = micro[self.accelerator.process_index :: self.accelerator.num_processes]
        batches = iter(self._loader(self.data.train, mine))
        for _ in range(done, self.steps_per_epoch):
            yield [next(batches) for _ in range(self.optimization.accumulation)]

    def _take_step(self, batches: Sequence[Batch]) -> None:
        """Forward and backward over the micro-batches, then the optimizer."""
        counted = sum(int((batch["labels"] != IGNORED).sum()) for batch in batches)
        count = self.accelerator.reduce(torch.tensor(counted, device=self.device), "sum")
        measured = DeviceMeter()
        for index, batch in enumerate(batches):
            seed_step(self.seed, self.step, index, self.accelerator.process_index)
            last = index + 1 == len(batches)
            with nullcontext() if last else self.accelerator.no_sync(self.model):
                outputs = self._forward(batch, self.step, count)
                # The engines take the mean over processes, and the count is that of all of them.
                self.accelerator.backward(outputs["loss"] * self.accelerator.num_processes)
            measured.add(outputs, len(batch["row"]), loss_is_mean=False)
        largest = self.optimization.max_grad_norm or math.inf
        norm = float(state.whole(self.accelerator.clip_grad_norm_(self.task.parameters(), largest)))
        found = measured.over_processes(self.accelerator)
        loss = found["loss"][0]  # the shares of all micro-batches add up to the step's
        # Before the optimizer steps: it would spoil the weights.
        if not math.isfinite(loss + norm):
            what = "gradient" if math.isfinite(loss) else "loss"
            raise TrainingError(
                f"step {self.step + 1}: the {what} is not finite; {self._kept()}; "
                "try a lower learning rate or max_grad_norm"
            )
        self.meter.add({**found, "loss": [loss, 1.0], "grad_norm": [norm, 1.0]})
        self.rate = self.optimizer.param_groups[0]["lr"]
        self.optimizer.step()
        self.scheduler.step()
        self.optimizer.zero_grad()

    def _forward(self, batch: Batch, step: int, count: Tensor | None = None) -> TaskOutput:
        """The task's output for a batch, from noise that depends on seed, step and row."""
        inputs = {k: v.to(self.device, non_blocking=True) for k, v in batch.items() if k != "row"}
        seeds = row_seeds(self.seed, step, batch["row"])
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.optimization.bf16):
            return self.model(**inputs, seeds=seeds, num_items_in_batch=count)

    @torch.no_grad()
    def evaluate(self) -> dict[str, float]:
        """Means over the held-out rows, each counted once whatever the number of processes."""
        data = self.data.evaluation
        if data is None:
            return {}
        self.model.eval()
        found: dict[str, float] = {}
        size = self.settings.eval_batch_size or self.optimization.batch_size
        world, rank = self.accelerator.num_processes, self.accelerator.process_index
        for name, records in (data if isinstance(data, Mapping) else {"": data}).items():
            number: int = len(records)  # type: ignore[arg-type]
            batches = [range(i, min(i + size, number)) for i in range(0, number, size)]
            # Forward passes are taken together; who has no batch left goes through one uncounted.
            padded = batches + batches[:1] * (-len(batches) % world)
            measured = DeviceMeter()
            for index, batch in enumerate(self._loader(records, padded[rank::world])):
                outputs = self._forward(batch, EVALUATION)
                counts = index * world + rank < len(batches)
                measured.add(outputs, len(batch["row"]) if counts else 0, loss_is_mean=True)
            prefix = f"eval_{name}_" if name else "eval_"
            means = Meter(measured.over_processes(self.accelerator)).means()
            found |= {f"{prefix}{key}": value for key, value in means.items()}
        self.model.train()
        return found

    def _loader(self, records: Records, batches: Sequence[Sequence[int]]) -> DataLoader[Batch]:
        return DataLoader(
            records,  # type: ignore[arg-type]
            batch_sampler=batches,  # type: ignore[arg-type]
            collate_fn=self.data.collator,
            num_workers=self.settings.dataloader_num_workers,
            pin_memory=self.device.type == "cuda",
            generator=torch.Generator(),  # the global one belongs to the step
        )

    def _log(self, values: dict[str, float]) -> None:
        self.accelerator.log(values, step=self.step)
        epoch = self.step / self.steps_per_epoch
        self.history.append({**values, "epoch": epoch, "step": self.step})

    def _is_due(self, steps: int | None) -> bool:
        return self.step >= self.steps or (steps is not None and self.step % steps == 0)

    # Checkpoints.

    def _save(self) -> None:
        """Write a checkpoint; all processes gather, the main one writes."""
        weights = state.trainable_state(self.task)
        moments = state.optimizer_state(self.task, self.optimizer)
        folder, problem = self.folder / f"checkpoint-{self.step}", None
        if self.accelerator.is_main_process:
            progress = {"step": self.step, "history": self.history, "sums": self.meter.totals}
            try:
                with checkpoints.writing(folder) as staging:
                    state.save_weights(weights, staging)
                    state.save_optimizer(moments, staging)
                    state.save_scheduler(self.scheduler, staging)
                    state.save_progress(progress, staging)
            except (OSError, SafetensorError, TrainingError) as error:
                problem = error
        failed = torch.tensor(float(problem is not None), device=self.device)
        if self.accelerator.reduce(failed, "sum") > 0:
            reason = problem or "the main process could not write"
            message = f"{folder.name} could not be saved: {reason}; {self._kept()}"
            raise TrainingError(message) from problem
        if self.accelerator.is_main_process:
            checkpoints.remove_old(self.folder, self.settings.save_total_limit)
            draw_curves(self.history, self.folder)

    def _resume(self) -> None:
        if self.accelerator.is_main_process:
            checkpoints.remove_leftovers(self.folder)
        self.accelerator.wait_for_everyone()
        found = checkpoints.last_good_checkpoint(self.folder)
        if found is None:
            return
        logger.warning("going on from %s", found)
        state.load_weights(self.task, found)
        state.load_optimizer(self.task, self.optimizer, found)
        state.load_scheduler(self.scheduler, found)
        progress = state.read_progress(found)
        self.step, self.history = progress["step"], progress["history"]
        self.meter = Meter(progress["sums"])

    def trained_weights(self) -> dict[str, Tensor]:
        """Weights that trained, named as in the task's model; every process must call."""
        return {k.removeprefix("model."): v for k, v in state.trainable_state(self.task).items()}

    def _kept(self) -> str:
        kept = checkpoints.numbered_checkpoints(self.folder)
        return f"the last checkpoint is {kept[0][1]}" if kept else "nothing was saved yet"
