"""How a stage is optimized, and how its run is watched and kept."""

from __future__ import annotations

from dataclasses import dataclass

from ..errors import InvalidArgumentError

SCHEDULES = (
    *("linear", "cosine", "constant", "constant_with_warmup"),
    *("polynomial", "inverse_sqrt", "cosine_with_restarts"),
)


@dataclass(frozen=True, slots=True)
class Optimization:
    """How a stage is optimized: all that decides what it learns.

    Args:
        learning_rate: highest rate.
        schedule: of the rate: ``linear``, ``cosine``, ``constant``, ``constant_with_warmup``,
            ``polynomial``, ``inverse_sqrt`` or ``cosine_with_restarts``.
        epochs: passes over the data; may be a fraction.
        max_steps: optimizer steps; overrides ``epochs`` where positive.
        warmup_steps: of linear warmup.
        weight_decay: of AdamW; vectors (biases, norms) go without.
        max_grad_norm: gradients are clipped to this norm; 0 leaves them as they are.
        batch_size: rows of a micro-batch, per process.
        accumulation: micro-batches per step.
        bf16: compute in bfloat16 (weights that train stay float32).
        gradient_checkpointing: recompute the backbone's blocks in the backward pass.
    """

    learning_rate: float = 1e-4
    schedule: str = "linear"
    epochs: float = 10
    max_steps: int = -1
    warmup_steps: int = 1000
    weight_decay: float = 0.05
    max_grad_norm: float = 1.0
    batch_size: int = 16
    accumulation: int = 1
    bf16: bool = True
    gradient_checkpointing: bool = False

    def __post_init__(self) -> None:
        for name in ("learning_rate", "epochs", "batch_size", "accumulation"):
            if not getattr(self, name) > 0:
                raise InvalidArgumentError(name, "a number > 0", getattr(self, name))
        for name in ("warmup_steps", "weight_decay", "max_grad_norm"):
            if not getattr(self, name) >= 0:
                raise InvalidArgumentError(name, "a number >= 0", getattr(self, name))
        for name in ("batch_size", "accumulation", "max_steps", "warmup_steps"):
            if not isinstance(getattr(self, name), int):
                raise InvalidArgumentError(name, "an integer", getattr(self, name))
        if self.schedule not in SCHEDULES:
            raise InvalidArgumentError("schedule", f"one of {SCHEDULES}", repr(self.schedule))


@dataclass(frozen=True, slots=True)
class LoopSettings:
    """How a run is watched, kept and spread; nothing here changes what it learns.

    Args:
        logging_steps: steps between two entries of the history.
        eval_steps: steps between two evaluations; null evaluates at the end only.
        save_steps: steps between two checkpoints, and one at the end; null writes none, and an
            interrupted run starts anew.
        save_total_limit: how many checkpoints are kept; null keeps all.
        eval_batch_size: rows of an evaluation batch, per process; null: as in training.
        report_to: tracker that accelerate knows, such as ``tensorboard`` or ``wandb``; null: none.
        dataloader_num_workers: processes that read audio and make batches.
        progress: show a bar.
        use_cpu: train on the CPU even where there is a GPU.
        shard: FSDP2: spread weights, gradients and moments over the processes.  Under
            ``accelerate launch`` its own configuration may say so instead.
        timeout: seconds after which processes that wait for one another give up.
    """

    logging_steps: int = 10
    eval_steps: int | None = 500
    save_steps: int | None = 500
    save_total_limit: int | None = 2
    eval_batch_size: int | None = None
    report_to: str | None = None
    dataloader_num_workers: int = 0
    progress: bool = True
    use_cpu: bool = False
    shard: bool = False
    timeout: float = 1800.0

    def __post_init__(self) -> None:
        for name in ("logging_steps", "eval_steps", "save_steps", "save_total_limit"):
            self._check_count(name, 1, optional=name != "logging_steps")
        self._check_count("eval_batch_size", 1, optional=True)
        self._check_count("dataloader_num_workers", 0, optional=False)
        if isinstance(self.timeout, str | bool) or not self.timeout > 0:
            raise InvalidArgumentError("timeout", "seconds > 0", repr(self.timeout))
        if not isinstance(self.report_to, str | None):
            raise InvalidArgumentError(
                "report_to", "the name of a tracker, or null", self.report_to
            )
        for name in ("progress", "use_cpu", "shard"):
            if not isinstance(getattr(self, name), bool):
                raise InvalidArgumentError(name, "true or false", repr(getattr(self, name)))

    def _check_count(self, name: str, least: int, optional: bool) -> None:
        value = getattr(self, name)
        if (value is None and optional) or (type(value) is int and value >= least):
            return
        expected = f"an integer >= {least}" + (" or null" if optional else "")
        raise InvalidArgumentError(name, expected, repr(value))
