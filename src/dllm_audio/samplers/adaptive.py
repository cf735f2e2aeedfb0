"""Responses that find their own length: ``gen_length`` becomes a bound and not a guess.

A row's response is the first part of a canvas.  It grows where the model does not expect its end
yet, and shrinks where it expects the end early; what is behind it is hidden from the model.

Shape letters: B rows of the batch, N rows in work, W canvas positions.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, replace
from typing import cast

import torch
from torch import Tensor

from ..errors import InvalidArgumentError, NonFiniteLogitsError
from ..outputs import SamplerOutput, Trace
from ..parts import Description
from ..protocols import ConfinablePredictor, KVCache, MaskPredictor
from .cache import CachePolicy
from .checks import check_choice
from .choosing import Generators, SamplingOptions
from .commit import Threshold, or_surest
from .confidence import best_token, fine_probability, widen
from .length_policies import LengthPolicy, Rows, Seen
from .loop import Sampler
from .starting import check_start
from .state import DecodingStep, answer_lengths, behind_the_end, mean_of_answers, nothing_known


class AdaptiveSampler(Sampler):
    """Decodes block after block in a response that finds its own length.

    Args:
        length: how it does: :class:`DAEDAL` or :class:`RhoEOS`.
        block_length: positions of a block.
        threshold: confidence above which a token is committed; else the surest one is.
        cache: None or ``"prefix"``: what is before the first active block of the batch is kept
            until that block is done or the canvas grows.
        options: fields of :class:`.SamplingOptions`: ``guidance``, ``eos_stop``, ``trace``.

    Raises:
        InvalidArgumentError: a value that does not fit, or an option beside these.

    Example:
        >>> from dllm_audio import RhoEOS
        >>> sampler = AdaptiveSampler(RhoEOS(initial_gen_length=16, max_gen_length=128), 16)
        >>> sampler.gen_length, sampler.length.measure
        (128, 'density')
    """

    def __init__(
        self,
        length: LengthPolicy,
        block_length: int = 32,
        threshold: float = 0.9,
        cache: str | None = None,
        options: SamplingOptions | None = None,
    ) -> None:
        if not isinstance(length, LengthPolicy):
            raise InvalidArgumentError("length", "a LengthPolicy", type(length).__name__)
        check_choice("cache", cache, (None, "prefix"))
        options = SamplingOptions() if options is None else options
        plain = SamplingOptions(
            guidance=options.guidance, eos_stop=options.eos_stop, trace=options.trace
        )
        if options != plain:
            expected = "only guidance, eos_stop and trace, where the length is found"
            raise InvalidArgumentError("options", expected, options)
        policy = None if cache is None else CachePolicy(cache)
        super().__init__(length.max_gen_length, block_length, Threshold(threshold), policy, options)
        self.length = length

    @property
    def threshold(self) -> float:
        """Of the commit rule."""
        return cast(Threshold, self.commit).tau

    def to_dict(self) -> Description:
        """As of any sampler, with the policy under ``length``."""
        settings = asdict(self.length)  # type: ignore[call-overload]
        length = {"name": self.length.name, "settings": settings}
        return {**super().to_dict(), "length": length}

    def __call__(
        self,
        predictor: MaskPredictor,
        *,
        start: Tensor | None = None,
        generator: Generators = None,
    ) -> SamplerOutput:
        """Decode a batch; see :meth:`.Sampler.__call__`.  ``R`` is the longest row's length."""
        decoding = self._start(predictor, start, generator)
        with torch.inference_mode():
            while decoding.going:
                decoding.turn()
        return decoding.output()

    def stream(
        self,
        predictor: MaskPredictor,
        *,
        start: Tensor | None = None,
        generator: Generators = None,
    ) -> Iterator[DecodingStep]:
        """Decode a batch step by step; see :meth:`.Sampler.stream`.

        Yields:
            Responses as wide as the longest row is at that time; insertions move what is behind.
        """
        decoding = self._start(predictor, start, generator)
        while decoding.going:
            with torch.inference_mode():
                decoding.turn()
            tokens, sure = decoding.tokens(), decoding.sureness()
            yield DecodingStep(decoding.nfe, tokens, final=0, confidence=sure)
        output = decoding.output()
        yield DecodingStep(output.nfe, output.tokens, output)

    def _start(
        self, predictor: MaskPredictor, start: Tensor | None, generator: Generators
    ) -> _Decoding:
        for name, got in (("start", start), ("generator", generator)):
            if got is not None:
                expected = "None, where the length is found"
                raise InvalidArgumentError(name, expected, type(got).__name__)
        return _Decoding(self, predictor)


class _Decoding:
    """A batch while it is decoded."""

    def __init__(self, sampler: AdaptiveSampler, predictor: MaskPredictor) -> None:
        eos_id = getattr(predictor, "eos_token_id", None)
        if eos_id is None:
            raise InvalidArgumentError("predictor", "one with an EOS id, to find the length", None)
        guidance = sampler.options.guidance
        wrapped = predictor if guidance is None else guidance.wrap(predictor)
        if not isinstance(wrapped, ConfinablePredictor):
            expected = "one made by condition(), because the length changes"
            raise InvalidArgumentError("predictor", expected, type(predictor).__name__)
        self.sampler, self.predictor, self.eos_id = sampler, wrapped, int(eos_id)
        self.mask_id = int(wrapped.mask_token_id)
        check_start(predictor, sampler.gen_length, None)
        shape = wrapped.batch_size, sampler.gen_length
        tokens = torch.full(shape, self.mask_id, dtype=torch.long, device=wrapped.device)

        def each(value: int | bool) -> Tensor:
            return torch.full((shape[0],), value, device=wrapped.device)

        self.rows = Rows(
            tokens,
            nothing_known(tokens),
            torch.full_like(tokens, -1),
            length=each(sampler.length.initial_gen_length),
            at=each(0),
            frozen=each(False),
            growing=each(sampler.length.finds_first),
            passes=each(0),
        )
        self.nfe, self.going = 0, list(range(len(tokens)))
        self.longest, self.first = sampler.length.initial_gen_length, 0
        self.caches = sampler.cache.kind is not None and getattr(wrapped, "can_cache", True)
        self.cache: KVCache | None = None
        self.cached: tuple[list[int], int] = ([], 0)  # rows, first position
        self.width = 0

    def turn(self) -> None:
        """One pass, and what it changes."""
        length, block = self.sampler.length, self.sampler.block_length
        index = torch.tensor(self.going, dtype=torch.long, device=self.rows.tokens.device)
        rows = self.rows.take(index)
        before = replace(rows)
        seen = self._predict(index, rows)
        first = rows.growing
        length.grow_first(rows, seen, self.eos_id)
        decoding = ~first
        last = decoding & (rows.passes + 1 >= length.most_passes)
        inside = rows.block(block) & decoding[:, None]
        asked = seen.open & inside
        fill = self._fill(asked, seen)
        weak = asked & ~fill & (seen.confidence < length.low_conf_threshold)
        rows.tokens = torch.where(fill, seen.best, rows.tokens)
        rows.sureness = torch.where(fill, seen.confidence, rows.sureness)
        rows.committed_in = rows.committed_in.masked_fill(fill, self.nfe)
        place, count = length.insert(rows, seen, weak)
        count = torch.where(decoding & ~last, count, 0)
        rows.insert(place, count)
        rows.length = (rows.length + count).clamp(max=length.max_gen_length)
        self._move_on(rows, decoding)
        length.resize(rows, seen, self.eos_id)
        # No pass is left that would fill what a row's last one appends.
        rows.length = torch.where(last, rows.length.minimum(before.length), rows.length)
        # What comes in from behind the tail is open.
        behind = ~rows.within
        rows.tokens = rows.tokens.masked_fill(behind, self.mask_id)
        rows.sureness = rows.sureness.masked_fill(behind, float("nan"))
        rows.committed_in = rows.committed_in.masked_fill(behind, -1)
        rows.passes = rows.passes + 1
        same = (rows.tokens == before.tokens).all(-1) & (rows.length == before.length)
        stuck = last | (decoding & same)
        over = decoding & ((rows.at >= rows.length) | stuck | self._ended(rows))
        left = over[:, None] & rows.within & (rows.tokens == self.mask_id)
        rest = torch.where(stuck[:, None], seen.best, self.eos_id)
        rows.tokens = torch.where(left, rest, rows.tokens)
        self.rows.put(index, rows)
        self.nfe += 1
        broken = seen.confidence.isnan().any(-1)
        facts = torch.stack((over.long(), broken.long(), rows.length, rows.at)).tolist()
        if any(facts[1]):
            raise NonFiniteLogitsError(self.going[facts[1].index(1)], self.nfe)
        staying = [n for n, gone in enumerate(facts[0]) if not gone]
        self.longest = max((facts[2][n] for n in staying), default=0)
        self.first = min((facts[3][n] for n in staying), default=0)
        self.going = [self.going[n] for n in staying]

    def _predict(self, index: Tensor, rows: Rows) -> Seen:
        """What is expected of the rows in work; with a cache from the first active block on."""
        cached = self.caches and self.cached == (self.going, self.first)
        if not cached or self.longest > self.width:
            cached, self.width = False, self.longest
        inside = self.rows.within[:, : self.width]
        worker = self.predictor.within(inside).select(index)
        x_t, first = rows.tokens[:, : self.width], self.first if cached else 0
        if cached:
            window = torch.arange(first, self.width, device=x_t.device)
            logits = worker(x_t, window, cache=self.cache, window=window)
        else:
            self.cached = (list(self.going), self.first)
            self.cache = worker.new_cache(self.width) if self.caches else None
            logits = worker(x_t, cache=self.cache)
        logits = widen(logits)
        value, best = best_token(logits, self.mask_id)
        confidence = fine_probability(logits, value, best)
        is_mask = logits[..., self.mask_id] > value[..., 0]
        place = slice(first, self.width)
        found = torch.full_like(rows.tokens, self.mask_id)
        found[:, place] = best[..., 0]
        sure = torch.zeros_like(rows.sureness)
        sure[:, place] = confidence - 2.0 * is_mask
        ends = rows.within & (found == self.eos_id) & (sure > 0)
        return Seen(found, sure, ends, rows.within & (rows.tokens == self.mask_id))

    def _fill(self, asked: Tensor, seen: Seen) -> Tensor:
        """What is sure of ``asked [N, W]``, or the surest."""
        sure = asked & (seen.confidence > self.sampler.threshold)
        return or_surest(sure, seen.confidence, asked)

    def _move_on(self, rows: Rows, decoding: Tensor) -> None:
        """Blocks without masks are left behind."""
        block = self.sampler.block_length
        masked = rows.within & (rows.tokens == self.mask_id) & (rows.columns >= rows.at[:, None])
        ahead = masked.int().argmax(-1) - rows.at
        at = torch.where(masked.any(-1), rows.at + ahead // block * block, rows.length)
        rows.at = torch.where(decoding, at, rows.at)

    def _ended(self, rows: Rows) -> Tensor:
        """Rows ``[N]`` whose text before their first EOS is complete, where that ends them."""
        if not self.sampler.options.eos_stop:
            return torch.zeros_like(rows.frozen)
        is_end = rows.within & (rows.tokens == self.eos_id)
        before = is_end.int().cumsum(-1) == 0
        return is_end.any(-1) & ~(before & rows.within & (rows.tokens == self.mask_id)).any(-1)

    def tokens(self) -> Tensor:
        """Responses ``[B, R]`` as they stand, EOS behind the length of each row."""
        width = int(self.rows.length.max())
        tokens = self.rows.tokens.masked_fill(~self.rows.within, self.eos_id)
        return tokens[:, : max(width, 1)].clone()

    def sureness(self) -> Tensor:
        """Confidence ``[B, R]`` of each of :meth:`tokens` when it was committed."""
        within = self.rows.sureness.masked_fill(~self.rows.within, float("nan"))
        return within[:, : max(int(self.rows.length.max()), 1)].float()

    def output(self) -> SamplerOutput:
        """The result."""
        tokens, rows = self.tokens(), self.rows
        width = tokens.shape[1]
        sureness, committed_in = self.sureness(), rows.committed_in[:, :width]
        lengths = answer_lengths(tokens, self.eos_id)
        if self.sampler.options.eos_stop:  # what was committed behind the end belongs to no answer
            void = behind_the_end(lengths, tokens)
            tokens = tokens.masked_fill(void, self.eos_id)
            sureness = sureness.masked_fill(void, float("nan"))
            committed_in = committed_in.masked_fill(void, -1)
        trace = Trace(committed_in.clone(), sureness) if self.sampler.options.trace else None
        confidence = mean_of_answers(sureness, lengths)
        return SamplerOutput(tokens, lengths, self.nfe, trace, rows.passes.clone(), confidence)
