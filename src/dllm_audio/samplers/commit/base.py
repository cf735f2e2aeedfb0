"""What a commit rule sees and what it answers.

Shape letters: B rows that are being decoded, C positions of the active block.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True, slots=True)
class CommitState:
    """One step of one block, for every row.

    Attributes:
        confidence: ``[B, C]`` float; ``-inf`` where nothing can be committed.
        candidates: ``[B, C]`` bool, True = still masked.
        entropy: ``[B, C]`` entropy in nats of each candidate's distribution, ``inf`` elsewhere;
            None unless the rule needs it.
        num_masked: ``[B]`` int64 masked positions of the block when it began.
        step: forward passes already spent on this block.
        steps: forward passes planned for this block, or None.
    """

    confidence: Tensor
    candidates: Tensor
    entropy: Tensor | None
    num_masked: Tensor
    step: int
    steps: int | None


class CommitRule(ABC):
    """Decides what is committed; a committed token never changes again.

    A rule is final and holds settings only. The loop ignores answers outside ``candidates`` and
    commits a row's most confident candidate when the rule commits none, so that every forward
    pass makes progress.

    Attributes:
        needs_entropy: whether ``state.entropy`` must be computed for this rule.

    Example:
        A rule of your own, which commits from left to right:

        >>> class LeftToRight(CommitRule):
        ...     def commit(self, state):
        ...         return state.candidates & (state.candidates.cumsum(-1) == 1)
        >>> masked = torch.tensor([[False, True, True]])
        >>> confidence = torch.tensor([[float("-inf"), 0.5, 0.9]])
        >>> state = CommitState(confidence, masked, None, torch.tensor([3]), step=1, steps=None)
        >>> LeftToRight().commit(state)
        tensor([[False,  True, False]])
    """

    needs_entropy: bool = False

    @abstractmethod
    def commit(self, state: CommitState) -> Tensor:
        """Positions to commit.

        Args:
            state: the active block of every row.

        Returns:
            ``[B, C]`` bool, True = commit.
        """

    def plan(self, block_lengths: Sequence[int]) -> list[int | None]:
        """Forward passes planned for each block; None where the rule decides as it goes."""
        return [None] * len(block_lengths)


def ranks(scores: Tensor) -> Tensor:
    """Rank of each entry in its row, 0 = highest; ties keep their order from left to right."""
    order = scores.argsort(dim=-1, descending=True, stable=True)
    positions = torch.arange(scores.shape[-1], device=scores.device).expand_as(order)
    return torch.empty_like(order).scatter_(-1, order, positions)
