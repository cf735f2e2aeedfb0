"""What a checkpoint holds: trainable weights, optimizer and schedule, without pickles.

Weights and moments are gathered whole, so that a run may go on with another number of processes.
Frozen weights are not stored: they come from where they came from before.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.distributed.checkpoint.state_dict import (
    StateDictOptions,
    get_model_state_dict,
    get_optimizer_state_dict,
    set_model_state_dict,
    set_optimizer_state_dict,
)
from torch.distributed.tensor import DTensor

from ..errors import CheckpointError, TrainingError
from ..files import parse_json, read_text

WEIGHTS = "trainable.safetensors"
MOMENTS = "optimizer.safetensors"
OPTIMIZER = "optimizer.json"
SCHEDULER = "scheduler.json"
PROGRESS = "progress.json"


def trainable_parameters(model: nn.Module) -> dict[str, nn.Parameter]:
    """The parameters that train, by name."""
    return {name: p for name, p in model.named_parameters() if p.requires_grad}


def trainable_state(model: nn.Module) -> dict[str, Tensor]:
    """Trainable weights by name, whole, on the CPU (on rank 0; empty elsewhere when sharded)."""
    options = StateDictOptions(full_state_dict=True, cpu_offload=True, ignore_frozen_params=True)
    state: Any = get_model_state_dict(model, options=options)
    trained = {_bare(name) for name in trainable_parameters(model)}
    # Buffers stay behind: they are constants of the architecture.
    return {k: v.contiguous() for k, v in state.items() if _bare(k) in trained}


def whole_state(model: nn.Module) -> dict[str, Tensor]:
    """All weights and buffers by name, whole, on the CPU (on rank 0; empty elsewhere).

    Every process must call.
    """
    options = StateDictOptions(full_state_dict=True, cpu_offload=True)
    found: Any = get_model_state_dict(model, options=options)
    return {_bare(name): _own(tensor) for name, tensor in found.items()}


def check_trainable(model: nn.Module, state: Mapping[str, Tensor], source: str) -> None:
    """Make sure that weights are those that train.

    Raises:
        CheckpointError: names or shapes are not those of the model's trainable parameters.
    """
    expected = {_bare(n): tuple(p.shape) for n, p in trainable_parameters(model).items()}
    found = {_bare(name): tuple(tensor.shape) for name, tensor in state.items()}
    if found != expected:
        missing, extra = sorted(expected.keys() - found.keys()), found.keys() - expected.keys()
        shapes = [n for n in expected.keys() & found.keys() if expected[n] != found[n]]
        raise CheckpointError(
            f"{source}: not a checkpoint of this model: missing {missing[:3]}, unexpected "
            f"{sorted(extra)[:3]}, other shapes {sorted(shapes)[:3]}"
        )


def load_trainable_state(model: nn.Module, state: Mapping[str, Tensor], source: str) -> None:
    """Load trainable weights into a model, sharded or not.

    Raises:
        CheckpointError: names or shapes are not those of the model's trainable parameters.
    """
    check_trainable(model, state, source)
    options = StateDictOptions(full_state_dict=True, strict=False)
    set_model_state_dict(model, dict(state), options=options)


def save_weights(state: Mapping[str, Tensor], folder: Path) -> None:
    """Write trainable weights.

    Raises:
        TrainingError: a weight is not finite, and a checkpoint of it would be worth nothing.
    """
    broken = [name for name, tensor in state.items() if not tensor.isfinite().all()]
    if broken:
        raise TrainingError(f"weights are not finite: {broken[:3]}")
    save_file(dict(state), folder / WEIGHTS)


def read_weights(folder: Path) -> dict[str, Tensor]:
    """What :func:`save_weights` wrote."""
    return read_tensors(folder / WEIGHTS)


def load_weights(model: nn.Module, folder: Path) -> None:
    """Put back what :func:`save_weights` wrote."""
    load_trainable_state(model, read_weights(folder), str(folder))


def optimizer_state(model: nn.Module, optimizer: torch.optim.Optimizer) -> dict[str, Any]:
    """Moments and settings by name, whole, on the CPU; every process must call."""
    options = StateDictOptions(full_state_dict=True, cpu_offload=True)
    return get_optimizer_state_dict(model, optimizer, options=options)


def save_optimizer(state: Mapping[str, Any], folder: Path) -> None:
    """Write what :func:`optimizer_state` gave: moments as safetensors, settings as JSON."""
    moments = {
        f"{parameter}.{name}": torch.as_tensor(value).contiguous()
        for parameter, values in state.get("state", {}).items()
        for name, value in values.items()
    }
    save_file(moments, folder / MOMENTS)
    _write_json(folder / OPTIMIZER, state["param_groups"])


def read_optimizer(folder: Path) -> dict[str, Any]:
    """What :func:`save_optimizer` wrote."""
    moments: dict[str, dict[str, Tensor]] = {}
    for key, value in read_tensors(folder / MOMENTS).items():
        parameter, _, name = key.rpartition(".")
        moments.setdefault(parameter, {})[name] = value
    groups = [
        # JSON knows no tuples, and AdamW's betas are one.
        {k: tuple(v) if isinstance(v, list) and k != "params" else v for k, v in group.items()}
        for group in _read(folder / OPTIMIZER)
    ]
    return {"state": moments, "param_groups": groups}


def load_optimizer(model: nn.Module, optimizer: torch.optim.Optimizer, folder: Path) -> None:
    """Put back what :func:`save_optimizer` wrote."""
    options = StateDictOptions(full_state_dict=True)
    set_optimizer_state_dict(model, optimizer, read_optimizer(folder), options=options)


def save_scheduler(scheduler: Any, folder: Path) -> None:
    """Write the state of a learning rate schedule."""
    _write_json(folder / SCHEDULER, scheduler.state_dict())


def load_scheduler(scheduler: Any, folder: Path) -> None:
    """Read what :func:`save_scheduler` wrote."""
    scheduler.load_state_dict(_read(folder / SCHEDULER))


def save_progress(progress: Mapping[str, Any], folder: Path) -> None:
    """Write how far a run is: its step, history and the sums since it last logged."""
    _write_json(folder / PROGRESS, progress)


def read_progress(folder: Path) -> dict[str, Any]:
    """What :func:`save_progress` wrote."""
    found: dict[str, Any] = _read(folder / PROGRESS)
    return found


def whole(tensor: Tensor) -> Tensor:
    """A tensor that may be spread over the processes, whole on each; all of them must call."""
    return tensor.full_tensor() if isinstance(tensor, DTensor) else tensor


def _own(tensor: Tensor) -> Tensor:
    """With storage of its own; one gathered from shards is a part of a padded one."""
    tensor = tensor.contiguous()
    return tensor if tensor.untyped_storage().nbytes() == tensor.nbytes else tensor.clone()


def _bare(name: str) -> str:
    """A name without what DDP, compilation and activation checkpointing put into it."""
    for part in ("module.", "_orig_mod.", "_checkpoint_wrapped_module."):
        name = name.replace(part, "")
    return name


def _write_json(path: Path, value: Any) -> None:
    path.write_text(json.dumps(value, indent=1), encoding="utf-8")


def _read(path: Path) -> Any:
    return parse_json(read_text(path, CheckpointError), str(path), CheckpointError)


def read_tensors(path: Path) -> dict[str, Tensor]:
    """The tensors of a safetensors file.

    Raises:
        CheckpointError: it cannot be read.
    """
    try:
        return load_file(path)
    except (OSError, SafetensorError) as error:
        raise CheckpointError(f"{path}: cannot be read ({error})") from error
