"""Elementwise functions whose values do not depend on the batch.

On the CPU, PyTorch computes the last few elements of a tensor, and of each thread's share, with
other instructions than the rest; results may differ in the last bit. A sequence in the middle of a
batch would then differ from the same sequence alone, and a near tie between two tokens with it.

Shape letters: B rows, Q positions, F features.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

_UNROLLED = 32  # float32 elements that the vectorized loop takes at once, at most


def rowwise(
    function: Callable[[Tensor], Tensor], x: Tensor, spans: Sequence[tuple[int, int]] | None
) -> Tensor:
    """``function(x)``, with each row's values as if it were alone.

    Args:
        function: elementwise, such as ``torch.cos``.
        x: ``[B, Q, F]``.
        spans: positions ``[from, to)`` that each row would have alone; None: do not care.
    """
    result = function(x)
    if spans is None or _whole_vectors(x):
        return result
    for row, (begin, end) in enumerate(spans):
        result[row, begin:end] = function(x[row, begin:end])
    return result


def vectorized(function: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
    """``function(x)`` by the same instructions at every element of ``x [..., F]``."""
    if torch.compiler.is_compiling() or x.device.type != "cpu" or _whole_vectors(x):
        return function(x)
    missing = -x.shape[-1] % (_UNROLLED * torch.get_num_threads())
    return function(F.pad(x, (0, missing)))[..., : x.shape[-1]]


def _whole_vectors(x: Tensor) -> bool:
    # Usual widths are: no row then begins or ends inside of a vector, in any thread.
    return x.shape[-1] % (_UNROLLED * torch.get_num_threads()) == 0
