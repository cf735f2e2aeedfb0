"""Rotary position embedding, halves rotated (arXiv 2104.09864), computed in float32."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from .elementwise import rowwise


def rope_tables(
    position_ids: Tensor,
    head_dim: int,
    theta: float,
    spans: Sequence[tuple[int, int]] | None = None,
) -> tuple[Tensor, Tensor]:
    """Cosines and sines for every position.

    Args:
        position_ids: ``[B, Q]`` int64 positions.
        head_dim: even width d of a head.
        theta: frequency base.
        spans: see :func:`rowwise`.

    Returns:
        Two float32 tensors ``[B, 1, Q, d]``; both halves of the last axis hold the same angles.
    """
    exponents = torch.arange(0, head_dim, 2, device=position_ids.device, dtype=torch.float32)
    frequencies = 1.0 / (theta ** (exponents / head_dim))
    angles = position_ids[..., None].float() * frequencies
    angles = torch.cat((angles, angles), dim=-1)
    cos, sin = (rowwise(function, angles, spans) for function in (torch.cos, torch.sin))
    return cos[:, None], sin[:, None]


def apply_rope(x: Tensor, tables: tuple[Tensor, Tensor]) -> Tensor:
    """Rotate heads ``[B, H, Q, d]`` in float32; the dtype of ``x`` comes back."""
    cos, sin = tables
    wide = x.float()
    first, second = wide.chunk(2, dim=-1)
    return (wide * cos + torch.cat((-second, first), dim=-1) * sin).to(x.dtype)
