"""Factor decoding (Fast-dLLM, arXiv 2505.22618, algorithm 3; DIFFA-2 uses factor 1)."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from ...errors import InvalidArgumentError
from .base import CommitRule, CommitState, ranks


@dataclass(frozen=True)
class Factor(CommitRule):
    """Commit the n most confident positions while ``c_n >= 1 - factor / (n + 1)``.

    With confidences sorted downwards, ``c_1`` always passes; the walk stops at the first n that
    fails and commits those before it.

    Args:
        factor: larger commits more at once.
        commit_last: follow the reference implementation, which also commits the very last masked
            position when the walk stops exactly there.

    Raises:
        InvalidArgumentError: ``factor`` below 0 or not finite.

    Example:
        >>> import torch
        >>> confidence = torch.tensor([[0.90, 0.40, 0.70, 0.60]])
        >>> state = CommitState(confidence, confidence > 0, None, torch.tensor([4]), 0, None)
        >>> Factor(1.0).commit(state)  # 0.90 and 0.70 pass, 0.60 < 1 - 1 / 4
        tensor([[ True, False,  True, False]])
    """

    factor: float
    commit_last: bool = True

    def __post_init__(self) -> None:
        if not (self.factor >= 0 and math.isfinite(self.factor)):
            raise InvalidArgumentError("factor", "a finite number >= 0", self.factor)

    def commit(self, state: CommitState) -> Tensor:
        """The leading positions of the sorted walk."""
        ranked = state.confidence.sort(dim=-1, descending=True, stable=True).values
        n = torch.arange(1, ranked.shape[-1] + 1, device=ranked.device)
        passed = ranked >= 1 - self.factor / (n + 1)
        passed[:, :1] = True
        count = passed.long().cumprod(-1).sum(-1)
        if self.commit_last:
            remaining = state.candidates.sum(-1)
            count = torch.where(count == remaining - 1, remaining, count)
        return ranks(state.confidence) < count[:, None]
