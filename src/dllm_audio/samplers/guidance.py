"""Classifier-free guidance, both branches in one batched forward pass."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ..errors import InvalidArgumentError
from ..protocols import KVCache
from .checks import check_choice, check_number
from .confidence import widen


@dataclass(frozen=True)
class ClassifierFreeGuidance:
    """``logits = u + (scale + 1) (c - u)``: away from what is predicted without a condition.

    Args:
        scale: strength, >= 0; 0 is no guidance.
        unconditional: what the unconditional branch lacks: ``"text"`` sees the prompt's text as
            masks and keeps the audio (as DIFFA does); ``"audio"`` sees the prompt without audio.

    Raises:
        InvalidArgumentError: a scale that is negative or not finite, or another condition.

    Example:
        >>> from dllm_audio import LLaDA, LLaDAConfig, LowConfidenceSampler, condition
        >>> backbone = LLaDA(LLaDAConfig(d_model=32, n_layers=1, n_heads=2, mlp_hidden_size=64,
        ...                              vocab_size=50, mask_token_id=49, eos_token_id=48))
        >>> predictor = condition(backbone, torch.tensor([[1, 2, 3]]))
        >>> guidance = ClassifierFreeGuidance(scale=1.5)
        >>> sampler = LowConfidenceSampler(steps=4, gen_length=8, guidance=guidance)
        >>> sampler(predictor).nfe  # both branches in one pass of 2 B rows
        4
    """

    scale: float
    unconditional: str = "text"

    def __post_init__(self) -> None:
        check_number("scale", self.scale, 0)
        check_choice("unconditional", self.unconditional, ("text", "audio"))

    def wrap(self, predictor: Any) -> Any:
        """A predictor of the guided logits; ``predictor`` itself when the scale is 0."""
        if self.scale == 0:
            return predictor
        if not hasattr(predictor, "paired"):
            expected = "a predictor made by condition(), because guidance is on"
            raise InvalidArgumentError("predictor", expected, type(predictor).__name__)
        return GuidedPredictor(predictor.paired(self.unconditional), self.scale)


class GuidedPredictor:
    """Predictor of B rows over one of 2 B rows: conditional ones first, unconditional after.

    Args:
        pair: the predictor of 2 B rows.
        scale: strength of the guidance.
    """

    def __init__(self, pair: Any, scale: float) -> None:
        self.pair = pair
        self.scale = scale
        self.batch_size = pair.batch_size // 2
        self.mask_token_id = pair.mask_token_id
        self.eos_token_id = pair.eos_token_id
        self.device = pair.device

    @property
    def can_cache(self) -> bool:
        """Whether the backbone keeps keys and values."""
        return bool(getattr(self.pair, "can_cache", hasattr(self.pair, "new_cache")))

    @property
    def causal_block_length(self) -> int | None:
        """As that of the pair."""
        length: int | None = getattr(self.pair, "causal_block_length", None)
        return length

    @property
    def response_mask(self) -> Tensor | None:
        """``[B, R]`` bool, or None."""
        mask = self.pair.response_mask
        return None if mask is None else mask[: self.batch_size]

    def __call__(
        self,
        x_t: Tensor,
        positions: Tensor | None = None,
        *,
        cache: KVCache | None = None,
        window: Tensor | None = None,
        **options: bool,
    ) -> Tensor:
        """Guided logits, at least in float32; see :class:`~dllm_audio.protocols.MaskPredictor`."""
        if positions is not None and positions.dim() == 2:
            positions = torch.cat((positions, positions))
        logits = self.pair(torch.cat((x_t, x_t)), positions, cache=cache, window=window, **options)
        return self._guided(logits)

    @property
    def can_shadow(self) -> bool:
        """As the pair."""
        return bool(getattr(self.pair, "can_shadow", False))

    def shadowed(
        self, x_t: Tensor, block: tuple[int, int], **options: KVCache | Tensor | None
    ) -> tuple[Tensor, Tensor]:
        """Guided logits of a block and of its shadow."""
        both = self.pair.shadowed(torch.cat((x_t, x_t)), block, **options)
        logits, shadow = (self._guided(each) for each in both)
        return logits, shadow

    def _guided(self, logits: Tensor) -> Tensor:
        conditional, unconditional = widen(logits).chunk(2)
        return unconditional + (self.scale + 1) * (conditional - unconditional)

    def new_cache(self, response_length: int, **options: int) -> KVCache:
        """A cache of 2 B rows."""
        return self.pair.new_cache(response_length, **options)

    def select(self, rows: Tensor) -> GuidedPredictor:
        """The guided predictor of the chosen rows."""
        return GuidedPredictor(self.pair.select(self.cache_rows(rows)), self.scale)

    def within(self, response_mask: Tensor) -> GuidedPredictor:
        """The guided predictor of responses of other lengths."""
        return GuidedPredictor(
            self.pair.within(torch.cat((response_mask, response_mask))), self.scale
        )

    def cache_rows(self, rows: Tensor) -> Tensor:
        """Both branches of the chosen rows."""
        return torch.cat((rows, rows + self.batch_size))
