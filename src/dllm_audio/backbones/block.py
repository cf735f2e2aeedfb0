"""One transformer block: pre-norm attention, then a SwiGLU feed-forward."""

from __future__ import annotations

from dataclasses import replace

import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn

from ..protocols import KVCache
from .attention import RowLayout, attend
from .config import TransformerConfig
from .elementwise import rowwise, vectorized
from .rope import apply_rope


def take_positions(x: Tensor, positions: Tensor, dim: int = 1) -> Tensor:
    """Gather ``positions [B, M]`` along ``dim`` of ``x``, the same for every other axis."""
    shape = [1] * x.dim()
    shape[0], shape[dim] = positions.shape
    sizes = list(x.shape)
    sizes[0], sizes[dim] = positions.shape
    source = x.expand(positions.shape[0], *x.shape[1:])
    return source.gather(dim, positions.reshape(shape).expand(sizes))


class TransformerBlock(nn.Module):
    """``x + attn_out(attention(attn_norm(x)))``, then ``x + ff_out(swiglu(ff_norm(x)))``.

    Attention is fully bidirectional with RoPE and grouped-query heads; queries, keys and values
    may have biases (``config.qkv_bias``).

    Args:
        config: sizes.
        index: which layer of a cache is this block's.
    """

    def __init__(self, config: TransformerConfig, index: int) -> None:
        super().__init__()
        self.index = index
        self.head_dim = config.head_dim
        self.grouped = config.kv_heads != config.n_heads
        width, kv_width = config.d_model, config.kv_heads * config.head_dim
        self.attn_norm = nn.RMSNorm(width, eps=config.rms_norm_eps)
        self.q_proj = nn.Linear(width, width, bias=config.qkv_bias)
        self.k_proj = nn.Linear(width, kv_width, bias=config.qkv_bias)
        self.v_proj = nn.Linear(width, kv_width, bias=config.qkv_bias)
        self.attn_out = nn.Linear(width, width, bias=False)
        self.ff_norm = nn.RMSNorm(width, eps=config.rms_norm_eps)
        self.ff_proj = nn.Linear(width, config.mlp_hidden_size, bias=False)
        self.up_proj = nn.Linear(width, config.mlp_hidden_size, bias=False)
        self.ff_out = nn.Linear(config.mlp_hidden_size, width, bias=False)

    def forward(
        self,
        x: Tensor,
        rope: tuple[Tensor, Tensor],
        layout: RowLayout,
        cache: KVCache | None = None,
        slots: Tensor | None = None,
        output_positions: Tensor | None = None,
    ) -> Tensor:
        """Run the block.

        Args:
            x: ``[B, Q, D]``.
            rope: tables ``[B, 1, Q, d]`` of the queries' positions.
            layout: which positions belong to which row.
            cache: keys and values to write to, and with ``slots`` to attend to.
            slots: ``[Q]`` columns of the cache; None: the pass covers all of them.
            output_positions: ``[B, M]`` indices into Q; only these are computed beyond their
                keys and values.

        Returns:
            ``[B, Q, D]``, or ``[B, M, D]`` with ``output_positions``.
        """
        normed = self.attn_norm(x)
        keys = apply_rope(self._heads(self.k_proj(normed)), rope)
        values = self._heads(self.v_proj(normed))
        if cache is not None:
            cache.write(self.index, slots, keys, values)
            if slots is not None:
                keys, values = cache.layer(self.index)
        if output_positions is not None:
            x, normed = (
                take_positions(x, output_positions),
                take_positions(normed, output_positions),
            )
            cos, sin = rope
            rope = (
                take_positions(cos, output_positions, 2),
                take_positions(sin, output_positions, 2),
            )
            if layout.bias is not None and layout.bias.shape[2] > 1:
                layout = replace(layout, bias=take_positions(layout.bias, output_positions, 2))
        queries = apply_rope(self._heads(self.q_proj(normed)), rope)
        attended = attend(queries, keys, values, layout, self.grouped)
        x = x + self.attn_out(rearrange(attended, "b h q d -> b q (h d)"))
        normed = self.ff_norm(x)
        gate = self.ff_proj(normed)
        if output_positions is None:
            gate = rowwise(F.silu, gate, layout.queries)
        else:  # as many positions as the batch wants, so a row alone is no measure
            gate = vectorized(F.silu, gate)
        return x + self.ff_out(gate * self.up_proj(normed))

    def _heads(self, projected: Tensor) -> Tensor:
        return rearrange(projected, "b q (h d) -> b h q d", d=self.head_dim)
