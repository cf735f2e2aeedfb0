"""Model shapes that the benchmarks know, with random weights."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from dllm_audio import LLaDA, LLaDAConfig


@dataclass(frozen=True)
class EncoderShape:
    """Sizes of the Whisper-style encoder that goes with a backbone.

    Attributes:
        width: E.
        layers: transformer layers.
        heads: attention heads, also of the Q-Former.
        n_mels: mel bands.
        frames: encoder frames of the window (1500 for 30 s).
    """

    width: int
    layers: int
    heads: int
    n_mels: int = 80
    frames: int = 1500


@dataclass(frozen=True)
class Shape:
    """One model size and the lengths at which its strategies are compared.

    Attributes:
        name: what ``--model-size`` calls it.
        backbone: LLaDA's sizes.
        encoder: the encoder's sizes.
        prompt: positions of the prompt, audio included.
        answer: new tokens.
        block: block length.
    """

    name: str
    backbone: LLaDAConfig
    encoder: EncoderShape
    prompt: int
    answer: int
    block: int


def _llada(width: int, layers: int, heads: int, mlp: int, vocabulary: int) -> LLaDAConfig:
    return LLaDAConfig(
        d_model=width,
        n_layers=layers,
        n_heads=heads,
        mlp_hidden_size=mlp,
        vocab_size=vocabulary,
        mask_token_id=vocabulary - 1,
        eos_token_id=vocabulary - 2,
    )


SHAPES = {
    "tiny": Shape("tiny", _llada(64, 2, 4, 128, 300), EncoderShape(32, 2, 2, frames=64), 24, 8, 4),
    "60m": Shape("60m", _llada(512, 8, 8, 1536, 32000), EncoderShape(384, 4, 6), 512, 64, 32),
    "1b": Shape("1b", _llada(2048, 22, 32, 5632, 32000), EncoderShape(768, 12, 12), 540, 128, 32),
    # LLaDA-8B with whisper-large-v3, as in DIFFA-2.
    "8b": Shape(
        "8b",
        _llada(4096, 32, 32, 12288, 126464),
        EncoderShape(1280, 32, 20, n_mels=128),
        540,
        128,
        32,
    ),
}


def build_backbone(shape: Shape, device: torch.device, dtype: torch.dtype) -> LLaDA:
    """A LLaDA of that shape with random weights, made on its device in its dtype."""
    torch.manual_seed(0)
    before = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        # Ordinary tensors whoever asks first: training is measured on the same weights.
        with torch.inference_mode(False), device:
            model = LLaDA(shape.backbone)
    finally:
        torch.set_default_dtype(before)
    return model.eval().requires_grad_(False)
