"""Three rules that take tokens back: draft and verify, edit, and remask.

Shape letters: N rows that are being decoded, C positions of the active block, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ..parts import register
from .checks import check_integer, check_number
from .commit import or_surest, ranks
from .revising import Draft, RevisingRule, Revision

# WINO drafts at most this share of what is open, but between these numbers of positions.
_SHARE, _FEWEST, _MOST = 0.7, 5, 20


@register("commit", "wino")
@dataclass(frozen=True)
class WINO(RevisingRule):
    """Draft wide, verify with a shadow, take back (WINO, arXiv 2507.18578).

    Every open position above ``threshold`` is drafted, at most 70 % of those that are open (5 to 20
    of them). Each pass also predicts every position of the block from a shadow slot, which sees
    everything but its twin: a committed token whose shadow gives it less than ``threshold_back`` is
    reopened. Fewer are reopened than the pass before drafted, and none in a pass that drafts one;
    so a block of C positions takes at most C passes.

    Args:
        threshold: confidence above which a token is drafted.
        threshold_back: probability below which a committed token is reopened.

    Raises:
        InvalidArgumentError: a value that is no number.

    Example:
        >>> WINO().plan([32, 8])
        [32, 8]
    """

    threshold: float = 0.6
    threshold_back: float = 0.9
    needs_shadow = True

    def __post_init__(self) -> None:
        check_number("threshold", self.threshold)
        check_number("threshold_back", self.threshold_back)

    def plan(self, block_lengths: Sequence[int]) -> list[int | None]:
        """Every pass but the first commits at least one more than the next can take back."""
        return list(block_lengths)

    def revise(self, draft: Draft) -> Revision:
        """Draft what is sure, reopen what its shadow does not back."""
        confidence = draft.open_confidence
        cap = (_SHARE * draft.open.sum(-1)).floor().clamp(_FEWEST, _MOST)
        write = draft.open & (confidence > self.threshold) & (ranks(confidence) < cap[:, None])
        write = or_surest(write, confidence, draft.open)
        drafted = write.sum(-1)
        if draft.backing is None:
            return Revision(write, memory=drafted)
        doubtful = draft.own & (draft.backing < self.threshold_back) & (drafted > 1)[:, None]
        worst = ranks(-draft.backing.masked_fill(~doubtful, float("inf")))
        doubtful &= worst < (draft.memory - 1)[:, None]
        return Revision(write, doubtful, memory=drafted)


@register("commit", "editing")
@dataclass(frozen=True)
class Editing(RevisingRule):
    """Fill above one threshold, replace above another (token editing, arXiv 2602.08676).

    All from the same predictions: open positions above ``threshold`` are filled (or the surest
    one), and tokens that this run committed are replaced where another one is now predicted with
    more than ``edit_threshold``. A block is finished once a pass changes nothing, or after
    ``max_post_edit_steps`` passes with nothing open.

    Args:
        threshold: confidence above which a token is filled in.
        edit_threshold: confidence above which a token replaces another one.
        max_post_edit_steps: passes over a block that has nothing open.
        penalty: taken from the logit of the token one position to the left, within the block, which
            discourages doubling.

    Raises:
        InvalidArgumentError: a value out of range.

    Example:
        >>> Editing(max_post_edit_steps=4).plan([32])
        [36]
    """

    threshold: float = 0.5
    edit_threshold: float = 0.0
    max_post_edit_steps: int = 16
    penalty: float = 0.0

    def __post_init__(self) -> None:
        check_number("threshold", self.threshold)
        check_number("edit_threshold", self.edit_threshold)
        check_integer("max_post_edit_steps", self.max_post_edit_steps, 0)
        check_number("penalty", self.penalty, 0)

    def plan(self, block_lengths: Sequence[int]) -> list[int | None]:
        """Each pass fills one position at least, or edits a block that has nothing open."""
        return [length + self.max_post_edit_steps for length in block_lengths]

    def weigh(self, logits: Tensor, draft: Draft) -> Tensor:
        """Logits with less for the token to the left."""
        if not self.penalty:
            return logits
        before = draft.tokens[:, :-1, None]
        weighed = logits.clone()
        lessened = weighed[:, 1:].gather(-1, before) - self.penalty
        weighed[:, 1:] = weighed[:, 1:].scatter(-1, before, lessened)
        return weighed

    def revise(self, draft: Draft) -> Revision:
        """Fill and edit; a pass over a block without masks counts."""
        confidence = draft.open_confidence
        fill = or_surest(draft.open & (confidence > self.threshold), confidence, draft.open)
        closed = ~draft.open.any(-1)
        over = draft.memory + closed.long()
        edit = draft.own & (draft.best != draft.tokens) & (draft.confidence > self.edit_threshold)
        edit &= (over <= self.max_post_edit_steps)[:, None]
        write = fill | edit
        return Revision(write, going=write.any(-1), memory=over)


@register("commit", "remasking")
@dataclass(frozen=True)
class Remasking(RevisingRule):
    """Fill most of a block, swap what is least sure, fill the rest (ReMDM, arXiv 2503.00307).

    A block of C positions takes 2 C passes: the first seven eighths of C commit one position each,
    the next C reopen the ``remask_number`` positions that were committed with the least confidence
    and commit as many, the rest commit one each.

    Args:
        remask_number: positions that a swapping pass reopens and commits.

    Raises:
        InvalidArgumentError: not a positive integer.

    Example:
        >>> Remasking().plan([32])
        [64]
    """

    remask_number: int = 1

    def __post_init__(self) -> None:
        check_integer("remask_number", self.remask_number)

    def plan(self, block_lengths: Sequence[int]) -> list[int | None]:
        """Twice the positions."""
        return [2 * length for length in block_lengths]

    def reopen(self, draft: Draft) -> Tensor | None:
        """In a swapping pass, what was least sure when it was committed."""
        if not self._swaps(draft):
            return None
        return ranks(-draft.kept.masked_fill(~draft.own, float("inf"))) < self.remask_number

    def revise(self, draft: Draft) -> Revision:
        """The most confident ones, as many as this pass commits."""
        count = self.remask_number if self._swaps(draft) else 1
        write = draft.open & (ranks(draft.open_confidence) < count)
        return Revision(write, going=torch.ones_like(draft.memory, dtype=torch.bool))

    def _swaps(self, draft: Draft) -> bool:
        length = draft.tokens.shape[1]
        first = 7 * length // 8
        return first <= draft.step < first + length
