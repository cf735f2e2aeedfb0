"""The decoding loop: one run of a sampler over one batch.

Shape letters: N rows still decoding, R response positions, C positions of the active block,
M positions whose logits are computed.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

from ..errors import InvalidArgumentError, NonFiniteLogitsError
from ..outputs import SamplerOutput
from ..protocols import CacheablePredictor, KVCache
from .cache_policy import CachePolicy
from .canvas import ActiveRows, Canvas
from .choice import Choice
from .commit import CommitRule, CommitState
from .prediction import Prediction
from .recorder import TraceRecorder

_NOT_A_NUMBER = -2
# Positions are computed in multiples of this: matrix products of fewer rows go through other
# kernels, whose sums may differ in the last bit, and a row's result with the size of its batch.
_POSITIONS = 4
# With a cache, rows that wait leave the batch when they are more than a quarter of it: leaving
# moves the cache of those that stay, waiting costs their share of every pass.
_WAITING_SHARE = 0.25


class DecodingRun:
    """State of one decoding; :meth:`steps` advances it by one forward pass at a time.

    Args:
        predictor: what predicts; guidance already applied.
        canvas: the tokens.
        choice: picks tokens and measures confidence.
        commit: decides what becomes final.
        cache: decides what is recomputed.
        trace: whether commits are recorded.
    """

    def __init__(
        self,
        predictor: Any,
        canvas: Canvas,
        choice: Choice,
        commit: CommitRule,
        cache: CachePolicy,
        trace: bool = False,
    ) -> None:
        self.cacheable = isinstance(predictor, CacheablePredictor)
        if cache.kind is not None and not self.cacheable:
            expected = "one that can cache (made by condition()), because cache is set"
            raise InvalidArgumentError("predictor", expected, type(predictor).__name__)
        self.predictor = predictor
        self.canvas = canvas
        self.choice = choice
        self.commit = commit
        self.cache_policy = cache
        self.recorder = TraceRecorder(canvas.tokens) if trace else None
        self.nfe = 0
        self.row_nfe = [0] * canvas.tokens.shape[0]
        self._cache: KVCache | None = None
        self._held: ActiveRows | None = None  # whose prompt the cache keeps, in its order
        self._prompt_is_cached = False

    def steps(self, bounds: list[tuple[int, int]], plan: list[int | None]) -> Iterator[int]:
        """Decode blocks ``[start, end)`` in order; yields the passes so far after each.

        Args:
            bounds: the blocks.
            plan: most passes for each; None: no bound.
        """
        for (start, end), steps in zip(bounds, plan, strict=True):
            yield from self._block(start, end, steps)

    def output(self) -> SamplerOutput:
        """The result, once :meth:`steps` is exhausted."""
        canvas = self.canvas
        trace = None if self.recorder is None else self.recorder.trace()
        row_nfe = torch.tensor(self.row_nfe, device=canvas.device)
        return SamplerOutput(canvas.tokens.clone(), canvas.lengths(), self.nfe, trace, row_nfe)

    def _block(self, start: int, end: int, steps: int | None) -> Iterator[int]:
        canvas = self.canvas
        if self.cache_policy.keeps_prompt:
            rows = self._hold(canvas.rows_from_block(start, end, self._held))
            waiting_share = 1.0  # whoever leaves loses the prompt
        else:
            rows = canvas.rows_in_block(start, end)
            waiting_share = 0.0 if self.cache_policy.kind is None else _WAITING_SHARE
        if not any(rows.left):
            return
        predictor = self._predictor_of(rows)
        cache = self._cache_of(predictor)
        num_masked = (canvas.take(rows)[:, start:end] == canvas.mask_id).sum(-1)
        self.choice.begin_block()
        step = 0
        while rows.numbers:
            status = self._step(predictor, cache, rows, (start, end), (num_masked, step, steps))
            self.nfe += 1
            for number in rows.deciding():
                if number is not None:
                    self.row_nfe[number] += 1
            counts = status.tolist()  # the one host synchronization of a step
            if _NOT_A_NUMBER in counts:
                raise NonFiniteLogitsError(rows.numbers[counts.index(_NOT_A_NUMBER)], self.nfe)
            before = rows
            rows = canvas.update(rows, counts, waiting_share)
            yield self.nfe
            if len(rows.numbers) < len(before.numbers):
                kept = self._places(rows, before)
                num_masked = num_masked[kept]
                if rows.numbers and cache is not None:
                    cache = cache.keep(predictor.cache_rows(kept))
                predictor = self._predictor_of(rows)
            step += 1

    def _step(
        self,
        predictor: Any,
        cache: KVCache | None,
        rows: ActiveRows,
        bounds: tuple[int, int],
        progress: tuple[Tensor, int, int | None],
    ) -> Tensor:
        """One forward pass and its commits; returns the rows' new status ``[N]``."""
        (start, end), (num_masked, step, steps) = bounds, progress
        tokens = self.canvas.take(rows)
        block = tokens[:, start:end]
        candidates = block == self.canvas.mask_id
        # Logits are wanted at masked positions only; rows with fewer masks get some extra ones.
        where, most = None, -(-max(rows.left) // _POSITIONS) * _POSITIONS
        if most < end - start:
            order = candidates.int().argsort(dim=-1, descending=True, stable=True)
            where = order[:, :most]
        logits = self._logits(predictor, cache, rows, tokens, where, bounds, step)
        guess = self.choice(logits, where, end - start, rows)
        state = CommitState(*_as_seen(guess, candidates), num_masked, step, steps)
        commit = self._progress(self.commit.commit(state) & candidates, state)
        if steps is not None and step + 1 >= steps:
            commit = candidates
        tokens = tokens.clone()
        tokens[:, start:end] = torch.where(commit, guess.tokens, block)
        tokens, status = self.canvas.settle(tokens, start, end)
        self.canvas.put(rows, tokens)
        if self.recorder is not None:
            self.recorder.record(rows, start, commit, guess.confidence, self.nfe)
        broken = (guess.confidence.isnan() & candidates).any(-1)
        return status.masked_fill(broken, _NOT_A_NUMBER)

    def _logits(
        self,
        predictor: Any,
        cache: KVCache | None,
        rows: ActiveRows,
        tokens: Tensor,
        where: Tensor | None,
        bounds: tuple[int, int],
        step: int,
    ) -> Tensor:
        """Logits ``[N, M, V]`` at the block's positions ``where``."""
        start, end = bounds
        if not self.cacheable:
            logits = predictor(self.canvas.tokens)
            logits = (logits if rows.index is None else logits[rows.index])[:, start:end]
            if where is None:
                return logits
            return logits.gather(1, where[..., None].expand(-1, -1, logits.shape[-1]))
        device = tokens.device
        positions = torch.arange(start, end, device=device) if where is None else where + start
        reaches = self.cache_policy.window(start, end, tokens.shape[1])
        if self.cache_policy.refreshes(step):
            if not self._prompt_is_cached:
                self._prompt_is_cached = self.cache_policy.keeps_prompt
                return predictor(tokens, positions, cache=cache)
            reaches = (0, tokens.shape[1])
        window = torch.arange(*reaches, device=device)
        return predictor(tokens, positions, cache=cache, window=window)

    def _progress(self, commit: Tensor, state: CommitState) -> Tensor:
        """Commit the best candidate of every row in which the rule commits nothing."""
        best = state.confidence.argmax(-1, keepdim=True)
        is_best = torch.zeros_like(commit).scatter(-1, best, True) & state.candidates
        return commit | (is_best & ~commit.any(-1, keepdim=True))

    def _predictor_of(self, rows: ActiveRows) -> Any:
        if rows.index is None or not self.cacheable or not rows.numbers:
            return self.predictor
        return self.predictor.select(rows.index)

    def _hold(self, rows: ActiveRows) -> ActiveRows:
        """Move the prompts of the rows that go on to the front of the cache."""
        held, self._held = self._held, rows
        if held is None or self._cache is None or rows.numbers in ([], held.numbers):
            return rows
        kept = self._places(rows, held)
        self._cache.keep(self._predictor_of(held).cache_rows(kept))
        return rows

    def _places(self, rows: ActiveRows, among: ActiveRows) -> Tensor:
        """Where in ``among`` some of its rows are, ``[N]``."""
        places = [among.numbers.index(number) for number in rows.numbers]
        return torch.tensor(places, dtype=torch.long, device=self.canvas.device)

    def _cache_of(self, predictor: Any) -> KVCache | None:
        """The preallocated cache, cut to the rows that are left."""
        if self.cache_policy.kind is None:
            return None
        if self._cache is None:
            self._cache = self.predictor.new_cache(self.canvas.tokens.shape[1])
        every_row = torch.arange(predictor.batch_size, device=self.canvas.device)
        return self._cache.first_rows(len(predictor.cache_rows(every_row)))


def _as_seen(guess: Prediction, candidates: Tensor) -> tuple[Tensor, Tensor, Tensor | None]:
    """Confidence, candidates and entropy ``[N, C]`` as commit rules see them."""
    confidence, entropy = guess.confidence, guess.entropy
    if guess.penalty is not None:
        confidence = confidence - guess.penalty
        entropy = None if entropy is None else entropy + guess.penalty
    confidence = confidence.masked_fill(~candidates, float("-inf"))
    if entropy is not None:
        entropy = entropy.masked_fill(~candidates, float("inf"))
    return confidence, candidates, entropy
