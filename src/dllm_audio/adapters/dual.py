"""From an encoder's output to audio embeddings: the adapters put together."""

from __future__ import annotations

import torch
from einops import repeat
from torch import Tensor, nn

from ..errors import InvalidArgumentError
from ..outputs import AudioEmbeddings, EncoderOutput
from ..parts import Description, build, describe, register
from .acoustic import AcousticAdapter
from .semantic import SemanticAdapter


@register("adapter", "dual")
class DualAdapter(nn.Module):
    """Acoustic embeddings first, semantic embeddings after them (DIFFA stage 2 and later).

    Args:
        semantic: reads the last hidden state.
        acoustic: reads the tapped hidden states.
        mask_frames: hides the frames behind an item's end from the acoustic adapter.  The
            published weights were trained without; hidden states cover the whole window, so an
            item's embeddings do not depend on its batch either way.

    Raises:
        InvalidArgumentError: the two adapters have different ``lm_dim``.

    Example:
        >>> semantic = SemanticAdapter(32, 64)
        >>> acoustic = AcousticAdapter(32, 64, taps=(1, 3), num_heads=4)
        >>> frames = torch.zeros(1, 100, 32)
        >>> output = EncoderOutput(frames[:, :50], (frames,) * 5, torch.tensor([50]))
        >>> DualAdapter(semantic, acoustic)(output).lengths
        tensor([76])
    """

    def __init__(
        self, semantic: SemanticAdapter, acoustic: AcousticAdapter, mask_frames: bool = False
    ) -> None:
        super().__init__()
        if semantic.lm_dim != acoustic.lm_dim:
            raise InvalidArgumentError("acoustic", f"lm_dim {semantic.lm_dim}", acoustic.lm_dim)
        self.semantic, self.acoustic, self.mask_frames = semantic, acoustic, mask_frames

    def to_config(self) -> Description:
        """Settings: descriptions of the two adapters."""
        parts = {
            name: describe("adapter", getattr(self, name)) for name in ("semantic", "acoustic")
        }
        return {**parts, "mask_frames": self.mask_frames}

    @classmethod
    def from_config(cls, values: Description) -> DualAdapter:
        """Built from :meth:`to_config`'s settings."""
        rest = {k: v for k, v in values.items() if k not in ("semantic", "acoustic")}
        parts = (build("adapter", values.get(name), name) for name in ("semantic", "acoustic"))
        return cls(*parts, **rest)

    def forward(self, encoder_output: EncoderOutput) -> AudioEmbeddings:
        """Embed a batch: ``[B, Q + S // stride, D]``, valid lengths ``lengths // stride + Q``."""
        mask = None
        if self.mask_frames:
            window = encoder_output.hidden_states[0].shape[1]
            frames = torch.arange(window, device=encoder_output.hidden_states[0].device)
            mask = frames < encoder_output.lengths.to(frames.device)[:, None]
        acoustic = self.acoustic(encoder_output.hidden_states, mask)
        return _prepend(acoustic, self.semantic, encoder_output)


@register("adapter", "prompted")
class PromptedSemanticAdapter(nn.Module):
    """Learned prompt vectors, then semantic embeddings (DIFFA stage 1).

    Args:
        semantic: reads the last hidden state.
        num_prompts: learned vectors in front; 0 gives the semantic embeddings alone.

    Raises:
        InvalidArgumentError: a negative ``num_prompts``.

    Example:
        >>> adapter = PromptedSemanticAdapter(SemanticAdapter(32, 64), num_prompts=20)
        >>> frames = torch.zeros(1, 50, 32)
        >>> audio = adapter(EncoderOutput(frames, (frames,), torch.tensor([50])))
        >>> audio.embeds.shape, audio.lengths  # 20 prompts, 50 // 4 embeddings
        (torch.Size([1, 32, 64]), tensor([32]))
    """

    def __init__(self, semantic: SemanticAdapter, num_prompts: int = 20) -> None:
        super().__init__()
        if num_prompts < 0:
            raise InvalidArgumentError("num_prompts", "an integer >= 0", num_prompts)
        self.semantic, self.num_prompts = semantic, num_prompts
        # No empty parameter: optimizers and sharding cannot be trusted with one.
        vectors = nn.Parameter(torch.randn(num_prompts, semantic.lm_dim)) if num_prompts else None
        self.register_parameter("prompts", vectors)
        self.prompts: nn.Parameter | None

    def to_config(self) -> Description:
        """Settings: a description of the semantic adapter, and the number of vectors."""
        return {"semantic": describe("adapter", self.semantic), "num_prompts": self.num_prompts}

    @classmethod
    def from_config(cls, values: Description) -> PromptedSemanticAdapter:
        """Built from :meth:`to_config`'s settings."""
        rest = {k: v for k, v in values.items() if k != "semantic"}
        return cls(build("adapter", values.get("semantic"), "semantic"), **rest)

    def forward(self, encoder_output: EncoderOutput) -> AudioEmbeddings:
        """Embed a batch: ``[B, num_prompts + S // stride, D]`` and their valid lengths."""
        prefix = None
        if self.prompts is not None:
            prefix = repeat(self.prompts, "n d -> b n d", b=len(encoder_output.lengths))
        return _prepend(prefix, self.semantic, encoder_output)


def _prepend(
    prefix: Tensor | None, semantic: SemanticAdapter, encoder_output: EncoderOutput
) -> AudioEmbeddings:
    embeds = semantic(encoder_output.last_hidden_state, encoder_output.lengths)
    lengths = encoder_output.lengths.to(embeds.device) // semantic.stride
    if prefix is None:
        return AudioEmbeddings(embeds, lengths)
    return AudioEmbeddings(torch.cat([prefix, embeds], dim=1), lengths + prefix.shape[1])
