"""Static or decaying confidence threshold (Fast-dLLM, arXiv 2505.22618, section 3.3)."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from ...errors import InvalidArgumentError
from .base import CommitRule, CommitState


@dataclass(frozen=True)
class Threshold(CommitRule):
    """Commit every position whose confidence reaches a threshold, at least the best one.

    Args:
        tau: threshold at the first step of a block.
        decay: how much the threshold falls with every further step of the block.
        floor: where the decay ends.

    Raises:
        InvalidArgumentError: ``decay`` below 0, or a ``tau`` that is no number.

    Example:
        >>> import torch
        >>> confidence = torch.tensor([[0.95, 0.80, 0.92]])
        >>> state = CommitState(confidence, confidence > 0, None, torch.tensor([3]), 0, None)
        >>> Threshold(0.9).commit(state)
        tensor([[ True, False,  True]])
    """

    tau: float
    decay: float = 0.0
    floor: float = 0.0

    def __post_init__(self) -> None:
        if not self.decay >= 0:
            raise InvalidArgumentError("decay", "a number >= 0", self.decay)
        if self.tau != self.tau:
            raise InvalidArgumentError("tau", "a number", self.tau)

    def commit(self, state: CommitState) -> Tensor:
        """Positions at or above the threshold."""
        tau = self.tau
        if self.decay:
            tau = max(min(self.floor, tau), tau - self.decay * state.step)
        return state.confidence >= tau
