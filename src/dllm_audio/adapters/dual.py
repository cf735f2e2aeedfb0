"""From an encoder's output to audio embeddings: the adapters put together."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import torch
from einops import repeat
from torch import nn

from ..errors import CheckpointError, InvalidArgumentError
from ..outputs import AudioEmbeddings, EncoderOutput
from ..parts import build, describe, register
from .settings import check_integers


@register("adapter", "dual")
class DualAdapter(nn.Module):
    """Acoustic embeddings first, semantic embeddings after them (DIFFA stage 2 and later).

    Args:
        semantic: comes second; :class:`dllm_audio.SemanticAdapter`, or any registered adapter
            with an ``lm_dim``.
        acoustic: comes first; :class:`dllm_audio.AcousticAdapter`, or any other.
        mask_frames: hides the frames behind an item's end from the acoustic adapter, where the
            encoder itself allows to look there.  The published weights were trained without;
            hidden states cover the whole window, so an item's embeddings do not depend on its
            batch either way.

    Raises:
        InvalidArgumentError: the two adapters have different ``lm_dim``, or none.

    Example:
        >>> from dllm_audio import AcousticAdapter, SemanticAdapter
        >>> semantic = SemanticAdapter(32, 64)
        >>> acoustic = AcousticAdapter(32, 64, taps=(1, 3), num_heads=4)
        >>> frames = torch.zeros(1, 100, 32)
        >>> output = EncoderOutput(frames[:, :50], (frames,) * 5, torch.tensor([50]))
        >>> DualAdapter(semantic, acoustic)(output).lengths
        tensor([76])
    """

    def __init__(self, semantic: nn.Module, acoustic: nn.Module, mask_frames: bool = False) -> None:
        super().__init__()
        self.lm_dim = _width("semantic", semantic)
        if _width("acoustic", acoustic) != self.lm_dim:
            raise InvalidArgumentError("acoustic", f"lm_dim {self.lm_dim}", acoustic.lm_dim)
        if not isinstance(mask_frames, bool):
            raise InvalidArgumentError("mask_frames", "True or False", mask_frames)
        self.semantic, self.acoustic, self.mask_frames = semantic, acoustic, mask_frames

    @classmethod
    def from_config(cls, values: Mapping[str, Any]) -> DualAdapter:
        """An adapter with new weights from descriptions of its parts."""
        return cls(**_with_parts(values, ("semantic", "acoustic")))

    def to_config(self) -> dict[str, Any]:
        """Descriptions of both parts.

        Raises:
            InvalidArgumentError: a part that is not registered.
        """
        return {
            "semantic": describe("adapter", self.semantic),
            "acoustic": describe("adapter", self.acoustic),
            "mask_frames": self.mask_frames,
        }

    @property
    def taps(self) -> tuple[int, ...] | None:
        """Hidden states that its parts read; None: a part does not say."""
        every: set[int] = set()
        for part in (self.semantic, self.acoustic):
            taps: tuple[int, ...] | None = getattr(part, "taps", None)
            if taps is None:
                return None
            every.update(taps)
        return tuple(sorted(every))

    def positions(self, encoder_frames: int) -> int:
        """Embeddings that a clip of so many frames becomes (both parts must say)."""
        parts: Any = (self.acoustic, self.semantic)
        return sum(part.positions(encoder_frames) for part in parts)

    def forward(self, encoder_output: EncoderOutput) -> AudioEmbeddings:
        """Embed a batch: ``[B, Q + S // stride, D]``, valid lengths ``Q + lengths // stride``."""
        seen = encoder_output
        if self.mask_frames and seen.hidden_lengths is None:
            seen = replace(seen, hidden_lengths=seen.lengths)
        return _join(self.acoustic(seen), self.semantic(encoder_output))


@register("adapter", "prompted")
class PromptedSemanticAdapter(nn.Module):
    """Learned prompt vectors, then semantic embeddings (DIFFA stage 1).

    Args:
        semantic: comes second; :class:`dllm_audio.SemanticAdapter`, or any registered adapter
            with an ``lm_dim``.
        num_prompts: learned vectors in front; 0 gives the semantic embeddings alone.

    Raises:
        InvalidArgumentError: a negative ``num_prompts``, or an adapter without ``lm_dim``.

    Example:
        >>> from dllm_audio import SemanticAdapter
        >>> adapter = PromptedSemanticAdapter(SemanticAdapter(32, 64), num_prompts=20)
        >>> frames = torch.zeros(1, 50, 32)
        >>> audio = adapter(EncoderOutput(frames, (frames,), torch.tensor([50])))
        >>> audio.embeds.shape, audio.lengths  # 20 prompts, 50 // 4 embeddings
        (torch.Size([1, 32, 64]), tensor([32]))
    """

    def __init__(self, semantic: nn.Module, num_prompts: int = 20) -> None:
        super().__init__()
        check_integers(0, num_prompts=num_prompts)
        self.semantic, self.num_prompts = semantic, num_prompts
        self.lm_dim = _width("semantic", semantic)
        # No empty parameter: optimizers and sharding cannot be trusted with one.
        vectors = nn.Parameter(torch.randn(num_prompts, self.lm_dim)) if num_prompts else None
        self.register_parameter("prompts", vectors)
        self.prompts: nn.Parameter | None

    @classmethod
    def from_config(cls, values: Mapping[str, Any]) -> PromptedSemanticAdapter:
        """An adapter with new weights from a description of its part."""
        return cls(**_with_parts(values, ("semantic",)))

    def to_config(self) -> dict[str, Any]:
        """Description of the part and the number of prompts."""
        return {"semantic": describe("adapter", self.semantic), "num_prompts": self.num_prompts}

    @property
    def taps(self) -> tuple[int, ...] | None:
        """Hidden states that its part reads; None: the part does not say."""
        return getattr(self.semantic, "taps", None)

    def positions(self, encoder_frames: int) -> int:
        """Embeddings that a clip of so many frames becomes (the part must say)."""
        part: Any = self.semantic
        return self.num_prompts + part.positions(encoder_frames)

    def forward(self, encoder_output: EncoderOutput) -> AudioEmbeddings:
        """Embed a batch: ``[B, num_prompts + S // stride, D]`` and their valid lengths."""
        found: AudioEmbeddings = self.semantic(encoder_output)
        if self.prompts is None:
            return found
        embeds = repeat(self.prompts, "n d -> b n d", b=len(found.lengths))
        return _join(
            AudioEmbeddings(embeds, torch.full_like(found.lengths, self.num_prompts)), found
        )


def _join(first: AudioEmbeddings, second: AudioEmbeddings) -> AudioEmbeddings:
    """In every row the valid embeddings of the second right behind those of the first."""
    embeds = torch.cat([first.embeds, second.embeds], dim=1)
    ahead, width = first.lengths.to(embeds.device), first.embeds.shape[1]
    lengths = ahead + second.lengths.to(embeds.device)
    if bool((ahead < width).any()):  # close the gaps between them
        places = torch.arange(embeds.shape[1], device=embeds.device)[None]
        gap = torch.where(places < ahead[:, None], 0, width - ahead[:, None])
        places = (places + gap).clamp(max=embeds.shape[1] - 1)
        embeds = embeds.gather(1, places[:, :, None].expand_as(embeds))
    return AudioEmbeddings(embeds, lengths)


def _width(name: str, adapter: Any) -> int:
    width = getattr(adapter, "lm_dim", None)
    if not isinstance(width, int):
        raise InvalidArgumentError(name, "an adapter with an lm_dim", type(adapter).__name__)
    return width


def _with_parts(values: Mapping[str, Any], names: tuple[str, ...]) -> dict[str, Any]:
    """Settings in which the descriptions of parts are built."""
    missing = [name for name in names if name not in values]
    if missing:
        raise CheckpointError(f"adapter: lacks {missing}")
    return {**values, **{name: build("adapter", values[name], name) for name in names}}
