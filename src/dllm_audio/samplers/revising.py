"""Rules that take tokens back: what they see of a pass, and what they do with a block.

Such a rule sees every position of the active block in each pass, the committed ones too, and may
reopen or replace what this run committed there.  Prompt, given tokens and finished blocks stay as
they are; a block is final once its last pass is over.

Shape letters: B rows of the batch, N rows in work, C positions of the active block, V vocabulary.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from .choosing import Guess
from .commit import CommitRule, CommitState, or_surest
from .state import DecodingState


@dataclass(frozen=True, slots=True)
class Draft:
    """One pass over one block, for every row in work: what a revising rule sees.

    Attributes:
        tokens: ``[N, C]`` int64 the block as it stands; the mask id where it is open.
        open: ``[N, C]`` bool, masked.
        own: ``[N, C]`` bool, committed by this run and not given; never open.
        best: ``[N, C]`` int64 the likeliest token at each position; never the mask id.
        confidence: ``[N, C]`` of that token; ``-inf`` where the position is neither open nor own.
        kept: ``[N, C]`` confidence at which what stands there was committed; NaN where not own.
        backing: ``[N, C]`` probability that the shadow of each position gives to what stands there;
            None unless the rule asks for a shadow.
        memory: ``[N]`` int64 number that the rule keeps for each row, 0 when a block begins.
        step: passes already spent on this block.
    """

    tokens: Tensor
    open: Tensor
    own: Tensor
    best: Tensor
    confidence: Tensor
    kept: Tensor
    backing: Tensor | None
    memory: Tensor
    step: int

    @property
    def open_confidence(self) -> Tensor:
        """``[N, C]`` confidence where the position is open, ``-inf`` elsewhere."""
        return self.confidence.masked_fill(~self.open, float("-inf"))


@dataclass(frozen=True, slots=True)
class Revision:
    """What a pass does with a block.

    Attributes:
        write: ``[N, C]`` bool, the likeliest token is written; where a position is open or own.
        reopen: ``[N, C]`` bool, own positions that become masks again; None: none.
        going: ``[N]`` bool, rows that need another pass though nothing is open; None: none.
        memory: ``[N]`` int64 what the rule keeps for each row; None: what it had.
    """

    write: Tensor
    reopen: Tensor | None = None
    going: Tensor | None = None
    memory: Tensor | None = None


class RevisingRule(CommitRule):
    """A commit rule that may take tokens back; registered and used like any other.

    The loop ignores answers where nothing may change. Where a row has something open and the rule
    does nothing, its most confident open position is written; in the last pass that :meth:`plan`
    allows a block, everything open is. So every block ends, with no mask left.

    Attributes:
        needs_shadow: whether ``draft.backing`` must be computed.
    """

    needs_shadow: bool = False

    @abstractmethod
    def plan(self, block_lengths: Sequence[int]) -> list[int | None]:
        """Most passes of each block; all of them are bounded."""

    @abstractmethod
    def revise(self, draft: Draft) -> Revision:
        """What a pass writes and reopens."""

    def reopen(self, draft: Draft) -> Tensor | None:
        """Own positions ``[N, C]`` to reopen before a pass; None: none.

        Nothing is predicted yet: ``draft.best`` is what stands, and ``draft.confidence`` is
        ``draft.kept``.
        """
        return None

    def weigh(self, logits: Tensor, draft: Draft) -> Tensor:
        """The block's logits ``[N, C, V]`` as the rule wants them; they are not changed in place.

        Nothing is predicted yet, as in :meth:`reopen`.
        """
        return logits

    def commit(self, state: CommitState) -> Tensor:
        """What is written while nothing can be taken back."""
        nothing = torch.zeros_like(state.candidates)
        tokens = nothing.long()
        kept = torch.full_like(state.confidence, float("nan"))
        draft = Draft(
            tokens, state.candidates, nothing, tokens, state.confidence, kept, None,
            torch.zeros_like(state.num_masked), state.step,
        )  # fmt: skip
        return self.revise(draft).write


def standing(state: DecodingState, rule: RevisingRule) -> Draft:
    """The active block of the rows in work before anything is predicted.

    What the rule wants to predict anew in this pass is reopened, unless it is the block's last.
    """
    draft = _standing(state)
    reopened = None if _is_last(state) else rule.reopen(draft)
    if reopened is None:
        return draft
    tokens = state.current.clone()
    masked = reopened & draft.own & _working(state)[:, None]
    tokens[:, state.start : state.end] = draft.tokens.masked_fill(masked, state.mask_id)
    state.current = tokens
    forget(state, masked)
    return _standing(state)


def _standing(state: DecodingState) -> Draft:
    block, rows = slice(state.start, state.end), state.picked
    tokens, kept = state.current[:, block], state.sureness[rows, block]
    masked = tokens == state.mask_id
    own = ~masked & ~kept.isnan()
    return Draft(tokens, masked, own, tokens, kept, kept, None, state.remembered[rows], state.step)


def decide(
    rule: RevisingRule, state: DecodingState, draft: Draft, guess: Guess, backing: Tensor | None
) -> Revision:
    """What the rule does in this pass, within what it may; the rule's memory is kept."""
    seen = replace(draft, best=guess.tokens, confidence=guess.confidence, backing=backing)
    working, revision = _working(state), rule.revise(seen)
    write = revision.write & (draft.open | draft.own) & working[:, None]
    if _is_last(state):
        return Revision(write | draft.open)
    reopened = torch.zeros_like(write) if revision.reopen is None else revision.reopen
    reopened = reopened & draft.own & ~write & working[:, None]
    write = write | (or_surest(write | reopened, seen.confidence, draft.open) & draft.open)
    going = torch.zeros_like(working) if revision.going is None else revision.going & working
    if revision.memory is not None:
        state.remembered[state.picked] = torch.where(working, revision.memory, draft.memory)
    return Revision(write, reopened, going)


def take_back(state: DecodingState, tokens: Tensor, revision: Revision) -> tuple[Tensor, Tensor]:
    """Reopen what the rule takes back, and see how far the rows are.

    Returns:
        tokens ``[N, R]``; and ``[N]`` masks left in the block, 1 where the rule goes on without.
    """
    block = tokens[:, state.start : state.end]
    if revision.reopen is not None:
        block.masked_fill_(revision.reopen, state.mask_id)
        forget(state, revision.reopen)
    left = (block == state.mask_id).sum(-1)
    if revision.going is not None:
        left = torch.maximum(left, revision.going.long())
    return tokens, left


def forget(state: DecodingState, reopened: Tensor) -> None:
    """Nothing is known any more of when and how surely these ``[N, C]`` were committed."""
    place = state.picked, slice(state.start, state.end)
    state.sureness[place] = state.sureness[place].masked_fill(reopened, float("nan"))
    if state.committed_in is not None:
        state.committed_in[place] = state.committed_in[place].masked_fill(reopened, -1)


def _is_last(state: DecodingState) -> bool:
    return state.steps is not None and state.step + 1 >= state.steps


def _working(state: DecodingState) -> Tensor:
    """Rows ``[N]`` that do not wait for the others to finish the block."""
    return torch.tensor(state.left, device=state.current.device) > 0
