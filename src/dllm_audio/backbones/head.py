"""The output head: a product with a vocabulary that is far wider than it has rows to multiply.

Shape letters: M rows, D width, V vocabulary, S slices of it.
"""

from __future__ import annotations

from functools import lru_cache

import torch
import torch.nn.functional as F
from torch import Tensor, nn

_SLICE_ROWS = 1000  # of the weight, at least


class OutputHead(nn.Linear):
    """``nn.Linear`` without bias whose product is :func:`vocabulary_product`."""

    def __init__(self, width: int, vocabulary: int) -> None:
        super().__init__(width, vocabulary, bias=False)

    def forward(self, input: Tensor) -> Tensor:
        """Logits ``[..., V]`` of hidden states ``[..., D]``."""
        return vocabulary_product(input, self.weight)


def vocabulary_product(hidden: Tensor, weight: Tensor) -> Tensor:
    """``hidden @ weight.T``, ``[..., V]``.

    For a few rows of float32 on the CPU, one product with the whole weight is a third slower than
    products with slices of it, as one batch; the values are the same to the last bit.

    Args:
        hidden: ``[..., D]``.
        weight: ``[V, D]``.
    """
    slices = _slices(weight.shape[0])
    if slices == 1 or not _sliceable(hidden, weight):
        return F.linear(hidden, weight)
    rows = hidden.reshape(-1, hidden.shape[-1])
    logits = rows.new_empty(len(rows), weight.shape[0])
    torch.bmm(
        rows.expand(slices, *rows.shape),
        weight.unflatten(0, (slices, -1)).transpose(1, 2),
        out=logits.unflatten(1, (slices, -1)).transpose(0, 1),
    )
    return logits.unflatten(0, hidden.shape[:-1])


def _sliceable(hidden: Tensor, weight: Tensor) -> bool:
    """Whether both are plain float32 tensors on the CPU and nobody differentiates or traces."""
    if torch.is_grad_enabled() or torch.compiler.is_compiling() or not hidden.numel():
        return False
    if torch.is_autocast_enabled("cpu") or type(weight.data) is not Tensor:
        return False
    return all(t.dtype is torch.float32 and t.device.type == "cpu" for t in (hidden, weight))


@lru_cache(maxsize=8)
def _slices(vocabulary: int) -> int:
    """The largest number of equal slices with at least ``_SLICE_ROWS`` rows each."""
    most = max(vocabulary // _SLICE_ROWS, 1)
    return next(count for count in range(most, 0, -1) if vocabulary % count == 0)
