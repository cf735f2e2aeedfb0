"""Fixed quota: LLaDA's own rule (arXiv 2502.09992, algorithm 5)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor

from ...errors import InvalidArgumentError
from .base import CommitRule, CommitState, ranks


@dataclass(frozen=True)
class FixedQuota(CommitRule):
    """Spread the masked positions evenly over a fixed number of forward passes.

    With m masked positions and S steps in a block, step i commits the ``m // S`` most confident
    ones, and one more while ``i < m % S``.

    Args:
        steps: forward passes for the whole response, shared out over its blocks in proportion to
            their lengths, at least one each.

    Raises:
        InvalidArgumentError: ``steps`` below 1, or below the number of blocks.

    Example:
        >>> FixedQuota(7).plan([32, 32])
        [4, 3]
    """

    steps: int

    def __post_init__(self) -> None:
        if isinstance(self.steps, bool) or not isinstance(self.steps, int) or self.steps < 1:
            raise InvalidArgumentError("steps", "an integer >= 1", self.steps)

    def plan(self, block_lengths: Sequence[int]) -> list[int | None]:
        """Steps of each block."""
        if self.steps < len(block_lengths):
            expected = f"at least one a block ({len(block_lengths)})"
            raise InvalidArgumentError("steps", expected, self.steps)
        total, done, spent = sum(block_lengths), 0, 0
        shares: list[int | None] = []
        for index, length in enumerate(block_lengths):
            done += length
            # This block and every later one gets at least one step.
            latest = self.steps - (len(block_lengths) - index - 1)
            target = min(max(round(self.steps * done / total), spent + 1), latest)
            shares.append(target - spent)
            spent = target
        return shares

    def commit(self, state: CommitState) -> Tensor:
        """The step's share of the most confident positions."""
        steps = self.steps if state.steps is None else state.steps
        quota = state.num_masked // steps + (state.step < state.num_masked % steps)
        return ranks(state.confidence) < quota[:, None]
