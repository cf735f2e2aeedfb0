"""Tensors on their way to disk: what could not be loaded again is refused, not written."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

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
    """Refuse weights that would not come back as they are.

    Args:
        state: of the model that is to be saved, with the parameters themselves (``keep_vars``).
        rebuilt: of one that its config builds, likewise.
        what: named in the error; empty: the first part of the first wrong name.

    Raises:
        InvalidArgumentError: a name more, a name less, another shape, weights that are quantized or
            hold no data, or two names for one weight that the config does not tie.
    """
    wrong = [
        name
        for name in dict.fromkeys((*state, *rebuilt))
        if name not in state or name not in rebuilt or state[name].shape != rebuilt[name].shape
    ]
    if wrong:
        expected = "the weights that its settings build (merge LoRA into it first)"
        raise InvalidArgumentError(what or _part(wrong[0]), expected, shorten(wrong))
    for name, tensor in state.items():
        floating = tensor.is_floating_point() == rebuilt[name].is_floating_point()
        if tensor.is_meta or not floating or type(tensor) not in (Tensor, nn.Parameter):
            expected = "plain weights that are not quantized and hold data"
            got = f"{name} of {tensor.dtype} on {tensor.device}, {type(tensor).__name__}"
            raise InvalidArgumentError(what or _part(name), expected, got)
    owners = _owners(rebuilt)
    for name, owner in _owners(state).items():
        if name != owner and owners[name] != owners[owner]:
            expected = "weights of their own, where its settings tie none"
            raise InvalidArgumentError(what or _part(name), expected, f"{name} is {owner}")


def _owners(state: Mapping[str, Tensor]) -> dict[str, str]:
    """Of every name the first name of the same parameter."""
    first: dict[int, str] = {}
    return {name: first.setdefault(id(tensor), name) for name, tensor in state.items()}


def _part(name: str) -> str:
    return name.partition(".")[0]
