"""Commit rules: which masked positions of a block become final in a step.

Every rule is a registered part (``@register("commit", name)``) that holds settings only; yours are
equal to these. Confidences ``c`` and entropies ``H`` below are those of a block's masked positions.

Shape letters: B rows that are being decoded, C positions of the active block.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from ..errors import InvalidArgumentError
from ..parts import register
from .checks import check_flag, check_integer, check_number


@dataclass(frozen=True, slots=True)
class CommitState:
    """One step of one block, for every row: what a rule sees.

    Attributes:
        confidence: ``[B, C]`` float; ``-inf`` where nothing can be committed.
        candidates: ``[B, C]`` bool, True = still masked.
        entropy: ``[B, C]`` entropy in nats of each candidate's distribution, ``inf`` elsewhere;
            None unless the rule needs it.
        num_masked: ``[B]`` int64 masked positions of the block when it began.
        step: forward passes already spent on this block.
        steps: forward passes planned for this block, or None.
        start: response position of the block's first one.
        spent: forward passes planned for the blocks before this one.
        planned: forward passes planned for the whole response, or None.
        gap: ``[B, R]`` largest logit minus the second largest, at every position of the response;
            NaN where a row has none. None unless the rule needs it.
        divergence: ``[H, B, C]`` how far each position's distribution moved (``KL(now || before)``
            in nats) in each of the block's last H passes, the newest last; fewer than
            ``rule.history`` while the block is young. None where that is 0.
    """

    confidence: Tensor
    candidates: Tensor
    entropy: Tensor | None
    num_masked: Tensor
    step: int
    steps: int | None
    start: int = 0
    spent: int = 0
    planned: int | None = None
    gap: Tensor | None = None
    divergence: Tensor | None = None


class CommitRule(ABC):
    """Decides what is committed; a committed token never changes again.

    The loop ignores answers outside ``candidates``. It commits a row's most confident candidate
    where the rule commits none, so that every forward pass makes progress, and all candidates in
    the last planned pass of a block.

    Attributes:
        needs_entropy: whether ``state.entropy`` must be computed for this rule.
        needs_gap: whether ``state.gap`` must be computed for this rule.
        history: how many passes of ``state.divergence`` the rule looks back on.
        may_wait: whether a pass may commit nothing; the rule then plans its passes.

    Example:
        A rule of your own, which commits from left to right:

        >>> from dllm_audio import register
        >>> @register("commit", "left-to-right")
        ... @dataclass(frozen=True)
        ... class LeftToRight(CommitRule):
        ...     def commit(self, state):
        ...         return state.candidates & (state.candidates.cumsum(-1) == 1)
        >>> masked = torch.tensor([[False, True, True]])
        >>> confidence = torch.tensor([[float("-inf"), 0.5, 0.9]])
        >>> state = CommitState(confidence, masked, None, torch.tensor([3]), step=1, steps=None)
        >>> LeftToRight().commit(state)
        tensor([[False,  True, False]])
    """

    needs_entropy: bool = False
    needs_gap: bool = False
    history: int = 0
    may_wait: bool = False

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

    def watch(self, start: int, end: int, length: int) -> tuple[int, int]:
        """Positions ``[from, to)``, around block ``[start, end)`` of R, that each pass predicts."""
        return start, end

    def finishes(self, state: CommitState) -> Tensor | None:
        """Rows ``[B]`` bool that commit everything they watch at once; None: no row ever does."""
        return None


def ranks(scores: Tensor) -> Tensor:
    """Rank of each entry in its row, 0 = highest; ties keep their order from left to right."""
    order = scores.argsort(dim=-1, descending=True, stable=True)
    positions = torch.arange(scores.shape[-1], device=scores.device).expand_as(order)
    return torch.empty_like(order).scatter_(-1, order, positions)


def or_surest(chosen: Tensor, confidence: Tensor, candidates: Tensor) -> Tensor:
    """``chosen [N, C]``, and in a row that chooses nothing its most confident candidate."""
    best = confidence.masked_fill(~candidates, float("-inf")).argmax(-1, keepdim=True)
    is_best = torch.zeros_like(chosen).scatter(-1, best, True) & candidates
    return chosen | (is_best & ~chosen.any(-1, keepdim=True))


def within_quota(state: CommitState, steps: int) -> Tensor:
    """The step's even share of the block's masks, the most confident ones: ``[B, C]`` bool.

    Args:
        state: m masked positions when the block began, and its planned steps S.
        steps: S where none are planned.
    """
    steps = steps if state.steps is None else state.steps
    quota = state.num_masked // steps + (state.step < state.num_masked % steps)
    return ranks(state.confidence) < quota[:, None]


def share_out(steps: int, block_lengths: Sequence[int]) -> list[int | None]:
    """Split steps over blocks in proportion to their lengths, at least one each.

    Raises:
        InvalidArgumentError: fewer steps than blocks.

    Example:
        >>> share_out(7, [32, 32])
        [4, 3]
    """
    check_integer("steps", steps)
    if steps < len(block_lengths):
        raise InvalidArgumentError("steps", f"at least one a block ({len(block_lengths)})", steps)
    total, done, spent = sum(block_lengths), 0, 0
    shares: list[int | None] = []
    for index, length in enumerate(block_lengths):
        done += length
        latest = steps - (len(block_lengths) - index - 1)  # later blocks get at least one each
        target = min(max(round(steps * done / total), spent + 1), latest)
        shares.append(target - spent)
        spent = target
    return shares


@register("commit", "fixed-quota")
@dataclass(frozen=True)
class FixedQuota(CommitRule):
    """LLaDA's own rule (arXiv 2502.09992, algorithm 5): the same number of tokens in every pass.

    With m masked positions and S steps in a block, step i commits the ``m // S`` most confident
    ones, and one more while ``i < m % S``.

    Args:
        steps: forward passes for the whole response, shared out over its blocks in proportion to
            their lengths, at least one each.

    Raises:
        InvalidArgumentError: ``steps`` below 1, or (when decoding) below the number of blocks.

    Example:
        >>> FixedQuota(7).plan([32, 32])
        [4, 3]
    """

    steps: int

    def __post_init__(self) -> None:
        check_integer("steps", self.steps)

    def plan(self, block_lengths: Sequence[int]) -> list[int | None]:
        """Steps of each block."""
        return share_out(self.steps, block_lengths)

    def commit(self, state: CommitState) -> Tensor:
        """The step's share of the most confident positions."""
        return within_quota(state, self.steps)


@register("commit", "timestep-quota")
@dataclass(frozen=True)
class TimestepQuota(CommitRule):
    """Dream's rule (arXiv 2508.15487): as many tokens as the reverse process would unmask.

    Time runs over ``t_0 = 1 > t_1 > ... > t_S = eps``, evenly spaced. With m masks left, step i
    commits the ``int(m (1 - t_{i+1} / t_i))`` most confident ones, possibly none, and the last
    step all that are left. With several blocks every block has its own time.

    Args:
        steps: forward passes for the whole response, shared out as by :class:`FixedQuota`.
        eps: where time ends, in (0, 1).

    Raises:
        InvalidArgumentError: a value out of range.

    Example:
        >>> confidence = torch.tensor([[0.9, 0.4, 0.7, 0.6]])
        >>> state = CommitState(confidence, confidence > 0, None, torch.tensor([4]), 1, 4)
        >>> TimestepQuota(4).commit(state)  # int(4 * (1 - 0.5005 / 0.75025)) = 1
        tensor([[ True, False, False, False]])
    """

    steps: int
    eps: float = 1e-3
    may_wait = True

    def __post_init__(self) -> None:
        check_integer("steps", self.steps)
        check_number("eps", self.eps)
        if not 0 < self.eps < 1:
            raise InvalidArgumentError("eps", "a number in (0, 1)", self.eps)

    def plan(self, block_lengths: Sequence[int]) -> list[int | None]:
        """Steps of each block."""
        return share_out(self.steps, block_lengths)

    def commit(self, state: CommitState) -> Tensor:
        """The step's share of the most confident positions."""
        steps = self.steps if state.steps is None else state.steps
        if state.step + 1 >= steps:
            return state.candidates
        # In float32 and on the host, as in the original: where the product is nearly whole, its
        # rounding decides.
        time = torch.linspace(1, self.eps, steps + 1, dtype=torch.float32, device="cpu")
        share = float(1 - time[state.step + 1] / time[state.step])
        quota = (state.candidates.sum(-1).float() * share).long()
        return ranks(state.confidence) < quota[:, None]


@register("commit", "threshold")
@dataclass(frozen=True)
class Threshold(CommitRule):
    """Every position whose confidence reaches a threshold (Fast-dLLM, arXiv 2505.22618, sec. 3.3).

    Args:
        tau: threshold at the first step of a block.
        decay: how much the threshold falls with every further step of the block.
        floor: where the decay ends.

    Raises:
        InvalidArgumentError: ``decay`` below 0, or a value that is no finite number.

    Example:
        >>> confidence = torch.tensor([[0.95, 0.80, 0.92]])
        >>> state = CommitState(confidence, confidence > 0, None, torch.tensor([3]), 0, None)
        >>> Threshold(0.9).commit(state)
        tensor([[ True, False,  True]])
    """

    tau: float
    decay: float = 0.0
    floor: float = 0.0

    def __post_init__(self) -> None:
        check_number("tau", self.tau)
        check_number("decay", self.decay, 0)
        check_number("floor", self.floor)

    def commit(self, state: CommitState) -> Tensor:
        """Positions at or above the threshold."""
        tau = self.tau
        if self.decay:
            tau = max(min(self.floor, tau), tau - self.decay * state.step)
        return state.confidence >= tau


@register("commit", "factor")
@dataclass(frozen=True)
class Factor(CommitRule):
    """The n most confident positions while ``c_n >= 1 - factor / (n + 1)`` (same, algorithm 3).

    With confidences sorted downwards, ``c_1`` always passes; the walk stops at the first n that
    fails and commits those before it. DIFFA-2 uses factor 1.

    Args:
        factor: larger commits more at once.
        commit_last: follow the reference implementation, which also commits the very last masked
            position when the walk stops exactly there.

    Raises:
        InvalidArgumentError: ``factor`` below 0 or not finite.

    Example:
        >>> confidence = torch.tensor([[0.90, 0.40, 0.70, 0.60]])
        >>> state = CommitState(confidence, confidence > 0, None, torch.tensor([4]), 0, None)
        >>> Factor(1.0).commit(state)  # 0.90 and 0.70 pass, 0.60 < 1 - 1 / 4
        tensor([[ True, False,  True, False]])
    """

    factor: float
    commit_last: bool = True

    def __post_init__(self) -> None:
        check_number("factor", self.factor, 0)
        check_flag("commit_last", self.commit_last)

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


@register("commit", "entropy-bound")
@dataclass(frozen=True)
class EntropyBound(CommitRule):
    """The longest ranking whose entropies, without the largest one, sum to at most ``gamma``.

    Positions are taken in order of rising entropy ``H_1 <= H_2 <= ...``; k of them are committed
    for the largest k with ``(H_1 + ... + H_k) - max(H_1 ... H_k) <= gamma``, so that the first
    always is (arXiv 2505.24857, section 4).

    With ``position_decay`` they are taken in order of falling ``c_i exp(-position_decay i)`` for
    the response's i-th position, so that early ones come first: the position-biased bound for
    transcripts of arXiv 2602.18952 (there ``gamma=0.05, position_decay=0.2`` and at most 32
    passes). No code of it is published; this is our reading of the text.

    Args:
        gamma: bound in nats, >= 0.
        position_decay: how fast later positions lose, >= 0; None ranks by entropy.

    Raises:
        InvalidArgumentError: a value below 0.

    Example:
        >>> entropy = torch.tensor([[0.30, 0.02, 0.07]])
        >>> masked = torch.ones(1, 3, dtype=torch.bool)
        >>> state = CommitState(-entropy, masked, entropy, torch.tensor([3]), 0, None)
        >>> EntropyBound(0.1).commit(state)  # 0.02 + 0.07 + 0.30 - 0.30 <= 0.1
        tensor([[True, True, True]])
    """

    gamma: float = 0.1
    position_decay: float | None = None
    needs_entropy = True

    def __post_init__(self) -> None:
        check_number("gamma", self.gamma, 0)
        if self.position_decay is not None:
            check_number("position_decay", self.position_decay, 0)

    def commit(self, state: CommitState) -> Tensor:
        """The head of the ranking."""
        entropy = state.entropy if state.entropy is not None else -state.confidence
        entropy = entropy.masked_fill(~state.candidates, float("inf"))
        order = ranks(-entropy if self.position_decay is None else self._biased(state))
        ranked = torch.empty_like(entropy).scatter_(-1, order, entropy)
        # What the k-th adds to the sum without the largest: itself, or the one that it outgrows.
        grown = torch.minimum(ranked[:, 1:], ranked[:, :-1].cummax(-1).values)
        excess = torch.cat((torch.zeros_like(ranked[:, :1]), grown.cumsum(-1)), dim=-1)
        return order < (excess <= self.gamma).sum(-1, keepdim=True)

    def _biased(self, state: CommitState) -> Tensor:
        width, device = state.confidence.shape[-1], state.confidence.device
        place = state.start + torch.arange(width, device=device)
        # Negative confidences (entropies, delayed ends) fall too as they grow.
        decay = -(self.position_decay or 0.0) * place * state.confidence.sign()
        return state.confidence * decay.exp()


@register("commit", "local-leap")
@dataclass(frozen=True)
class LocalLeap(CommitRule):
    """Confident anchors, and their neighbors at a lower threshold (arXiv 2510.07081).

    Args:
        anchor: confidence that makes a masked position an anchor.
        relaxed: confidence that suffices within ``radius`` positions of an anchor.
        radius: reach of an anchor in positions, within the block.

    Raises:
        InvalidArgumentError: ``relaxed`` above ``anchor``, or a radius that is no integer >= 0.

    Example:
        >>> confidence = torch.tensor([[0.95, 0.80, 0.50, 0.80]])
        >>> state = CommitState(confidence, confidence > 0, None, torch.tensor([4]), 0, None)
        >>> LocalLeap(radius=2).commit(state)  # the last one is too far from the anchor
        tensor([[ True,  True, False, False]])
    """

    anchor: float = 0.9
    relaxed: float = 0.75
    radius: int = 4

    def __post_init__(self) -> None:
        check_number("anchor", self.anchor)
        check_number("relaxed", self.relaxed)
        if not self.relaxed <= self.anchor:
            raise InvalidArgumentError("relaxed", f"at most anchor ({self.anchor})", self.relaxed)
        check_integer("radius", self.radius, 0)

    def commit(self, state: CommitState) -> Tensor:
        """Anchors and confident neighbors."""
        anchors = state.confidence >= self.anchor
        radius = min(self.radius, anchors.shape[-1])
        near = F.max_pool1d(anchors.float()[:, None], 2 * radius + 1, stride=1, padding=radius)
        return anchors | ((near[:, 0] > 0) & (state.confidence >= self.relaxed))


@register("commit", "hierarchical")
@dataclass(frozen=True)
class Hierarchical(CommitRule):
    """The best of every contiguous run of masks, and all that is nearly sure (arXiv 2510.08666).

    Args:
        high: every position at or above it is committed.
        low: the best position of each run is committed at or above it.

    Raises:
        InvalidArgumentError: ``low`` above ``high``.

    Example:
        >>> masked = torch.tensor([[True, True, False, True, True]])
        >>> confidence = torch.tensor([[0.70, 0.65, 0.0, 0.60, 0.50]]).masked_fill(~masked, -1e9)
        >>> state = CommitState(confidence, masked, None, torch.tensor([4]), 0, None)
        >>> Hierarchical().commit(state)  # the best of the second run is below 0.62
        tensor([[ True, False, False, False, False]])
    """

    high: float = 0.92
    low: float = 0.62

    def __post_init__(self) -> None:
        check_number("high", self.high)
        check_number("low", self.low)
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
