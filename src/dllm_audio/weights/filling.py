"""Strict filling of a module, one tensor at a time."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor, nn

from ..errors import CheckpointError


def load_weights(
    module: nn.Module,
    weights: Iterable[tuple[str, Tensor]],
    *,
    source: str,
    dtype: torch.dtype | None = None,
    device: torch.device | str | None = None,
) -> None:
    """Fill every parameter and persistent buffer of a module, strictly, one tensor at a time.

    Made for a module built under ``torch.device("meta")``: each tensor is converted and moved as
    it is read and becomes the parameter itself, so that the weights exist once.

    Args:
        module: built on the meta device, or any other.
        weights: pairs of the module's own parameter name and tensor.
        source: named in errors.
        dtype: of floating point weights; None keeps what the file holds.
        device: None keeps where the tensors come from.

    Raises:
        CheckpointError: a name that the module lacks, a name twice, a wrong shape, integers
            where floats belong, or names that never came; the message lists them.
    """
    slots = dict(module.state_dict(keep_vars=True))
    missing = dict.fromkeys(slots)
    for name, tensor in weights:
        if name not in slots:
            raise CheckpointError(f"{source}: the model has no tensor named {name}")
        if name not in missing:
            raise CheckpointError(f"{source}: {name} comes twice")
        _check_fit(source, name, tensor, slots[name])
        del missing[name]
        floating = tensor.is_floating_point()
        _assign(module, name, tensor.to(device=device, dtype=dtype if floating else None))
    if missing:
        raise CheckpointError(f"{source}: {len(missing)} tensors are missing: {shorten(missing)}")


def shorten(names: Iterable[str], limit: int = 8) -> str:
    """The first names of a list, for an error message."""
    listed = list(names)
    more = f" and {len(listed) - limit} more" if len(listed) > limit else ""
    return ", ".join(listed[:limit]) + more


def _check_fit(source: str, name: str, tensor: Tensor, slot: Tensor) -> None:
    if tensor.shape != slot.shape:
        raise CheckpointError(
            f"{source}: {name}: expected shape {list(slot.shape)}, got {list(tensor.shape)}"
        )
    if tensor.is_floating_point() != slot.is_floating_point():
        raise CheckpointError(
            f"{source}: {name}: expected a dtype like {slot.dtype}, got {tensor.dtype}"
        )


def _assign(module: nn.Module, name: str, tensor: Tensor) -> None:
    path, _, leaf = name.rpartition(".")
    owner = module.get_submodule(path)
    old = getattr(owner, leaf)
    if isinstance(old, nn.Parameter):
        tensor = nn.Parameter(tensor, requires_grad=old.requires_grad)
    setattr(owner, leaf, tensor)
