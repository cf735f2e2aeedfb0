"""What is said: convolutional subsampling of the encoder's last hidden state.

Shapes: B batch, S encoder frames (50 Hz), E encoder width, D backbone width.
"""

from __future__ import annotations

from typing import overload

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..errors import ShapeError
from ..outputs import AudioEmbeddings, EncoderOutput
from ..parts import register
from .settings import check_integers

_KERNEL = 3


@register("adapter", "semantic")
class SemanticAdapter(nn.Module):
    """Subsample encoder frames and project them to the backbone's width.

    Two convolutions (the second with the stride) and a two-layer projection, as in DIFFA
    (arXiv 2507.18452).  With Whisper's 50 Hz frames a stride of 4 gives 12.5 Hz.

    Args:
        encoder_dim: width E of the encoder's frames.
        lm_dim: width D of the backbone.
        stride: encoder frames per embedding.

    Example:
        >>> adapter = SemanticAdapter(encoder_dim=32, lm_dim=64)
        >>> adapter(torch.zeros(1, 50, 32)).shape
        torch.Size([1, 12, 64])
    """

    def __init__(self, encoder_dim: int, lm_dim: int, stride: int = 4) -> None:
        super().__init__()
        check_integers(encoder_dim=encoder_dim, lm_dim=lm_dim, stride=stride)
        self.encoder_dim, self.lm_dim, self.stride = encoder_dim, lm_dim, stride
        self.conv = nn.Conv1d(encoder_dim, encoder_dim, _KERNEL, padding=1)
        self.subsample = nn.Conv1d(
            encoder_dim, stride * encoder_dim, _KERNEL, stride=stride, padding=1
        )
        self.linear = nn.Linear(stride * encoder_dim, encoder_dim)
        self.projection = nn.Linear(encoder_dim, lm_dim)
        self.norm = nn.LayerNorm(lm_dim)

    def to_config(self) -> dict[str, int]:
        """Settings that build the same adapter, weights apart."""
        return {"encoder_dim": self.encoder_dim, "lm_dim": self.lm_dim, "stride": self.stride}

    @property
    def taps(self) -> tuple[int, ...]:
        """Hidden states that it reads besides the last: none."""
        return ()

    def positions(self, encoder_frames: int) -> int:
        """Embeddings that a clip of so many frames becomes."""
        return encoder_frames // self.stride

    @overload
    def forward(self, frames: EncoderOutput, lengths: None = None) -> AudioEmbeddings: ...
    @overload
    def forward(self, frames: Tensor, lengths: Tensor | None = None) -> Tensor: ...

    def forward(
        self, frames: Tensor | EncoderOutput, lengths: Tensor | None = None
    ) -> Tensor | AudioEmbeddings:
        """Embed frames.

        Args:
            frames: ``[B, S, E]``; trailing ``S % stride`` frames are dropped.  Or the output of an
                encoder, which brings its lengths and becomes ``AudioEmbeddings``.
            lengths: ``[B]`` valid frames per row.  A row's ``lengths // stride`` embeddings then
                equal those of the row alone, cut to its own length; None: all frames are valid.

        Returns:
            ``[B, S // stride, D]``.

        Raises:
            ShapeError: ``frames`` is not ``[B, S, E]`` or ``lengths`` not ``[B]``.
        """
        if isinstance(frames, EncoderOutput):
            embeds = self(frames.last_hidden_state, frames.lengths)
            return AudioEmbeddings(embeds, frames.lengths.to(embeds.device) // self.stride)
        if frames.ndim != 3 or frames.shape[2] != self.encoder_dim:
            raise ShapeError("frames", f"[B, S, {self.encoder_dim}]", list(frames.shape))
        batch, length, _ = frames.shape
        kept = length // self.stride * self.stride
        if kept == 0:
            return self.conv.weight.new_zeros(batch, 0, self.lm_dim)
        x = frames[:, :kept].to(self.conv.weight.dtype).transpose(1, 2)
        padding = self._padding(batch, kept, lengths, frames.device)
        # Alone, a row ends in the zero padding of either convolution: give it the same here.
        x = self.conv(_zero(x, padding))
        x = self.subsample(_zero(F.gelu(x), padding)).transpose(1, 2)
        x = F.relu(self.projection(F.relu(self.linear(x))))
        return self.norm(x)

    def _padding(
        self, batch: int, kept: int, lengths: Tensor | None, device: torch.device
    ) -> Tensor | None:
        """``[B, 1, S]`` True where a row has no frame of its own, or None."""
        if lengths is None:
            return None
        if lengths.shape != (batch,):
            raise ShapeError("lengths", f"[{batch}]", list(lengths.shape))
        own = lengths.to(device) // self.stride * self.stride
        return (torch.arange(kept, device=device) >= own[:, None])[:, None]


def _zero(x: Tensor, padding: Tensor | None) -> Tensor:
    return x if padding is None else x.masked_fill(padding, 0.0)
