"""Commit rules that watch more than the block: how predictions settle, and how decided all are.

Shape letters: B rows that are being decoded, C positions of the active block, R response positions,
H passes that are looked back on.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ..parts import register
from .checks import check_choice, check_integer, check_number
from .commit import CommitRule, CommitState, ranks, share_out, within_quota

STRATEGIES = ("all", "max_conf", "min_kl")
# Shares of the passes after which Prophet's bound falls, as published.
_EARLY, _MID = 0.33, 0.67


@register("commit", "klass")
@dataclass(frozen=True)
class KLASS(CommitRule):
    """Every position that is sure and whose prediction has come to rest (arXiv 2511.05664).

    A position is ready when its confidence is above ``conf_threshold`` and the divergence of its
    distribution from the one a pass earlier, ``KL(p_t || p_{t-1})``, was below ``kl_threshold`` in
    each of the block's last ``history`` passes. Where no position of a row is ready, the pass
    commits the fixed quota of the most confident ones.

    Args:
        steps: most forward passes for the whole response, shared out as by :class:`.FixedQuota`;
            the last one of a block commits what is left of it.
        conf_threshold: confidence that a ready position exceeds.
        kl_threshold: nats that its divergence stays below.
        history: passes that it stays below them.
        strategy: of the ready positions ``"all"`` are committed, or the most confident one
            (``"max_conf"``), or the one that moved least (``"min_kl"``).

    Raises:
        InvalidArgumentError: a value out of range.

    Example:
        >>> confidence = torch.tensor([[0.9, 0.9, 0.2]])
        >>> moved = torch.tensor([[[0.02, 0.50, 0.00]], [[0.001, 0.001, 0.0]]])  # two passes
        >>> state = CommitState(confidence, confidence > 0, None, torch.tensor([3]), 1, 3,
        ...                     divergence=moved)
        >>> KLASS(3, 0.6, 0.1).commit(state)  # the second one moved in the pass before the last
        tensor([[ True, False, False]])
    """

    steps: int
    conf_threshold: float = 0.9
    kl_threshold: float = 0.01
    history: int = 2
    strategy: str = "all"

    def __post_init__(self) -> None:
        check_integer("steps", self.steps)
        check_number("conf_threshold", self.conf_threshold)
        check_number("kl_threshold", self.kl_threshold, 0)
        check_integer("history", self.history)
        check_choice("strategy", self.strategy, STRATEGIES)

    def plan(self, block_lengths: Sequence[int]) -> list[int | None]:
        """Steps of each block."""
        return share_out(self.steps, block_lengths)

    def watch(self, start: int, end: int, length: int) -> tuple[int, int]:
        """The next block too: its first divergence is from the last pass of this one."""
        return start, min(2 * end - start, length)

    def commit(self, state: CommitState) -> Tensor:
        """The ready positions, or the step's quota of the most confident ones."""
        by_quota = within_quota(state, self.steps)
        moved = state.divergence
        if moved is None or len(moved) < self.history:
            return by_quota
        sure = state.candidates & (state.confidence > self.conf_threshold)
        ready = sure & (moved < self.kl_threshold).all(0)
        any_ready = ready.any(-1, keepdim=True)
        if self.strategy != "all":
            score = state.confidence if self.strategy == "max_conf" else -moved[-1]
            ready &= ranks(score.masked_fill(~ready, float("-inf"))) == 0
        return torch.where(any_ready, ready, by_quota)


@register("commit", "prophet")
@dataclass(frozen=True)
class Prophet(CommitRule):
    """Everything at once, as soon as the answer is decided (arXiv 2508.19982).

    Decodes like :class:`.FixedQuota`. The gap is the mean, over an answer region, of the largest
    logit minus the second largest, whether or not a position is committed. Once it reaches a bound
    that falls with the share of passes spent, every mask of the response is committed. Passes of
    the quota that could commit nothing are counted but not spent.

    Args:
        steps: forward passes T for the whole response, shared out as by :class:`.FixedQuota`.
        early: bound on the gap in pass t while ``t / T < 0.33``.
        mid: bound while ``t / T < 0.67``.
        late: bound from then on.
        answer_start: first response position of the region.
        answer_length: positions of the region, as many as the response has (published: 5); None
            takes all from ``answer_start`` on, which is ours, for short answers.

    Raises:
        InvalidArgumentError: a value out of range.

    Example:
        >>> confidence = torch.tensor([[0.9, 0.4, 0.7, 0.6]])
        >>> gap = torch.tensor([[6.0, 4.0, 5.0, 5.0]])
        >>> state = CommitState(confidence, confidence > 0, None, torch.tensor([4]), 1, 4,
        ...                     planned=4, gap=gap)
        >>> Prophet(4).finishes(state)  # 2 of 4 passes, and a mean gap of 5
        tensor([True])
    """

    steps: int
    early: float = 7.5
    mid: float = 5.0
    late: float = 2.5
    answer_start: int = 0
    answer_length: int | None = None
    needs_gap = True

    def __post_init__(self) -> None:
        check_integer("steps", self.steps)
        for name in ("early", "mid", "late"):
            check_number(name, getattr(self, name))
        check_integer("answer_start", self.answer_start, 0)
        if self.answer_length is not None:
            check_integer("answer_length", self.answer_length)

    def plan(self, block_lengths: Sequence[int]) -> list[int | None]:
        """Steps of each block."""
        return share_out(self.steps, block_lengths)

    def watch(self, start: int, end: int, length: int) -> tuple[int, int]:
        """The whole response."""
        return 0, length

    def commit(self, state: CommitState) -> Tensor:
        """The step's share of the most confident positions."""
        return within_quota(state, self.steps)

    def finishes(self, state: CommitState) -> Tensor | None:
        """Rows whose gap reaches the bound; those without a position in the region never do."""
        if state.gap is None:
            return None
        share = (state.spent + state.step + 1) / (state.planned or self.steps)
        bound = self.early if share < _EARLY else self.mid if share < _MID else self.late
        length = self.answer_length
        end = None if length is None else self.answer_start + length
        return state.gap[:, self.answer_start : end].nanmean(-1) >= bound
