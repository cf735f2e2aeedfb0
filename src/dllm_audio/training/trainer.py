"""A transformers Trainer whose runs are exact: any interruption, batching or number of processes.

What it changes: the order of the rows and the noise depend on seed, epoch, step and row alone;
the loss of a step is divided by the true count over accumulation and processes; a loss that is not
finite ends the run.  Checkpoints are those of :mod:`.saving`.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor
from torch.distributed.fsdp import MixedPrecisionPolicy
from torch.utils.data import Dataset
from transformers import TrainerCallback, TrainingArguments

from ..data import EpochOrder
from ..errors import TrainingError
from .noise import EVALUATION, row_seeds, seed_step
from .saving import CheckpointedTrainer
from .tasks import Task

logger = logging.getLogger(__name__)


class ExactTrainer(CheckpointedTrainer):
    """Trains a :class:`Task`.

    Args:
        task: what a step computes.
        args: transformers' training arguments; see :func:`~dllm_audio.training.training_arguments`.
        train_dataset: records with a ``row``.
        eval_dataset: records, or named sets of records.
        data_collator: makes batches of records.
        lengths: one number per training row, to group rows of similar length.
        callbacks: further callbacks.
    """

    def __init__(
        self,
        task: Task,
        args: TrainingArguments,
        train_dataset: Dataset[Any] | Sequence[Any],
        eval_dataset: Any = None,
        data_collator: Any = None,
        lengths: Sequence[float] | None = None,
        callbacks: Sequence[TrainerCallback] = (),
    ) -> None:
        self.lengths = lengths
        self._order: EpochOrder | None = None
        self._micro_step = 0
        self._finite = True
        self._sums: dict[str, tuple[Tensor, int]] = {}
        self._prefix = "eval"
        if args.n_gpu > 1:  # transformers would spread each batch with DataParallel, and inexactly
            logger.warning("one of %d GPUs is used; torchrun uses all of them", args.n_gpu)
            args._n_gpu = 1
        super().__init__(
            model=task,
            args=args,
            data_collator=data_collator,
            train_dataset=train_dataset,
            eval_dataset=eval_dataset,
            callbacks=[_StepHooks(self), *callbacks],
        )

    def create_accelerator_and_postprocess(self) -> None:
        """Make the engine; with FSDP2, mixed precision is for weights and gradients only."""
        super().create_accelerator_and_postprocess()
        plugin: Any = getattr(self.accelerator.state, "fsdp_plugin", None)
        policy = getattr(plugin, "mixed_precision_policy", None)
        if isinstance(policy, MixedPrecisionPolicy):
            # accelerate would also round what enters and leaves a module: rotary tables and losses.
            plugin.mixed_precision_policy = replace(
                policy, cast_forward_inputs=False, output_dtype=None
            )

    # Data.

    def _get_train_sampler(self, train_dataset: Any = None) -> EpochOrder:
        args = self.args
        batch = self._train_batch_size * args.gradient_accumulation_steps * args.world_size
        dataset: Any = self.train_dataset if train_dataset is None else train_dataset
        seed = args.seed if args.data_seed is None else args.data_seed
        self._order = EpochOrder(len(dataset), batch, seed, self.lengths)
        return self._order

    def begin_epoch(self, epoch: int) -> None:
        """Set the epoch of the order; called when an epoch begins or is resumed."""
        if self._order is not None:
            self._order.set_epoch(epoch)

    def _run_epoch(self, *args: Any, **kwargs: Any) -> None:
        # A run that was killed between its last checkpoint and its end has nothing left to learn;
        # transformers would take one step more.
        if self.state.global_step >= self.state.max_steps:
            self.control.should_training_stop = True
            return
        super()._run_epoch(*args, **kwargs)

    # Loss.

    def training_step(self, model: Any, inputs: Any, num_items_in_batch: Any = None) -> Tensor:
        """One forward and backward pass, from a random state that depends on the step alone."""
        rank = self.args.process_index
        seed_step(self.args.seed, self.state.global_step, self._micro_step, rank)
        self._micro_step += 1
        return super().training_step(model, inputs, num_items_in_batch)

    def compute_loss(
        self,
        model: Any,
        inputs: Any,
        return_outputs: bool = False,
        num_items_in_batch: Any = None,
    ) -> Any:
        """Loss of one micro-batch, so scaled that the engines' mean over processes is exact."""
        inputs = dict(inputs)
        training = model.training
        step = self.state.global_step if training else EVALUATION
        batch_size = len(inputs["row"])
        counted = batch_size if training else self._counted(batch_size)
        if 0 < counted < batch_size:  # without any, the forward pass is for the other processes
            inputs = {name: value[:counted] for name, value in inputs.items()}
        inputs["seeds"] = row_seeds(self.args.seed, step, inputs.pop("row"))
        outputs = model(**inputs, num_items_in_batch=num_items_in_batch)
        loss = outputs["loss"]
        for name, value in outputs.items():
            if not (training and name == "loss"):
                self._collect(name, value.expand(counted or batch_size)[:counted], training)
        if training:
            self._finite = self._finite and bool(loss.isfinite())
            if self.is_deepspeed_enabled:  # its backward pass also takes the optimizer's step
                self.check_finite()
            if num_items_in_batch is not None:
                loss = loss * self.accelerator.num_processes
        return (loss, outputs) if return_outputs else loss

    def evaluation_loop(
        self,
        dataloader: Any,
        description: str,
        prediction_loss_only: bool | None = None,
        ignore_keys: list[str] | None = None,
        metric_key_prefix: str = "eval",
    ) -> Any:
        """Evaluate; the values of a named data set keep its name."""
        self._prefix = metric_key_prefix
        return super().evaluation_loop(
            dataloader, description, prediction_loss_only, ignore_keys, metric_key_prefix
        )

    def _counted(self, batch_size: int) -> int:
        """How many rows of a batch count; accelerate fills up the last round with first rows."""
        loading = self.accelerator.gradient_state
        if not loading.end_of_dataloader or loading.remainder <= 0:
            return batch_size
        before = self.args.process_index * batch_size
        return min(max(loading.remainder - before, 0), batch_size)

    def end_step(self) -> None:
        """The gradients are complete, and the optimizer will step."""
        self._micro_step = 0
        self.check_finite()

    def check_finite(self) -> None:
        """Stop before the optimizer steps on gradients of a loss that is not finite.

        Raises:
            TrainingError: on every process.
        """
        finite = torch.tensor(float(self._finite), device=self.args.device)
        if not bool(self.accelerator.reduce(finite, reduction="sum") == self.args.world_size):
            raise TrainingError(
                f"step {self.state.global_step + 1}: the loss is not finite; "
                f"{self._kept()}; try a lower learning rate or max_grad_norm"
            )

    # Extra values of a task in the logs.

    def _collect(self, name: str, value: Tensor, training: bool) -> None:
        for key, row_values in task_metrics(name, value).items():
            key = key if training else f"{self._prefix}_{key}"
            total, count = self._sums.get(key, (torch.zeros((), device=value.device), 0))
            self._sums[key] = (total + row_values.float().sum(), count + row_values.numel())

    def log(self, logs: dict[str, float], *args: Any, **kwargs: Any) -> None:
        """Log with the means of the task's own values since the last time."""
        prefix = "eval_" if any(name.startswith("eval_") for name in logs) else ""
        for name in sorted(n for n in self._sums if n.startswith("eval_") == bool(prefix)):
            total, count = self._sums.pop(name)
            pair = torch.stack((total, total.new_tensor(float(count))))
            summed = self.accelerator.reduce(pair, reduction="sum")
            logs[name] = float(summed[0] / summed[1])
        super().log(logs, *args, **kwargs)


class _StepHooks(TrainerCallback):
    """Transformers' public moments at which the trainer acts."""

    def __init__(self, trainer: ExactTrainer) -> None:
        self.trainer = trainer

    def on_epoch_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        # A resumed run has a fractional epoch here.
        self.trainer.begin_epoch(int(state.epoch or 0))

    def on_pre_optimizer_step(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        self.trainer.end_step()


def task_metrics(name: str, value: Tensor) -> dict[str, Tensor]:
    """What is logged of a task's output besides its loss."""
    if name == "margin":
        return {"margin": value, "preference_accuracy": value > 0}
    return {name: value}
