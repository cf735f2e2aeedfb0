"""What stands in a response after every forward pass, in plain values."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch

from ..model import AudioDiffusionLM
from ..protocols import MaskPredictor
from ..samplers import DecodingStep, Sampler, partial_text
from ..samplers.state import first_end


@dataclass(frozen=True, slots=True)
class Cell:
    """One position of the response.

    Attributes:
        text: of its token; None while it is masked.
        confidence: at which it was committed; NaN where nothing was, or it was filled in.
        ends: its token ends the text.
        fresh: it was written in this pass.
        reopened: it was taken back in this pass.
    """

    text: str | None
    confidence: float = math.nan
    ends: bool = False
    fresh: bool = False
    reopened: bool = False


@dataclass(frozen=True, slots=True)
class View:
    """A response after a pass.

    Attributes:
        cells: positions, left to right; of the final one those of the answer alone.
        text: what is known of the answer, with ``_`` for each gap.
        passes: forward passes so far.
        tokens: committed ones before the first end.
        seconds: that decoding took so far, without what happened between the passes.
        final: this is the answer.
        unused: positions behind the answer's end, in the final view.
        confidence: mean over the answer, in the final view; NaN where there is no token.
    """

    cells: tuple[Cell, ...]
    text: str
    passes: int
    tokens: int
    seconds: float
    final: bool = False
    unused: int = 0
    confidence: float = math.nan

    @property
    def tokens_per_pass(self) -> float:
        """Committed tokens of the answer a forward pass."""
        return self.tokens / max(self.passes, 1)


def watch(
    model: AudioDiffusionLM,
    predictor: MaskPredictor,
    sampler: Sampler,
    *,
    seed: int = 0,
    clock: Callable[[], float] = time.perf_counter,
) -> Iterator[View]:
    """Decode one response and say after every pass what stands there.

    Args:
        model: whose tokenizer reads the tokens.
        predictor: of one row, from ``model.prepare``; several may be decoded from it at once.
        sampler: decodes.
        seed: for temperatures above 0.
        clock: seconds.

    Yields:
        A view a pass, and the final one.

    Example:
        >>> from dllm_audio import toy
        >>> model, clip = toy.small_model(), toy.clips()[0]
        >>> predictor = model.prepare(audio=clip.path, prompts=clip.questions[0].prompt)
        >>> *_, last = watch(model, predictor, model.default_sampler())
        >>> last.text, [cell.text for cell in last.cells]
        ('three seven five six', ['three', ' seven', ' five', ' six'])
    """
    ends, seconds = {*model.end_token_ids}, 0.0
    mask = predictor.mask_token_id
    steps = sampler.stream(predictor, generator=_generator(sampler, seed))
    before: list[int] = []
    sure = torch.empty(1, 0)
    while True:
        start = clock()
        step = next(steps, None)
        if step is None:
            return
        tokens = step.tokens[0].tolist()
        seconds += clock() - start
        sure = sure if step.confidence is None else step.confidence
        confidences = sure[0].tolist()
        cells = []
        for place, token in enumerate(tokens):
            old = before[place] if place < len(before) else mask
            cells.append(
                Cell(
                    None if token == mask else _text(model, token, token in ends),
                    confidences[place] if place < len(confidences) else math.nan,
                    ends=token in ends,
                    fresh=token not in (mask, old),
                    reopened=token == mask and old != mask,
                )
            )
        before, stop = tokens, first_end(tokens, ends)
        known = sum(token != mask for token in tokens[:stop])
        if step.output is None:
            text = partial_text(tokens, model.tokenizer, mask, ends)
            yield View(tuple(cells), text, step.nfe, known, seconds)
        else:
            yield _final(model, step, cells, stop, seconds)


def _final(
    model: AudioDiffusionLM, step: DecodingStep, cells: list[Cell], stop: int, seconds: float
) -> View:
    assert step.output is not None
    text, confidence = model.decode(step.output)[0], step.output.confidence.item()
    unused = len(cells) - stop
    return View(tuple(cells[:stop]), text, step.nfe, stop, seconds, True, unused, confidence)


def _text(model: AudioDiffusionLM, token: int, ends: bool) -> str:
    return "" if ends else str(model.tokenizer.decode([token]))


def _generator(sampler: Sampler, seed: int) -> list[torch.Generator] | None:
    """None for those that find the length, which draw nothing."""
    if not sampler.options.temperature and sampler.options.confidence != "random":
        return None
    return [torch.Generator().manual_seed(seed)]
