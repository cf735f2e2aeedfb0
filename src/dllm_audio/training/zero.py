"""State of a DeepSpeed run, whole and in float32, so that its checkpoints are like all others.

ZeRO keeps float32 masters of the weights and the optimizer's moments in pieces, one per process.
DeepSpeed's own checkpoints are pickles of those pieces, with the frozen weights beside them, and
tied to the number of processes.  Every function here must be called by all processes.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from ..errors import TrainingError
from .state import trainable_parameters

STAGES = (1, 2)


def zero_optimizer(engine: Any) -> Any:
    """DeepSpeed's optimizer of an engine.

    Raises:
        TrainingError: another ZeRO stage than 1 or 2.
    """
    stage = engine.zero_optimization_stage()
    if stage not in STAGES:
        raise TrainingError(
            f"DeepSpeed: expected ZeRO stage 1 or 2, got {stage}; FSDP2 shards the weights too"
        )
    return engine.optimizer


def weights_as_loaded(model: nn.Module) -> dict[str, Tensor]:
    """Trainable weights by name, float32, on the CPU, before DeepSpeed has seen the model."""
    return {
        k: p.detach().to("cpu", torch.float32, copy=True)
        for k, p in trainable_parameters(model).items()
    }


def master_weights(model: nn.Module) -> dict[str, Tensor]:
    """Trainable weights by name, float32, on the CPU."""
    from deepspeed.utils import safe_get_full_fp32_param

    return {
        name: safe_get_full_fp32_param(p).cpu() for name, p in trainable_parameters(model).items()
    }


def set_master_weights(model: nn.Module, state: Mapping[str, Tensor]) -> None:
    """Put weights into the masters and, rounded, into the model that computes."""
    from deepspeed.utils import safe_set_full_fp32_param

    for name, parameter in trainable_parameters(model).items():
        value = state[name].to(parameter.device, torch.float32)
        safe_set_full_fp32_param(parameter, value)
        parameter.data.copy_(value)


def optimizer_state(model: nn.Module, optimizer: Any) -> dict[str, Any]:
    """Moments and settings by name, as :func:`~dllm_audio.training.state.save_optimizer` takes."""
    from deepspeed.utils import safe_get_full_optimizer_state

    _link(optimizer)
    parameters = trainable_parameters(model)
    names = {id(parameter): name for name, parameter in parameters.items()}
    state: dict[str, dict[str, Any]] = {}
    groups = []
    for i, group in enumerate(optimizer.optimizer.param_groups):
        held = optimizer.bit16_groups[i]
        groups.append({**group, "params": [names[id(parameter)] for parameter in held]})
        (piece,) = group["params"]
        kept = optimizer.optimizer.state[piece]
        for parameter in held:
            state[names[id(parameter)]] = {
                key: safe_get_full_optimizer_state(parameter, key).cpu()
                if torch.is_tensor(value) and value.dim()
                else torch.as_tensor(value).clone()
                for key, value in kept.items()
            }
    return {"state": state, "param_groups": groups}


def set_optimizer_state(model: nn.Module, optimizer: Any, state: Mapping[str, Any]) -> None:
    """Put back what :func:`optimizer_state` gave, on any number of processes."""
    from deepspeed.utils import safe_set_full_optimizer_state

    parameters, moments, groups = trainable_parameters(model), state["state"], state["param_groups"]
    for group, saved in zip(optimizer.optimizer.param_groups, groups, strict=True):
        group.update({key: value for key, value in saved.items() if key != "params"})
        (piece,) = group["params"]
        optimizer.optimizer.state[piece] = {
            key: torch.zeros_like(piece) if value.dim() else value.clone()
            for key, value in moments[saved["params"][0]].items()
        }
    _link(optimizer)
    for name, values in moments.items():
        for key, value in values.items():
            if value.dim():
                on_device = value.to(parameters[name].device)
                safe_set_full_optimizer_state(parameters[name], on_device, key)


def _link(optimizer: Any) -> None:
    """Let DeepSpeed find a parameter's moments in the pieces.

    It does so itself once, after stepping the first of several groups, and then finds none of the
    others'; and never before the first step.
    """
    optimizer._hp_optimizer_states_linked = False
    optimizer._lazy_init_hp_params_optimizer_state()
