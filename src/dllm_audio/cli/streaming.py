"""Show an answer while it is being decoded: tokens appear in any order, gaps as underscores."""

from __future__ import annotations

import math
import shutil
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from ..samplers import partial_text
from .results import Part
from .terminal import print_json, say

if TYPE_CHECKING:
    from ..evaluation.predictors import ModelPredictor
    from .recordings import Heard


@dataclass(frozen=True, slots=True)
class Step:
    """An answer as it stands after a forward pass.

    Attributes:
        nfe: forward passes so far.
        text: with gaps.
        final: it is the answer.
        confidence: of the final answer; NaN where there is no token to be sure of.
    """

    nfe: int
    text: str
    final: bool = False
    confidence: float = math.nan


def stream_answer(
    model: Any, waveform: Tensor, prompt: str, *, sampler: Any, seed: int = 0
) -> Iterator[Step]:
    """Answer one clip step by step."""
    predictor = model.prepare(audio=[waveform], prompts=[prompt])
    ends = {*model.end_token_ids}
    generator = [torch.Generator().manual_seed(seed)]
    for step in sampler.stream(predictor, generator=generator):
        if step.output is not None:
            confidence = step.output.confidence.item()
            yield Step(step.nfe, model.decode(step.output)[0], True, confidence)
        else:
            row = step.tokens[0].tolist()
            yield Step(step.nfe, partial_text(row, model.tokenizer, predictor.mask_token_id, ends))


@dataclass(frozen=True)
class StreamingAsker:
    """Answers windows one after another and shows every step.

    Attributes:
        predictor: the model and its sampler.
        prompt: the question.
        seed: of the first window of every recording.
        before: what is shown in front of a window's answer.
        finished: a final answer as it is shown.
        as_json: print steps as JSON objects.
    """

    predictor: ModelPredictor
    prompt: str
    seed: int
    before: Callable[[Heard], str]
    finished: Callable[[Part], str]
    as_json: bool = False

    def __call__(self, windows: Sequence[Heard]) -> list[Part]:
        """Answers for the windows."""
        return [self._answer(heard) for heard in windows]

    def _answer(self, heard: Heard) -> Part:
        window, model = heard.window, self.predictor.model
        sampler, seed = self.predictor.sampler, self.seed + heard.number
        part = Part(window.start, window.end, "", 0)
        for step in stream_answer(model, window.waveform, self.prompt, sampler=sampler, seed=seed):
            sure = None if math.isnan(step.confidence) else step.confidence
            part = Part(window.start, window.end, step.text, step.nfe, sure)
            if not self.as_json:
                text = self.finished(part) if step.final else step.text
                _show(step, self.before(heard), text)
            elif not step.final:
                name = heard.recording.name
                print_json(
                    {"file": name, "start": part.start, "nfe": part.nfe, "partial": part.text}
                )
        return part


def _show(step: Step, before: str, text: str) -> None:
    """Steps over one another on a terminal, below one another elsewhere."""
    if not sys.stdout.isatty():
        say(f"{before}{text}" if step.final else f"{before}[{step.nfe:3d}] {text}")
        return
    width = shutil.get_terminal_size().columns - 1
    shown = f"{before}{text}"
    say(f"\r\x1b[K{shown if step.final else shown[:width]}", end="\n" if step.final else "")
