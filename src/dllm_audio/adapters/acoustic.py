"""How it sounds: a Q-Former over several layers of the encoder.

Shapes: B batch, T tapped layers, Q queries, S encoder frames, E encoder width, D backbone width.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, overload

import torch
from einops import rearrange, repeat
from torch import Tensor, nn

from ..errors import InvalidArgumentError, ShapeError
from ..outputs import AudioEmbeddings, EncoderOutput
from ..parts import register
from .qformer import QFormerLayer
from .settings import MOST_LAYERS, check_integers


def evenly_spaced_taps(num_layers: int, num_taps: int | None = None) -> tuple[int, ...]:
    """Hidden-state indices that DIFFA taps for an encoder of that depth.

    Args:
        num_layers: layers of the encoder.
        num_taps: how many; None: 8 for large encoders (32 layers), else 4.

    Returns:
        Indices into ``EncoderOutput.hidden_states``, rising.

    Raises:
        InvalidArgumentError: more taps than layers, or none.

    Example:
        >>> evenly_spaced_taps(12)
        (2, 5, 8, 11)
    """
    count = num_taps if num_taps is not None else (8 if num_layers >= 32 else 4)
    if not 1 <= count <= num_layers:
        raise InvalidArgumentError("num_taps", f"1 to {num_layers}", count)
    return tuple((i + 1) * num_layers // count - 1 for i in range(count))


@register("adapter", "acoustic")
class AcousticAdapter(nn.Module):
    """Read each tapped layer with its own queries and mix the layers per query.

    One Q-Former with shared weights serves all tapped layers in one batched pass; per query the
    layers are combined by a softmax over learned weights (DIFFA, arXiv 2507.18452).

    Args:
        encoder_dim: width E of the encoder's hidden states.
        lm_dim: width D of the backbone.
        taps: indices into the encoder's ``hidden_states``.
        num_heads: heads of the Q-Former; DIFFA uses the encoder's number.
        num_queries: embeddings Q that come out.
        num_layers: Q-Former layers.
        intermediate_size: inner width of its feed-forward.
        dropout: in training.

    Example:
        >>> adapter = AcousticAdapter(32, 64, taps=(1, 3), num_heads=4)
        >>> adapter([torch.zeros(2, 100, 32)] * 5).shape
        torch.Size([2, 64, 64])
    """

    def __init__(
        self,
        encoder_dim: int,
        lm_dim: int,
        taps: Sequence[int],
        num_heads: int,
        num_queries: int = 64,
        num_layers: int = 2,
        intermediate_size: int = 3072,
        dropout: float = 0.1,
    ) -> None:
        super().__init__()
        check_integers(encoder_dim=encoder_dim, lm_dim=lm_dim, num_heads=num_heads)
        check_integers(num_queries=num_queries, intermediate_size=intermediate_size)
        check_integers(most=MOST_LAYERS, num_layers=num_layers)
        if not isinstance(taps, Sequence) or not taps or len(set(taps)) < len(taps):
            raise InvalidArgumentError("taps", "distinct indices >= 0, at least one", taps)
        for tap in taps:
            check_integers(0, MOST_LAYERS, taps=tap)
        if encoder_dim % num_heads:
            raise InvalidArgumentError("num_heads", f"a divisor of {encoder_dim}", num_heads)
        if not isinstance(dropout, int | float) or not 0 <= dropout <= 1:
            raise InvalidArgumentError("dropout", "a number in [0, 1]", dropout)
        self.encoder_dim, self.lm_dim, self.num_queries = encoder_dim, lm_dim, num_queries
        self.taps = tuple(taps)
        self.num_heads, self.num_layers = num_heads, num_layers
        self.intermediate_size, self.dropout = intermediate_size, dropout
        self.queries = nn.Parameter(torch.randn(len(taps), num_queries, encoder_dim))
        self.layer_weights = nn.Parameter(torch.zeros(num_queries, len(taps)))
        self.layers = nn.ModuleList(
            QFormerLayer(encoder_dim, num_heads, intermediate_size, dropout)
            for _ in range(num_layers)
        )
        self.norm = nn.LayerNorm(encoder_dim)
        self.projection = nn.Linear(encoder_dim, lm_dim)

    def to_config(self) -> dict[str, Any]:
        """Settings that build the same adapter, weights apart."""
        names = ("encoder_dim", "lm_dim", "num_heads", "num_queries", "num_layers")
        found = {name: getattr(self, name) for name in (*names, "intermediate_size", "dropout")}
        return {**found, "taps": list(self.taps)}

    def positions(self, encoder_frames: int) -> int:
        """Embeddings that a clip becomes, whatever its length."""
        return self.num_queries

    @overload
    def forward(self, hidden_states: EncoderOutput, frame_mask: None = None) -> AudioEmbeddings: ...
    @overload
    def forward(
        self, hidden_states: Sequence[Tensor], frame_mask: Tensor | None = None
    ) -> Tensor: ...

    def forward(
        self, hidden_states: Sequence[Tensor] | EncoderOutput, frame_mask: Tensor | None = None
    ) -> Tensor | AudioEmbeddings:
        """Embed hidden states.

        Args:
            hidden_states: all hidden states of the encoder, each ``[B, S, E]``; the adapter
                picks its taps.  Or the output of an encoder, which says what of them counts and
                becomes ``AudioEmbeddings``.
            frame_mask: ``[B, S]`` bool, True = attend; None attends to the whole window,
                padding included, as the published weights were trained.

        Returns:
            ``[B, Q, D]``.

        Raises:
            InvalidArgumentError: too few hidden states for the taps.
            ShapeError: sizes that do not fit.
        """
        if isinstance(hidden_states, EncoderOutput):
            embeds = self(hidden_states.hidden_states, self._mask(hidden_states))
            lengths = torch.full_like(hidden_states.lengths, self.num_queries)
            return AudioEmbeddings(embeds, lengths.to(embeds.device))
        frames = self._tapped(hidden_states)
        batch = frames.shape[0]
        mask = None
        if frame_mask is not None:
            if frame_mask.shape != (batch, frames.shape[2]):
                raise ShapeError("frame_mask", f"[{batch}, {frames.shape[2]}]", [*frame_mask.shape])
            mask = repeat(frame_mask.bool(), "b s -> (b t) 1 1 s", t=len(self.taps))
        frames = rearrange(frames, "b t s e -> (b t) s e").to(self.queries.dtype)
        x = repeat(self.queries, "t q e -> (b t) q e", b=batch)
        for layer in self.layers:
            x = layer(x, frames, mask)
        x = rearrange(x, "(b t) q e -> b q t e", b=batch)
        mixed = torch.einsum("bqte,qt->bqe", x, self.layer_weights.softmax(dim=-1))
        return self.projection(self.norm(mixed))

    def _tapped(self, hidden_states: Sequence[Tensor]) -> Tensor:
        if max(self.taps) >= len(hidden_states):
            raise InvalidArgumentError(
                "hidden_states",
                f"at least {max(self.taps) + 1} tensors for taps {list(self.taps)}",
                len(hidden_states),
            )
        tapped = [hidden_states[tap] for tap in self.taps]
        for tensor in tapped:
            if tensor.ndim != 3 or tensor.shape[2] != self.encoder_dim:
                raise ShapeError("hidden_states", f"[B, S, {self.encoder_dim}]", [*tensor.shape])
        if len({tensor.shape[:2] for tensor in tapped}) > 1:
            sizes = [[*tensor.shape] for tensor in tapped]
            raise ShapeError("hidden_states", "as many frames in every tapped layer", sizes)
        return torch.stack(tapped, dim=1)

    def _mask(self, output: EncoderOutput) -> Tensor | None:
        """``[B, S]`` True where the tapped states count; None: in the whole window."""
        if output.hidden_lengths is None:
            return None
        tapped = self._tapped(output.hidden_states[: max(self.taps) + 1])
        frames = torch.arange(tapped.shape[2], device=tapped.device)
        return frames < output.hidden_lengths.to(tapped.device)[:, None]
