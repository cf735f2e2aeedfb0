"""Weights in 8 bits on disk: integers with one scale a row, in plain safetensors.

A matrix ``w [rows, ...]`` becomes ``w`` of int8 and ``w_scale`` of float32 ``[rows]``, where
``w = int8 * scale`` to within half a step of 1/127 of the row's largest value.  Vectors are kept.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

import torch
from torch import Tensor

from ..errors import CheckpointError

_SCALE = "_scale"
_LARGEST = 127


def packed(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Floating-point matrices as int8 with their scales; everything else as it is.

    Args:
        state: by name; no name may be another one's with ``_scale`` behind it.

    Example:
        >>> found = packed({"w": torch.tensor([[1.0, -2.0], [0.0, 0.0]])})
        >>> found["w"], found["w_scale"]
        (tensor([[  64, -127],
                [   0,    0]], dtype=torch.int8), tensor([0.0157, 0.0000]))
    """
    found: dict[str, Tensor] = {}
    for name, tensor in state.items():
        if not tensor.is_floating_point() or tensor.dim() < 2:
            found[name] = tensor
            continue
        rows = tensor.float().flatten(1)
        scale = rows.abs().amax(dim=1) / _LARGEST
        steps = rows / torch.where(scale > 0, scale, 1.0)[:, None]
        found[name] = steps.round().to(torch.int8).view(tensor.shape)
        found[name + _SCALE] = scale
    return found


def is_packed(names: Iterable[str]) -> bool:
    """Whether weights of these names were made by :func:`packed`."""
    found = set(names)
    return any(name + _SCALE in found for name in found)


def unpacked(weights: Iterable[tuple[str, Tensor]], source: str) -> Iterator[tuple[str, Tensor]]:
    """The weights that :func:`packed` made so, in float32; others pass as they are.

    Args:
        weights: pairs of name and tensor; a matrix waits for its scale.
        source: named in errors.

    Raises:
        CheckpointError: a matrix without a scale or the other way around, or a scale that does not
            fit its matrix.
    """
    waiting: dict[str, Tensor] = {}
    for name, tensor in weights:
        scale = name.endswith(_SCALE) and tensor.is_floating_point()
        bare = name.removesuffix(_SCALE) if scale else name
        other = waiting.pop(bare, None)
        if other is not None:
            # Somebody's own weight may be called a scale; then it is none of ours.
            steps, scales = (other, tensor) if scale else (tensor, other)
            if steps.dtype == torch.int8:
                yield bare, _multiplied(steps, scales, f"{source}: {bare}")
            else:
                yield bare, steps
                yield bare + _SCALE, scales
        elif scale or tensor.dtype == torch.int8:
            waiting[bare] = tensor
        else:
            yield name, tensor
    for bare, tensor in waiting.items():
        if tensor.dtype == torch.int8:
            raise CheckpointError(f"{source}: {bare} is stored in 8 bits and has no {bare}{_SCALE}")
        yield bare + _SCALE, tensor


def _multiplied(steps: Tensor, scales: Tensor, where: str) -> Tensor:
    if scales.shape != steps.shape[:1]:
        raise CheckpointError(
            f"{where}: expected a scale for each row of {list(steps.shape)}, "
            f"got {list(scales.shape)}"
        )
    return steps.float() * scales.float().view(-1, *[1] * (steps.dim() - 1))
