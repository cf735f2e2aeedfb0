"""A small Q-Former: learned queries read a sequence of frames by cross-attention.

Shapes: N batch, Q queries, S frames, E width, H heads.
"""

from __future__ import annotations

from einops import rearrange
from torch import Tensor, nn
from torch.nn import functional as F

_EPS = 1e-12  # BERT's, which the published weights were trained with


class Attention(nn.Module):
    """Multi-head attention with BERT's residual and post-norm.

    Args:
        dim: width E.
        num_heads: heads H, a divisor of E.
        dropout: of attention weights and of the output, in training.
    """

    def __init__(self, dim: int, num_heads: int, dropout: float) -> None:
        super().__init__()
        self.num_heads, self.dropout = num_heads, dropout
        self.query = nn.Linear(dim, dim)
        self.key = nn.Linear(dim, dim)
        self.value = nn.Linear(dim, dim)
        self.output = nn.Linear(dim, dim)
        self.norm = nn.LayerNorm(dim, eps=_EPS)

    def forward(self, x: Tensor, memory: Tensor, mask: Tensor | None = None) -> Tensor:
        """Let ``x [N, Q, E]`` attend to ``memory [N, S, E]`` where ``mask [N, 1, 1, S]`` allows."""
        query, key, value = (
            rearrange(t, "n l (h d) -> n h l d", h=self.num_heads)
            for t in (self.query(x), self.key(memory), self.value(memory))
        )
        dropout = self.dropout if self.training else 0.0
        read = F.scaled_dot_product_attention(query, key, value, mask, dropout_p=dropout)
        read = self.output(rearrange(read, "n h l d -> n l (h d)"))
        return self.norm(x + F.dropout(read, self.dropout, self.training))


class QFormerLayer(nn.Module):
    """Self-attention among the queries (bidirectional), cross-attention, feed-forward.

    Args:
        dim: width E.
        num_heads: heads of both attentions.
        intermediate_size: inner width of the feed-forward.
        dropout: in training.
    """

    def __init__(self, dim: int, num_heads: int, intermediate_size: int, dropout: float) -> None:
        super().__init__()
        self.self_attention = Attention(dim, num_heads, dropout)
        self.cross_attention = Attention(dim, num_heads, dropout)
        self.up = nn.Linear(dim, intermediate_size)
        self.down = nn.Linear(intermediate_size, dim)
        self.norm = nn.LayerNorm(dim, eps=_EPS)
        self.dropout = dropout

    def forward(self, queries: Tensor, frames: Tensor, mask: Tensor | None = None) -> Tensor:
        """New queries ``[N, Q, E]`` that have read ``frames [N, S, E]``."""
        x = self.self_attention(queries, queries)
        x = self.cross_attention(x, frames, mask)
        read = self.down(F.gelu(self.up(x)))
        return self.norm(x + F.dropout(read, self.dropout, self.training))
