"""The engine below the loop, all of it accelerate's: one device, DDP or FSDP2."""

from __future__ import annotations

import logging
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import nn
from torch.distributed.fsdp import MixedPrecisionPolicy

from ..errors import InvalidArgumentError, MissingDependencyError
from .settings import LoopSettings

if TYPE_CHECKING:
    from accelerate import Accelerator

logger = logging.getLogger(__name__)


def make_accelerator(
    model: nn.Module, settings: LoopSettings, bf16: bool, folder: Path
) -> Accelerator:
    """The engine of a run.

    Args:
        model: what will be prepared; its repeated layers are what FSDP2 gathers one at a time.
        settings: device, sharding, trackers.
        bf16: the stage computes in bfloat16.
        folder: of the run, for trackers that write files.

    Raises:
        InvalidArgumentError: the launcher asks for another precision than the stage, for FSDP1 or
            for DeepSpeed.
        MissingDependencyError: accelerate is not installed.
    """
    try:
        from accelerate import Accelerator
        from accelerate.utils import (
            DistributedDataParallelKwargs,
            FullyShardedDataParallelPlugin,
            InitProcessGroupKwargs,
            ProjectConfiguration,
        )
    except ImportError as error:
        raise MissingDependencyError("accelerate", "training", "train") from error
    plugin = None
    if settings.shard:
        plugin = FullyShardedDataParallelPlugin(
            fsdp_version=2, auto_wrap_policy="transformer_based_wrap", state_dict_type=None
        )
    accelerator = Accelerator(
        cpu=settings.use_cpu,
        log_with=settings.report_to,
        project_config=ProjectConfiguration(str(folder), logging_dir=str(folder / "logs")),
        fsdp_plugin=plugin,
        kwargs_handlers=[
            DistributedDataParallelKwargs(find_unused_parameters=False),
            InitProcessGroupKwargs(timeout=timedelta(seconds=settings.timeout)),
        ],
    )
    _check(accelerator, bf16)
    if accelerator.is_fsdp2:
        plugin = accelerator.state.fsdp_plugin  # of this run or of the launcher
        # Weights are gathered and multiplied in bfloat16.  What enters and leaves a module stays
        # as it is: rotary tables and losses are float32.
        plugin.mixed_precision_policy = MixedPrecisionPolicy(
            param_dtype=torch.bfloat16 if bf16 else None,
            reduce_dtype=torch.float32 if bf16 else None,
            output_dtype=None,
            cast_forward_inputs=False,
        )
        plugin.transformer_cls_names_to_wrap = sorted(repeated_layers(model))
    elif accelerator.num_processes == 1 and torch.cuda.device_count() > 1 and not settings.use_cpu:
        logger.warning("one of %d GPUs is used; torchrun uses all", torch.cuda.device_count())
    if settings.report_to is not None:
        accelerator.init_trackers(folder.name or "run")
    return accelerator


def repeated_layers(model: nn.Module) -> set[str]:
    """Class names of layers that stand in a list of their like.

    Example:
        >>> layers = nn.ModuleList(nn.Linear(2, 2) for _ in range(2))
        >>> repeated_layers(nn.ModuleDict({"layers": layers, "norm": nn.LayerNorm(2)}))
        {'Linear'}
    """
    found: set[str] = set()
    for module in model.modules():
        if isinstance(module, nn.ModuleList) and len({type(layer) for layer in module}) == 1:
            found.add(type(module[0]).__name__)
    return found


def _check(accelerator: Accelerator, bf16: bool) -> None:
    precision = accelerator.mixed_precision
    if precision not in ("no", "bf16" if bf16 else "no"):
        expected = "'no' in the launcher's configuration, because the stage's 'bf16' decides"
        raise InvalidArgumentError("mixed_precision", expected, repr(precision))
    kind = str(accelerator.distributed_type.value)
    if kind == "DEEPSPEED" or (kind == "FSDP" and not accelerator.is_fsdp2):
        expected = "MULTI_GPU, or FSDP with fsdp_version 2, in the launcher's configuration"
        raise InvalidArgumentError("distributed_type", expected, kind)
