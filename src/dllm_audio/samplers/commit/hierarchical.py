"""Hierarchical decoding: the best of every masked run, and all that is nearly sure (dInfer)."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from ...errors import InvalidArgumentError
from .base import CommitRule, CommitState


@dataclass(frozen=True)
class Hierarchical(CommitRule):
    """Split every contiguous run of masks at its most confident position (arXiv 2510.08666).

    Args:
        high: every position at or above it is committed.
        low: the best position of each run is committed at or above it.

    Raises:
        InvalidArgumentError: ``low`` above ``high``.

    Example:
        >>> import torch
        >>> masked = torch.tensor([[True, True, False, True, True]])
        >>> confidence = torch.tensor([[0.70, 0.65, 0.0, 0.60, 0.50]]).masked_fill(~masked, -1e9)
        >>> state = CommitState(confidence, masked, None, torch.tensor([4]), 0, None)
        >>> Hierarchical().commit(state)  # the best of the second run is below 0.62
        tensor([[ True, False, False, False, False]])
    """

    high: float = 0.92
    low: float = 0.62

    def __post_init__(self) -> None:
        if not self.low <= self.high:
            raise InvalidArgumentError("low", f"at most high ({self.high})", self.low)

    def commit(self, state: CommitState) -> Tensor:
        """The nearly sure positions, and the best of each run."""
        masked = state.candidates
        begins = masked.clone()
        begins[:, 1:] &= ~masked[:, :-1]
        run = begins.long().cumsum(-1).masked_fill(~masked, 0)  # 0: no run
        batch, width = masked.shape
        best = state.confidence.new_full((batch, width + 1), float("-inf"))
        best.scatter_reduce_(-1, run, state.confidence, reduce="amax")
        is_best = masked & (state.confidence == best.gather(-1, run))
        # Of equally confident positions in a run the leftmost counts.
        columns = torch.arange(width, device=masked.device).expand_as(run)
        first = run.new_full((batch, width + 1), width)
        first.scatter_reduce_(-1, run, columns.masked_fill(~is_best, width), reduce="amin")
        is_best &= columns == first.gather(-1, run)
        return (state.confidence >= self.high) | (is_best & (state.confidence >= self.low))
