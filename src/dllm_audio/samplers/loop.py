"""The decoding loop: predict, choose, commit, advance, until no mask is left.

A response is decoded block after block, each in as many forward passes as the commit rule takes.
A pass is one turn of the loop in :meth:`Sampler._passes`, and its four steps are the functions at
the end of this file.

Shape letters: B rows of the batch, N rows in work, R response positions, C positions of the active
block, M positions whose logits are computed, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor

from ..errors import InvalidArgumentError, NonFiniteLogitsError
from ..outputs import SamplerOutput
from ..parts import Description, describe
from ..protocols import (
    CacheablePredictor,
    ExactlyCacheablePredictor,
    MaskPredictor,
    ShadowingPredictor,
)
from .cache import CachePolicy
from .checks import check_integer
from .choosing import Chooser, Generators, Guess, SamplingOptions
from .commit import CommitRule, CommitState, or_surest, share_out
from .confidence import probability, widen
from .revising import RevisingRule, Revision, decide, standing, take_back
from .starting import first_tokens
from .state import (
    DecodingState,
    DecodingStep,
    begin,
    enter_block,
    exact_window,
    keep_rows,
    settle,
)

_NOT_A_NUMBER = -1
# Positions are computed in multiples of this: matrix products of fewer rows go through other
# kernels, whose sums may differ in the last bit, and a row's result with the size of its batch.
_POSITIONS = 4
# With a cache, rows that wait leave the batch when they are more than a quarter of it: leaving
# moves the cache of those that stay, waiting costs their share of every pass.
_WAITING_SHARE = 0.25


class Sampler:
    """Decodes block after block with injected roles; the named samplers are settings of it.

    Two samplers are equal where their descriptions (:meth:`to_dict`) are.

    Args:
        gen_length: response positions R; with ``eos_stop`` an upper bound.
        block_length: positions of a block; the last block may be shorter.
        commit: what becomes final in a step.
        cache: what is recomputed in a step; a predictor that cannot cache decodes without.
        options: temperature, guidance, confidence, EOS handling, trace.
        steps: most forward passes for the whole response: the last one of a block's share
            commits all that is left of it; None sets no bound beside the rule's own.

    Raises:
        InvalidArgumentError: a length or ``steps`` below 1, fewer steps than blocks, or a
            ``commit`` that is no :class:`.CommitRule`.

    Example:
        A predictor that is sure of token 5 everywhere, so that every block takes one pass:

        >>> from dllm_audio import Threshold
        >>> class Sure:
        ...     batch_size, mask_token_id, eos_token_id = 1, 7, 6
        ...     device = torch.device("cpu")
        ...     def __call__(self, x_t):
        ...         return 20 * torch.eye(8)[5].expand(*x_t.shape, 8)
        >>> output = Sampler(gen_length=8, block_length=4, commit=Threshold(0.9))(Sure())
        >>> output.tokens, output.nfe
        (tensor([[5, 5, 5, 5, 5, 5, 5, 5]]), 2)
    """

    def __init__(
        self,
        gen_length: int,
        block_length: int,
        commit: CommitRule,
        cache: CachePolicy | None = None,
        options: SamplingOptions | None = None,
        steps: int | None = None,
    ) -> None:
        check_integer("gen_length", gen_length)
        check_integer("block_length", block_length)
        for name, value, kind, optional in (
            ("commit", commit, CommitRule, False),
            ("cache", cache, CachePolicy, True),
            ("options", options, SamplingOptions, True),
        ):
            if not isinstance(value, kind) and not (optional and value is None):
                expected = f"a {kind.__name__}{' or None' if optional else ''}"
                raise InvalidArgumentError(name, expected, type(value).__name__)
        self.gen_length = gen_length
        self.block_length = block_length
        self.commit = commit
        self.cache = CachePolicy() if cache is None else cache
        self.options = SamplingOptions() if options is None else options
        self.steps = steps
        if None in self.plan() and commit.may_wait:
            raise InvalidArgumentError("steps", "a bound, because the rule may wait", steps)

    def __repr__(self) -> str:
        fields = ", ".join(f"{name}={value!r}" for name, value in vars(self).items())
        return f"{type(self).__name__}({fields})"

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Sampler):
            return NotImplemented
        return self is other or self.to_dict() == other.to_dict()

    def __hash__(self) -> int:
        return hash((self.gen_length, self.block_length, self.steps))

    def to_dict(self) -> Description:
        """The sampler in plain JSON values; :func:`.from_dict` builds an equal one.

        Raises:
            InvalidArgumentError: a commit rule that is not registered.
        """
        options = asdict(self.options)
        ends = self.options.end_token_ids
        return {
            "gen_length": self.gen_length,
            "block_length": self.block_length,
            "steps": self.steps,
            "commit": describe("commit", self.commit),
            "cache": None if self.cache.kind is None else asdict(self.cache),
            **options,
            "end_token_ids": None if ends is None else list(ends),
        }

    def bounds(self) -> list[tuple[int, int]]:
        """Blocks ``[start, end)`` of the response, left to right."""
        starts = range(0, self.gen_length, self.block_length)
        return [(start, min(start + self.block_length, self.gen_length)) for start in starts]

    def plan(self) -> list[int | None]:
        """Forward passes that each block may take; None where there is no bound.

        Where both the rule and ``steps`` bound the response, the smaller number counts.
        """
        lengths = [end - start for start, end in self.bounds()]
        own = self.commit.plan(lengths)
        if self.steps is None:
            return own
        most = share_out(self.steps, lengths)
        known = [steps for steps in own if steps is not None]
        if len(known) == len(own):
            return own if sum(known) <= self.steps else most
        return [b if a is None or b is None else min(a, b) for a, b in zip(own, most, strict=True)]

    def __call__(
        self,
        predictor: MaskPredictor,
        *,
        start: Tensor | None = None,
        generator: Generators = None,
    ) -> SamplerOutput:
        """Decode a batch.

        Args:
            predictor: for example from :func:`dllm_audio.condition`.
            start: ``[B, R]`` int64 tokens to begin from: positions that hold the mask id are
                filled in, all others stay as they are; None: everything is masked.
            generator: for temperature and random confidence: one a row, or one for all.

        Returns:
            Tokens ``[B, R]`` and lengths ``[B]`` int64 without any mask left, the forward passes
            of the batch and of each row, and the trace where ``options.trace`` is on.

        Raises:
            InvalidArgumentError, ShapeError: arguments that do not fit the predictor.
            NonFiniteLogitsError: the predictor returned NaN.
        """
        state = self._begin(predictor, start, generator)
        with torch.inference_mode():
            for _ in self._passes(state):
                pass
        return state.output()  # out here, so that the result may take part in training

    def stream(
        self,
        predictor: MaskPredictor,
        *,
        start: Tensor | None = None,
        generator: Generators = None,
    ) -> Iterator[DecodingStep]:
        """Decode a batch step by step; arguments and errors are those of a call.

        Yields:
            The responses after every forward pass; the last step carries the output.

        Example:
            >>> class Even:
            ...     batch_size, mask_token_id, eos_token_id = 1, 7, 6
            ...     device = torch.device("cpu")
            ...     def __call__(self, x_t):
            ...         return torch.zeros(*x_t.shape, 8)
            >>> from dllm_audio import LowConfidenceSampler
            >>> steps = LowConfidenceSampler(steps=2, gen_length=8).stream(Even())
            >>> [(step.nfe, int((step.tokens == 7).sum())) for step in steps]
            [(1, 4), (2, 0), (2, 0)]
        """
        state = self._begin(predictor, start, generator)
        passes = self._passes(state)
        while True:
            with torch.inference_mode():
                nfe = next(passes, None)
            if nfe is None:
                break
            final = state.start if isinstance(self.commit, RevisingRule) else None
            sure = state.sureness.to(torch.float32, copy=True)
            yield DecodingStep(nfe, state.tokens.clone(), final=final, confidence=sure)
        output = state.output()
        yield DecodingStep(output.nfe, output.tokens, output)

    def _begin(
        self, predictor: MaskPredictor, start: Tensor | None, generator: Generators
    ) -> DecodingState:
        tokens = first_tokens(predictor, self.gen_length, start)
        eos_id = getattr(predictor, "eos_token_id", None)
        chooser = Chooser(
            self.options,
            tokens,
            predictor.mask_token_id,
            eos_id,
            self.commit,
            generator,
        )
        state = begin(predictor, tokens, self.options, self.cache, chooser)
        if isinstance(self.commit, RevisingRule) and self.commit.needs_shadow:
            state.shadow_slots = min(self.block_length, self.gen_length)
        return state

    def _passes(self, state: DecodingState) -> Iterator[int]:
        """Decode; yields the number of passes so far after each."""
        plan = self.plan()
        known = [steps for steps in plan if steps is not None]
        state.planned = sum(known) if len(known) == len(plan) else None
        for bounds, steps in zip(self.bounds(), plan, strict=True):
            watched = self.commit.watch(*bounds, self.gen_length)
            enter_block(state, bounds, watched, steps)
            while any(state.left):
                if isinstance(self.commit, RevisingRule):
                    revise(self.commit, state)
                    yield state.nfe
                    continue
                candidates = state.current[:, slice(*watched)] == state.mask_id
                logits, where = predict(state, candidates)
                guess = choose(state, logits, where, candidates)
                chosen = commit(self.commit, state, guess, candidates)
                advance(state, guess, chosen)
                yield state.nfe
            state.spent += steps or 0


def revise(rule: RevisingRule, state: DecodingState) -> None:
    """One pass of a rule that takes tokens back; the same four steps over the whole block."""
    draft = standing(state, rule)
    changeable, backing = draft.open | draft.own, None
    if rule.needs_shadow:
        logits, backing = predict_with_shadow(state, draft.tokens)
    else:
        logits, _ = predict(state, changeable, everything=True)
    guess = choose(state, rule.weigh(logits, draft), None, changeable)
    revision = decide(rule, state, draft, guess, backing)
    advance(state, guess, revision.write, revision)


def predict(
    state: DecodingState, candidates: Tensor, everything: bool = False
) -> tuple[Tensor, Tensor | None]:
    """Logits ``[N, M, V]`` at the masked positions of the block, or at all that is watched.

    Args:
        state: as it stands.
        candidates: ``[N, C]`` bool, masked positions of what is watched.
        everything: give all that is watched, in order, masked or not.

    Returns:
        The logits, and their positions ``[N, M]`` in the block; None: all C in order.
    """
    (start, end), tokens = state.watched, state.current
    # Rows with fewer masks than others get some positions more.
    where, most = None, -(-max(state.left) // _POSITIONS) * _POSITIONS
    if most < end - start and not (everything or state.chooser.needs_all):
        where = candidates.int().argsort(dim=-1, descending=True, stable=True)[:, :most]
    if not state.selects:  # a plain function of the whole batch
        logits = state.predictor(state.tokens)
        logits = (logits if state.index is None else logits[state.index])[:, start:end]
        if where is not None:
            logits = logits.gather(1, where[..., None].expand(-1, -1, logits.shape[-1]))
        return logits, where
    worker, policy = cast(CacheablePredictor, state.worker), state.cache_policy
    positions = torch.arange(start, end, device=tokens.device) if where is None else where + start
    if policy.kind == "exact":
        causal = cast(ExactlyCacheablePredictor, worker)
        window = torch.arange(*exact_window(state, _reach(state)), device=tokens.device)
        first, state.prompt_is_cached = not state.prompt_is_cached, True
        return causal(tokens, positions, cache=state.cache, window=window, with_prompt=first), where
    return worker(tokens, positions, cache=state.cache, window=_window(state)), where


def predict_with_shadow(state: DecodingState, standing: Tensor) -> tuple[Tensor, Tensor]:
    """The block's logits, and how likely what stands there is to who does not see it.

    Args:
        state: as it stands.
        standing: ``[N, C]`` int64 tokens of the block.

    Returns:
        Logits ``[N, C, V]``, and the probability ``[N, C]`` that the shadow of each position gives
        to the token that stands there.

    Raises:
        InvalidArgumentError: the predictor cannot give a shadow.
    """
    if not (state.selects and getattr(state.predictor, "can_shadow", False)):
        expected = "one made by condition() from LLaDA with full attention, because of the shadow"
        raise InvalidArgumentError("predictor", expected, type(state.predictor).__name__)
    worker, tokens = cast(ShadowingPredictor, state.worker), state.current
    bounds, window = (state.start, state.end), _window(state)
    logits, shadow = worker.shadowed(tokens, bounds, cache=state.cache, window=window)
    shadow = widen(shadow)
    return logits, probability(shadow, shadow.gather(-1, standing[..., None]))


def _window(state: DecodingState) -> Tensor | None:
    """Response positions that this pass computes; None: prompt and response."""
    policy, reach = state.cache_policy, _reach(state)
    if policy.refreshes(state.step):
        if not state.prompt_is_cached:
            state.prompt_is_cached = policy.keeps_prompt
            return None
        reach = (0, state.current.shape[1])
    return torch.arange(*reach, device=state.current.device)


def _reach(state: DecodingState) -> tuple[int, int]:
    """Positions ``[from, to)`` that the cache policy recomputes, and all that is watched."""
    low, high = state.cache_policy.window(state.start, state.end, state.current.shape[1])
    return min(low, state.watched[0]), max(high, state.watched[1])


def choose(state: DecodingState, logits: Tensor, where: Tensor | None, candidates: Tensor) -> Guess:
    """A token for every masked position of the block, and how sure it is."""
    return state.chooser(logits, where, candidates, state.index, state.deciding())


def commit(rule: CommitRule, state: DecodingState, guess: Guess, candidates: Tensor) -> Tensor:
    """Which of the candidates become final: ``[N, C]`` bool."""
    low = state.watched[0]
    block = slice(state.start - low, state.end - low)
    masked, confidence = candidates[:, block], guess.confidence[:, block]
    seen = CommitState(
        confidence,
        masked,
        None if guess.entropy is None else guess.entropy[:, block],
        state.num_masked,
        state.step,
        state.steps,
        state.start,
        state.spent,
        state.planned,
        None if guess.gap is None else state.own(guess.gap),
        None if guess.divergence is None else guess.divergence[:, :, block],
    )
    chosen = _commit_in_block(rule, seen)
    chosen = F.pad(chosen, (block.start, candidates.shape[1] - block.stop))
    finished = rule.finishes(seen)
    if finished is None:
        return chosen
    return chosen | (candidates & (finished & masked.any(-1))[:, None])  # no row that waits


def _commit_in_block(rule: CommitRule, seen: CommitState) -> Tensor:
    candidates = seen.candidates
    if seen.steps is not None and seen.step + 1 >= seen.steps:
        return candidates
    chosen = rule.commit(seen) & candidates
    return chosen if rule.may_wait else or_surest(chosen, seen.confidence, candidates)


def advance(
    state: DecodingState, guess: Guess, chosen: Tensor, revision: Revision | None = None
) -> None:
    """Write what was committed, end rows, count the pass, and let finished rows leave."""
    (start, end), index = state.watched, state.index
    tokens = state.current.clone()
    tokens[:, start:end] = torch.where(chosen, guess.tokens, tokens[:, start:end])
    if revision is None:
        tokens, left = settle(state, tokens)
    else:  # nothing is final before the block is, so that no row ends inside
        tokens, left = take_back(state, tokens, revision)
    state.current = tokens
    state.tokens = tokens if index is None else state.tokens.index_copy(0, index, tokens)
    place = state.picked, slice(start, end)
    standing, found = state.sureness[place], guess.sureness
    state.sureness[place] = torch.where(chosen, found.to(standing.dtype), standing)
    if state.committed_in is not None:
        state.committed_in[place] = torch.where(chosen, state.nfe, state.committed_in[place])
        if revision is not None:
            state.drafts.append((state.tokens, state.sureness.float()))
    state.nfe += 1
    state.step += 1
    for number, count in zip(state.rows, state.left, strict=True):
        state.row_nfe[number] += count > 0
    broken = guess.sureness.isnan().any(-1)
    counts = left.masked_fill(broken, _NOT_A_NUMBER).tolist()  # a step's one host synchronization
    if _NOT_A_NUMBER in counts:
        raise NonFiniteLogitsError(state.rows[counts.index(_NOT_A_NUMBER)], state.nfe)
    state.left = counts
    waiting = counts.count(0)
    share = 0.0 if state.cache_policy.kind is None else _WAITING_SHARE
    # Who leaves loses what the cache keeps of it, so with its prompt there it waits.
    if share * len(counts) < waiting < len(counts) and not state.cache_policy.keeps_prompt:
        keep_rows(state, [place for place, count in enumerate(counts) if count])
