"""All that changes while a batch is decoded, and how rows come into work and leave it.

Shape letters: B rows of the batch, N rows in work, R response positions.
"""

from __future__ import annotations

import warnings
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from typing import cast

import torch
from torch import Tensor

from ..errors import InvalidArgumentError
from ..outputs import SamplerOutput, Trace
from ..protocols import (
    CacheablePredictor,
    ConfinablePredictor,
    ExactlyCacheablePredictor,
    KVCache,
    MaskPredictor,
)
from .cache import CachePolicy
from .choosing import Chooser, SamplingOptions
from .confidence import fine_dtype


@dataclass(frozen=True, slots=True)
class DecodingStep:
    """The responses after one forward pass; see :meth:`Sampler.stream`.

    Attributes:
        nfe: forward passes so far.
        tokens: ``[B, R]`` int64; the mask id where nothing is committed yet.
        output: the result, in the last step only.
        final: positions before it stay as they are; None: all that is committed does.
        confidence: ``[B, R]`` float32 at which what stands there was committed; NaN where nothing
            was, or where it was given. None in the last step, whose output tells it.
    """

    nfe: int
    tokens: Tensor
    output: SamplerOutput | None = None
    final: int | None = None
    confidence: Tensor | None = None


@dataclass(slots=True)
class DecodingState:
    """All that changes while a batch is decoded.

    Attributes:
        tokens: ``[B, R]`` int64, the responses as they stand.
        predictor: of all B rows.
        whole: the same, before it was narrowed to what precedes the block's end; None where the
            model sees the whole response.
        selects: whether it can restrict its output and drop rows; otherwise it is asked for
            everything.
        chooser: picks tokens and measures confidence.
        mask_id: stands for "not yet known".
        eos_id: ends a response, or None.
        eos_stop: whether rows end at their first EOS once everything before it is committed.
        cache_policy: what is recomputed in a pass.
        sureness: ``[B, R]`` float64 confidence at commit; NaN where nothing was committed.
        committed_in: ``[B, R]`` int64 the pass of the commit, -1 where there was none; or None
            where nobody asked for a trace.
        row_nfe: forward passes that each of the B rows took part in.
        nfe: forward passes so far.
        start: first position of the active block.
        end: the position after its last.
        watched: positions ``[from, to)`` that a pass predicts; around the block, or the block.
        step: passes already spent on the block.
        steps: passes planned for it, or None.
        spent: passes planned for the blocks before it.
        planned: passes planned for the whole response, or None.
        rows: which rows are in work, by their places in the batch.
        left: masks that each of them has left in the block; 0 for a row that waits.
        index: ``rows`` as a tensor ``[N]``, or None when they are the whole batch.
        current: ``[N, R]`` their tokens.
        num_masked: ``[N]`` int64 masks that they had when the block began.
        worker: the predictor of these rows.
        memory: keys and values of the whole batch, allocated once, or None.
        cache: those of the rows in work.
        prompt_is_cached: whether the cache keeps the prompts, in the order of ``rows``.
        final: response positions whose keys and values an exact cache keeps for good.
        remembered: ``[B]`` int64 what a revising rule keeps for each row.
        shadow_slots: positions of the longest block, where the rule needs a shadow.
        drafts: with a trace and a revising rule, tokens and sureness after every pass.
    """

    tokens: Tensor
    predictor: MaskPredictor
    selects: bool
    chooser: Chooser
    mask_id: int
    eos_id: int | None
    eos_stop: bool
    cache_policy: CachePolicy
    sureness: Tensor
    committed_in: Tensor | None
    row_nfe: list[int]
    whole: ConfinablePredictor | None = None
    nfe: int = 0
    start: int = 0
    end: int = 0
    watched: tuple[int, int] = (0, 0)
    step: int = 0
    steps: int | None = None
    spent: int = 0
    planned: int | None = None
    rows: list[int] = field(default_factory=list)
    left: list[int] = field(default_factory=list)
    index: Tensor | None = None
    current: Tensor = field(default_factory=lambda: torch.empty(0))
    num_masked: Tensor = field(default_factory=lambda: torch.empty(0))
    worker: MaskPredictor | None = None
    memory: KVCache | None = None
    cache: KVCache | None = None
    prompt_is_cached: bool = False
    final: int = 0
    remembered: Tensor = field(default_factory=lambda: torch.empty(0))
    shadow_slots: int = 0
    drafts: list[tuple[Tensor, Tensor]] = field(default_factory=list)

    @property
    def picked(self) -> Tensor | slice:
        """Rows in work, as an index into the batch."""
        return slice(None) if self.index is None else self.index

    def deciding(self) -> list[int | None]:
        """``rows``, with None for those that wait for the others to finish the block."""
        return [n if left else None for n, left in zip(self.rows, self.left, strict=True)]

    def own(self, values: Tensor) -> Tensor:
        """Values ``[N, R]`` with NaN where a row's response is padding."""
        real: Tensor | None = getattr(self.predictor, "response_mask", None)
        if real is None:
            return values
        real = real if self.index is None else real[self.index]
        return values.masked_fill(~real, float("nan"))

    def _drafts(self) -> tuple[Tensor, Tensor] | tuple[()]:
        """Tokens and sureness after every pass, ``[S, B, R]`` each, where they were kept."""
        if not self.drafts:
            return ()
        tokens, sureness = zip(*self.drafts, strict=True)
        return torch.stack(tokens), torch.stack(sureness)

    def output(self) -> SamplerOutput:
        """The result, once nothing is left to do; call it outside of inference mode."""
        tokens, sureness = self.tokens.clone(), self.sureness.float()
        committed_in = None if self.committed_in is None else self.committed_in.clone()
        lengths = torch.full_like(tokens[:, 0], tokens.shape[1])
        if self.eos_id is not None:
            lengths = answer_lengths(tokens, self.eos_id)
            if self.eos_stop:  # what was committed behind the end belongs to no answer
                void = behind_the_end(lengths, tokens) & ~sureness.isnan()
                tokens = tokens.masked_fill(void, self.eos_id)
                sureness = sureness.masked_fill(void, float("nan"))
                committed_in = None if committed_in is None else committed_in.masked_fill(void, -1)
        return SamplerOutput(
            tokens,
            lengths,
            self.nfe,
            None if committed_in is None else Trace(committed_in, sureness, *self._drafts()),
            torch.tensor(self.row_nfe, device=tokens.device),
            mean_of_answers(sureness, lengths),
        )


def answer_lengths(tokens: Tensor, eos_id: int) -> Tensor:
    """Tokens ``[B]`` before the first EOS of ``tokens [B, R]``."""
    return (tokens == eos_id).int().cumsum(-1).eq(0).sum(-1)


def first_end(tokens: Sequence[int], ends: Collection[int | None]) -> int:
    """Place of the first token of a row that ends its text; its length where none does."""
    return next((i for i, token in enumerate(tokens) if token in ends), len(tokens))


def behind_the_end(lengths: Tensor, tokens: Tensor) -> Tensor:
    """``[B, R]`` bool, positions behind the EOS that ends an answer of ``lengths [B]``."""
    return torch.arange(tokens.shape[1], device=tokens.device) > lengths[:, None]


def nothing_known(tokens: Tensor) -> Tensor:
    """Sureness ``[B, R]`` before anything is committed, as fine as :func:`.fine_probability`'s."""
    nan = float("nan")
    return torch.full(tokens.shape, nan, dtype=fine_dtype(tokens.device), device=tokens.device)


def mean_of_answers(sureness: Tensor, lengths: Tensor) -> Tensor:
    """Mean ``[B]`` of what was committed before the end; NaN where nothing was."""
    columns = torch.arange(sureness.shape[1], device=sureness.device)
    counts = (columns < lengths[:, None]) & ~sureness.isnan()
    return sureness.masked_fill(~counts, 0.0).sum(-1) / counts.sum(-1)


def begin(
    predictor: MaskPredictor,
    tokens: Tensor,
    options: SamplingOptions,
    policy: CachePolicy,
    chooser: Chooser,
) -> DecodingState:
    """The state before the first pass; guidance is applied here.

    Raises:
        InvalidArgumentError: options that do not fit the predictor.
    """
    eos_id: int | None = getattr(predictor, "eos_token_id", None)
    if options.eos_stop and eos_id is None:
        raise InvalidArgumentError("eos_stop", "False (the predictor has no EOS id)", True)
    if options.guidance is not None:
        predictor = options.guidance.wrap(predictor)
    selects = isinstance(predictor, CacheablePredictor)
    if policy.kind is not None and not (selects and getattr(predictor, "can_cache", True)):
        name = type(predictor).__name__
        warnings.warn(f"{name} cannot cache; decoding without a cache", stacklevel=2)
        policy = CachePolicy()
    if policy.kind == "exact" and getattr(predictor, "causal_block_length", None) is None:
        expected = "'prefix', 'dual' or None (the backbone's config has no causal_block_length)"
        raise InvalidArgumentError("cache", expected, "exact")
    return DecodingState(
        tokens=tokens,
        predictor=predictor,
        selects=selects,
        chooser=chooser,
        mask_id=int(predictor.mask_token_id),
        eos_id=eos_id,
        eos_stop=options.eos_stop,
        cache_policy=policy,
        sureness=nothing_known(tokens),
        committed_in=torch.full_like(tokens, -1) if options.trace else None,
        row_nfe=[0] * len(tokens),
        whole=_confinable(predictor) if options.context == "prefix" else None,
    )


def _confinable(predictor: MaskPredictor) -> ConfinablePredictor:
    if not isinstance(predictor, ConfinablePredictor):
        expected = "'full' (the predictor was not made by condition())"
        raise InvalidArgumentError("context", expected, "prefix")
    return predictor


def settle(state: DecodingState, tokens: Tensor) -> tuple[Tensor, Tensor]:
    """End the rows that the EOS rule ends, and see how far the others are.

    Returns:
        tokens ``[N, R]`` with EOS in place of every mask of an ended row, which has nothing left
        to decide then; and ``[N]`` masks left in the block.
    """
    start, end = state.start, state.end
    masked = tokens == state.mask_id
    left = masked[:, start:end].sum(-1)
    if not state.eos_stop or state.eos_id is None:
        return tokens, left
    # Only once everything before the first EOS is decided: cutting earlier would lose text.
    is_eos = tokens[:, :end] == state.eos_id
    before_eos = is_eos.int().cumsum(-1) == 0
    done = is_eos.any(-1) & ~(masked[:, :end] & before_eos).any(-1)
    return tokens.masked_fill(masked & done[:, None], state.eos_id), left.masked_fill(done, 0)


def enter_block(
    state: DecodingState, bounds: tuple[int, int], watched: tuple[int, int], steps: int | None
) -> None:
    """Put the rows in work that have masks in the block (or behind, where prompts are kept)."""
    start, end = bounds
    state.start, state.end, state.step, state.steps = start, end, 0, steps
    state.remembered = torch.zeros_like(state.tokens[:, 0])
    state.watched = watched
    if state.whole is not None:
        columns = torch.arange(state.tokens.shape[1], device=state.tokens.device) < end
        real = state.whole.response_mask
        seen = columns.expand_as(state.tokens) if real is None else columns & real
        state.predictor = state.whole.within(seen)
        if state.prompt_is_cached:
            worker = cast(CacheablePredictor, state.predictor)
            state.worker = worker if state.index is None else worker.select(state.index)
    state.chooser.begin_block(*watched)
    state.tokens, masked = settle(state, state.tokens)
    left = masked.tolist()
    going = left
    if state.cache_policy.keeps_prompt:
        going = (state.tokens[:, start:] == state.mask_id).any(-1).tolist()
    if not state.prompt_is_cached:
        state.rows = list(range(len(left)))
        state.index, state.worker, state.cache = None, state.predictor, state.memory
    places = [place for place, number in enumerate(state.rows) if going[number]]
    if not places:
        state.left = []
        return
    state.left = [left[number] for number in state.rows]
    state.current, state.num_masked = state.tokens, masked
    if state.index is not None:
        state.current, state.num_masked = state.tokens[state.index], masked[state.index]
    if not state.prompt_is_cached:
        state.cache = None  # nothing in it is worth moving
    if len(places) < len(state.rows):
        keep_rows(state, places)
    if state.cache_policy.kind is not None and not state.prompt_is_cached:
        predictor = cast(CacheablePredictor, state.predictor)
        if state.memory is None:
            room = {"shadow_slots": state.shadow_slots} if state.shadow_slots else {}
            state.memory = predictor.new_cache(state.tokens.shape[1], **room)
        worker = cast(CacheablePredictor, state.worker)
        every_row = torch.arange(worker.batch_size, device=state.tokens.device)
        state.cache = state.memory.first_rows(len(worker.cache_rows(every_row)))


def exact_window(state: DecodingState, reach: tuple[int, int]) -> tuple[int, int]:
    """Positions ``[from, to)`` that a pass on an exact cache computes: whole blocks of the model.

    The first pass on a block computes what was committed since the keys and values before it were
    made, too, so that they become final without a pass of their own.
    """
    size = cast(ExactlyCacheablePredictor, state.predictor).causal_block_length
    low, high = min(state.final, reach[0]), -(-reach[1] // size) * size
    state.final = state.start
    return low // size * size, min(high, state.current.shape[1])


def keep_rows(state: DecodingState, places: list[int]) -> None:
    """Go on with the rows in work at these places only."""
    device = state.tokens.device
    kept = torch.tensor(places, dtype=torch.long, device=device)
    state.rows = [state.rows[place] for place in places]
    state.left = [state.left[place] for place in places]
    state.current, state.num_masked = state.current[kept], state.num_masked[kept]
    state.index = torch.tensor(state.rows, dtype=torch.long, device=device)
    if not state.selects:
        return
    if state.cache is not None:
        state.cache = state.cache.keep(cast(CacheablePredictor, state.worker).cache_rows(kept))
    state.worker = cast(CacheablePredictor, state.predictor).select(state.index)
