"""LoRA on a backbone through peft: attach, switch between adapters, merge.

peft's layers take the place of linear ones inside the backbone; nothing is wrapped around it, so
the names of all other parameters stay as they are.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

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
        layer._active_adapter = [POLICY]  # peft has switched to the newest set
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
    # peft's own switches also turn requires_grad on and off, which must not happen to parameters
    # that an optimizer or a sharding engine holds.  So the two fields behind them are set.
    before = [(layer._active_adapter, layer._disable_adapters) for layer in layers]
    try:
        for layer in layers:
            layer._disable_adapters = name is None
            if name is not None:
                layer._active_adapter = [name]
        yield
    finally:
        for layer, (active, disabled) in zip(layers, before, strict=True):
            layer._active_adapter, layer._disable_adapters = active, disabled


def merge_lora(backbone: nn.Module) -> None:
    """Add the updates into the weights and put plain linear layers back."""
    for layer in lora_layers(backbone):
        layer.merge(adapter_names=[POLICY])
    detach_lora(backbone)


def detach_lora(backbone: nn.Module) -> None:
    """Put plain linear layers back, without the updates."""
    for name, module in list(backbone.named_modules()):
        if _is_lora(module):
            backbone.set_submodule(name, module.get_base_layer())
    if hasattr(backbone, "peft_config"):
        del backbone.peft_config


def _is_lora(module: Any) -> bool:
    return hasattr(module, "lora_A") and hasattr(module, "base_layer")


def _peft() -> Any:
    try:
        import peft
    except ImportError as error:
        raise MissingDependencyError("peft", "LoRA", "train") from error
    return peft
