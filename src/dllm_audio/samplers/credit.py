"""Trace credit: tokens that stay the best guess step after step become surer.

Shape letters: N rows still decoding, C positions of the active block, M positions whose logits
were computed, V vocabulary.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from ..errors import InvalidArgumentError
from .canvas import ActiveRows
from .confidence import probability
from .prediction import best_token, widen


@dataclass(frozen=True)
class TraceCredit:
    """Credit decoding (CreditDecoding, arXiv 2510.06133; defaults of dInfer).

    Every step multiplies a token's credit by ``decay`` and adds ``p ** gamma`` to that of the most
    likely one; ``alpha * log(1 + credit)`` is added to the logits.  Credit is per block: it starts
    from zero in the next one.  It takes ``4 C V`` bytes a row.

    Args:
        alpha: weight of the credit in the logits, >= 0.
        gamma: exponent of the probability, >= 0.
        decay: share of the credit that is left after a step, in [0, 1).

    Raises:
        InvalidArgumentError: a value out of range.

    Example:
        >>> from dllm_audio import CachedParallelSampler
        >>> CachedParallelSampler(64, 32, credit=TraceCredit()).options.credit
        TraceCredit(alpha=0.7, gamma=0.2, decay=0.8)
    """

    alpha: float = 0.7
    gamma: float = 0.2
    decay: float = 0.8

    def __post_init__(self) -> None:
        for name in ("alpha", "gamma"):
            value = getattr(self, name)
            if not 0 <= value < float("inf"):
                raise InvalidArgumentError(name, "a finite number >= 0", value)
        if not 0 <= self.decay < 1:
            raise InvalidArgumentError("decay", "a number in [0, 1)", self.decay)


class CreditAccount:
    """The credit of every row, position and token of the active block.

    Args:
        rule: how credit grows and counts.
        rows: B of the batch.
        mask_id: never credited.
    """

    def __init__(self, rule: TraceCredit, rows: int, mask_id: int) -> None:
        self._rule, self._rows, self._mask_id = rule, rows, mask_id
        self._credit: Tensor | None = None

    def clear(self) -> None:
        """A new block begins."""
        self._credit = None

    def __call__(
        self, logits: Tensor, where: Tensor | None, width: int, rows: ActiveRows
    ) -> Tensor:
        """``logits [N, M, V]`` at block positions ``where [N, M]`` with their credit added."""
        logits = widen(logits)
        if self._credit is None:
            shape = (self._rows, width, logits.shape[-1])
            self._credit = torch.zeros(shape, dtype=logits.dtype, device=logits.device)
        numbers = torch.arange(self._rows, device=logits.device)
        numbers = (numbers if rows.index is None else rows.index)[:, None]
        if where is None:
            where = torch.arange(width, device=logits.device).expand(len(logits), -1)
        chosen, tokens = best_token(logits, self._mask_id)
        grown = self._credit[numbers, where] * self._rule.decay
        earned = probability(logits, chosen).to(grown.dtype).pow(self._rule.gamma)
        grown.scatter_add_(-1, tokens, earned[..., None])
        self._credit[numbers, where] = grown
        return logits + self._rule.alpha * grown.log1p()
