"""LoRA on a backbone through peft: attach, switch between adapters, merge.

peft's layers take the place of linear ones inside the backbone; nothing is wrapped around it, so
the names of all other parameters stay as they are.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from ..errors import InvalidArgumentError, MissingDependencyError

POLICY = "default"
REFERENCE = "reference"


@dataclass(frozen=True, slots=True)
class LoRASettings:
    """Low-rank adapters (arXiv 2106.09685); the defaults are those of DIFFA-2.

    Args:
        rank: width of the low-rank update.
        alpha: the update is scaled by ``alpha / rank``.
        dropout: on the input of the update, in training.
        targets: names of the linear layers that get one.
    """

    rank: int = 8
    alpha: float = 16
    dropout: float = 0.05
    targets: tuple[str, ...] = ("q_proj", "k_proj", "v_proj", "ff_proj", "up_proj")


def attach_lora(backbone: nn.Module, settings: LoRASettings, name: str = POLICY) -> None:
    """Give every target layer of the backbone a low-rank update, zero at first.

    Args:
        backbone: changed in place.
        settings: rank, scale, dropout and targets.
        name: of this set of updates; several may live side by side.

    Raises:
        InvalidArgumentError: no layer has one of the names, or the set exists already.
        MissingDependencyError: peft is not installed.
    """
    peft = _peft()
    if any(name in layer.lora_A for layer in lora_layers(backbone)):
        raise InvalidArgumentError("name", "a new set of LoRA updates", name)
    names = {n.rpartition(".")[2] for n, m in backbone.named_modules() if isinstance(m, nn.Linear)}
    missing = sorted(set(settings.targets) - names) if name == POLICY else []
    if missing:
        raise InvalidArgumentError("settings.targets", f"linear layers {sorted(names)}", missing)
    config = peft.LoraConfig(
        r=settings.rank,
        lora_alpha=settings.alpha,
        lora_dropout=settings.dropout,
        target_modules=list(settings.targets),
    )
    trained = [p for p in backbone.parameters() if p.requires_grad]
    with warnings.catch_warnings():
        # Several sets side by side are what is wanted here.
        warnings.filterwarnings("ignore", message="Already found a `peft_config`")
        peft.inject_adapter_in_model(config, backbone, adapter_name=name)
    for layer in lora_layers(backbone):
        _switch(layer, POLICY if POLICY in layer.lora_A else name)  # peft takes the newest set
    # peft makes the updates as narrow as the weights beside them.  In bfloat16 a step of the
    # optimizer is smaller than the distance to the next number and would be rounded away.
    for layer in lora_layers(backbone):
        for matrices in (layer.lora_A, layer.lora_B):
            if name in matrices and matrices[name].weight.element_size() < 4:
                matrices[name].float()
    # peft freezes what it does not add; what trains is the caller's business.
    for parameter in trained:
        parameter.requires_grad_(True)


def lora_layers(backbone: nn.Module) -> list[Any]:
    """The layers that carry low-rank updates; none where peft was never used."""
    return [module for module in backbone.modules() if _is_lora(module)]


def add_frozen_reference(backbone: nn.Module, settings: LoRASettings) -> None:
    """Keep a frozen copy of the present updates under the name ``reference``.

    It takes the memory of the low-rank matrices only, not of another backbone.
    """
    attach_lora(backbone, settings, REFERENCE)
    for layer in lora_layers(backbone):
        for matrices in (layer.lora_A, layer.lora_B):
            with torch.no_grad():
                matrices[REFERENCE].weight.copy_(matrices[POLICY].weight)
            matrices[REFERENCE].requires_grad_(False)


@contextmanager
def lora_switched(backbone: nn.Module, name: str | None) -> Iterator[None]:
    """Run the backbone with another set of updates, or with none.

    Args:
        backbone: with LoRA layers, or without (then nothing changes).
        name: the set to use, or None to switch the updates off.
    """
    layers = lora_layers(backbone)
    before = [(list(layer.active_adapters), layer.disable_adapters) for layer in layers]
    try:
        for layer in layers:
            _switch(layer, name)
        yield
    finally:
        for layer, (active, disabled) in zip(layers, before, strict=True):
            _switch(layer, active)
            if disabled:
                _switch(layer, None)


def _switch(layer: Any, names: str | list[str] | None) -> None:
    """Choose a layer's updates; what trains stays what it was."""
    # peft's switches also say what trains.  An optimizer or a sharding engine may hold these
    # parameters, so each gets its flag back at once, before anything is computed.
    flags = [(parameter, parameter.requires_grad) for parameter in layer.parameters()]
    if names is None:
        layer.enable_adapters(False)
    else:
        layer.enable_adapters(True)
        layer.set_adapter(names)
    for parameter, flag in flags:
        if parameter.requires_grad != flag:
            parameter.requires_grad_(flag)


@torch.no_grad()
def merge_lora(backbone: nn.Module) -> None:
    """Add the updates into the weights and put plain linear layers back."""
    for layer in lora_layers(backbone):
        weight = layer.get_base_layer().weight
        weight.copy_(_wide(weight) + layer.get_delta_weight(POLICY))
    detach_lora(backbone)


def merged_weights(state: Mapping[str, Tensor], settings: LoRASettings | None) -> dict[str, Tensor]:
    """The state of a model with LoRA as that of the same model without, the updates added in.

    Args:
        state: whole tensors by name, with peft's ``base_layer`` and ``lora_A``, ``lora_B``.
        settings: of the LoRA; None: there is none.
    """
    if settings is None:
        return dict(state)
    merged = {}
    for name, tensor in state.items():
        if ".lora_" in name:
            continue
        layer, found, rest = name.rpartition(".base_layer.")
        if found and rest == "weight":
            down, up = (state[f"{layer}.lora_{side}.{POLICY}.weight"] for side in "AB")
            update = (_wide(up) @ _wide(down)) * (settings.alpha / settings.rank)
            tensor = (_wide(tensor) + update).to(tensor.dtype)
        merged[f"{layer}.{rest}" if found else name] = tensor
    return merged


def detach_lora(backbone: nn.Module) -> None:
    """Put plain linear layers back, without the updates."""
    for name, module in list(backbone.named_modules()):
        if _is_lora(module):
            backbone.set_submodule(name, module.get_base_layer())
    if hasattr(backbone, "peft_config"):
        del backbone.peft_config


def _wide(tensor: Tensor) -> Tensor:
    """In float32 at least, so that a sum is rounded once."""
    return tensor.to(torch.promote_types(tensor.dtype, torch.float32))


def _is_lora(module: Any) -> bool:
    return hasattr(module, "lora_A") and hasattr(module, "base_layer")


def _peft() -> Any:
    try:
        import peft
    except ImportError as error:
        raise MissingDependencyError("peft", "LoRA", "train") from error
    return peft
