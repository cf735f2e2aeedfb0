"""Which positions belong to a row, and bidirectional attention to them.

Shape letters: B batch, H heads, Q queries, L keys, d head width.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

Spans = Sequence[tuple[int, int]]


@dataclass(frozen=True, slots=True)
class RowLayout:
    """Where each row's positions lie in the padded batch; the same for all layers.

    Attributes:
        bias: ``[B or 1, 1, 1 or Q, L]`` added to the scores, ``-inf`` hides a key; None hides none.
        keys: every row's keys as ``[from, to)``, for attention row by row; None: use the bias.
        queries: every row's queries as ``[from, to)``, for functions whose values would otherwise
            depend on the batch; None: nobody cares.
    """

    bias: Tensor | None = None
    keys: Spans | None = None
    queries: Spans | None = None


def row_layout(
    x: Tensor, attention_mask: Tensor | None, windowed: bool, visible: Tensor | None = None
) -> RowLayout:
    """Prepare the layout of one pass.

    Args:
        x: ``[B, Q, D]`` what is computed.
        attention_mask: ``[B, L]`` bool, True = attend; None: all.
        windowed: whether the queries are a window of the keys, not all of them.
        visible: ``[Q, L]`` bool, keys that each query may attend to besides; None: all.
    """
    bias, seen = None, _seen(attention_mask, visible)
    if seen is not None:
        bias = torch.zeros(seen.shape, dtype=x.dtype, device=x.device)
        bias = bias.masked_fill(~seen, float("-inf"))
    if x.device.type != "cpu" or torch.compiler.is_compiling() or visible is not None:
        return RowLayout(bias)
    keys = None if attention_mask is None else _spans(attention_mask)
    queries: Spans | None = None
    if not torch.is_grad_enabled() and (len(x) > 1 or keys is not None):
        queries = [(0, x.shape[1])] * len(x) if windowed or keys is None else keys
    return RowLayout(bias, keys, queries)


def attend(
    queries: Tensor, keys: Tensor, values: Tensor, layout: RowLayout, grouped: bool = False
) -> Tensor:
    """Scaled dot-product attention ``[B, H, Q, d]``.

    On the CPU a padded batch is attended row by row, over each row's own keys: nothing is spent
    on padding, and sums run in the same order as for the row alone, so that a row's result is the
    same to the last bit whatever its batch.

    Args:
        queries: ``[B, H, Q, d]``.
        keys: ``[B, H_kv, L, d]``.
        values: ``[B, H_kv, L, d]``.
        layout: which keys belong to a row.
        grouped: whether ``H_kv`` is smaller than H.
    """
    if layout.keys is None:
        return F.scaled_dot_product_attention(
            queries, keys, values, attn_mask=layout.bias, enable_gqa=grouped
        )
    # Splitting, unlike indexing, has a backward pass that touches every element once.
    rows = zip(queries.split(1), keys.split(1), values.split(1), layout.keys, strict=True)
    attended = [
        F.scaled_dot_product_attention(
            query, key[:, :, begin:end], value[:, :, begin:end], enable_gqa=grouped
        )
        for query, key, value, (begin, end) in rows
    ]
    return torch.cat(attended)


def _seen(attention_mask: Tensor | None, visible: Tensor | None) -> Tensor | None:
    """Keys that are attended to, ``[B or 1, 1, 1 or Q, L]`` bool; None: all."""
    if visible is None:
        return None if attention_mask is None else attention_mask[:, None, None, :]
    if attention_mask is None:
        return visible[None, None]
    seen = visible & attention_mask[:, None, :]
    # Queries at padding see nothing, which would give NaN; nobody looks at them.
    return (seen | ~seen.any(-1, keepdim=True))[:, None]


def _spans(attention_mask: Tensor) -> list[tuple[int, int]] | None:
    """Each row's run of True; None where a row has a gap or nothing."""
    length, count = attention_mask.shape[1], attention_mask.sum(-1)
    begin = attention_mask.int().argmax(-1)
    end = length - attention_mask.flip(-1).int().argmax(-1)
    if not bool(((end - begin == count) & (count > 0)).all()):
        return None
    return list(zip(begin.tolist(), end.tolist(), strict=True))
