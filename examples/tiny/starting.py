"""Initial weights from which a small Whisper-style encoder learns quickly."""

from __future__ import annotations

import math

import torch
from torch import nn

from dllm_audio import WhisperEncoder

# Where the four heads of each layer look at first, in frames.
OFFSETS = (
    (-3, -1, 1, 3),
    (-6, -2, 2, 6),
    (-6, -2, 2, 6),
    (-8, -3, 3, 8),
    (-8, -3, 3, 8),
    (-6, -2, 2, 6),
)


def initialize(encoder: WhisperEncoder) -> None:
    """Start from weights that let the sound through; Whisper's own start is made for large widths.

    Beside the fixed positions, whose size is one, the features would otherwise be lost.
    """
    for name, parameter in encoder.named_parameters():
        if "conv" in name and parameter.dim() == 3:
            nn.init.kaiming_normal_(parameter)
        elif parameter.dim() == 2 and "embed_positions" not in name:
            nn.init.xavier_uniform_(parameter)
    for layer, offsets in zip(encoder.model.layers, OFFSETS, strict=True):
        look_aside(layer.self_attn, offsets)


@torch.no_grad()
def look_aside(attention: nn.Module, offsets: tuple[int, ...], sharpness: float = 1.4) -> None:
    """Let each head start by looking at frames near a fixed offset, like taps of a convolution.

    Finding out that neighbors matter takes a small transformer most of its training.  Whisper's
    positions are sines and cosines of the same angles; queries and keys that copy both, the query
    turned by the offset, match best where ``key position = query position + offset``.
    """
    width = attention.q_proj.weight.shape[0]
    half, per_head = width // 2, width // len(offsets) // 2
    attention.q_proj.weight.mul_(0.2)
    attention.k_proj.weight.mul_(0.2)
    for head, offset in enumerate(offsets):
        for pair in range(per_head):
            index = 2 * pair  # of the angle: the faster half of them, every other one
            angle = offset * 10000.0 ** (-index / (half - 1))
            row = 2 * (head * per_head + pair)
            sine, cosine = sharpness * math.sin(angle), sharpness * math.cos(angle)
            for number, (own, other) in enumerate(((cosine, sine), (-sine, cosine))):
                attention.q_proj.weight[row + number, index] += own
                attention.q_proj.weight[row + number, half + index] += other
            attention.k_proj.weight[row, index] += sharpness
            attention.k_proj.weight[row + 1, half + index] += sharpness
