"""Tensors on their way to disk: what could not be loaded again is refused, not written."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from ..errors import InvalidArgumentError
from .filling import shorten


def stored(state: Mapping[str, Tensor], dtype: torch.dtype | None = None) -> dict[str, Tensor]:
    """Tensors as they go to disk; two names for one memory become two tensors.

    Args:
        state: by name.
        dtype: of floating-point tensors; None keeps theirs.
    """
    found: dict[str, Tensor] = {}
    seen: set[int] = set()
    for name, tensor in state.items():
        if dtype is not None and tensor.is_floating_point():
            tensor = tensor.to(dtype)
        address = tensor.untyped_storage().data_ptr()
        found[name] = tensor.clone() if address in seen else tensor
        seen.add(address)
    return found


def check_rebuilt(state: Mapping[str, Tensor], rebuilt: Mapping[str, Tensor], what: str) -> None:
    """Refuse weights that are not those that a config builds.

    Args:
        state: of the model that is to be saved.
        rebuilt: of one that its config builds.
        what: named in the error; empty: the first part of the first wrong name.

    Raises:
        InvalidArgumentError: a name more, a name less, or another shape.
    """
    wrong = [
        name
        for name in dict.fromkeys((*state, *rebuilt))
        if name not in state or name not in rebuilt or state[name].shape != rebuilt[name].shape
    ]
    if wrong:
        expected = "the weights that its settings build (merge LoRA into it first)"
        raise InvalidArgumentError(what or wrong[0].partition(".")[0], expected, shorten(wrong))
