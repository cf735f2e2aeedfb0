"""From a visitor's clip, question and strategies to HTML, pass by pass."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import torch

from ..errors import AudioError, DllmAudioError, InvalidArgumentError, one_line
from ..model import AudioDiffusionLM
from ..samplers import Sampler
from .hearing import Heard, hear_clip
from .rendering import failure, panels
from .settings import SLOWEST, DemoSettings
from .watching import View, watch


@dataclass(frozen=True)
class Comparison:
    """Answers visitors.

    Attributes:
        model: answers; in evaluation mode from now on.
        strategies: what may be chosen.
        settings: limits.
        wait: for so many seconds.
    """

    model: AudioDiffusionLM
    strategies: Mapping[str, Sampler]
    settings: DemoSettings
    wait: Callable[[float], None] = field(default=time.sleep)

    def __post_init__(self) -> None:
        self.model.eval()

    def __call__(
        self, clip: str | None, question: str | None, chosen: Sequence[str], pace: float
    ) -> Iterator[str]:
        """What the visitor sees, from the first pass to the last, or what went wrong.

        Strategies take turns, a pass each, so that they are compared pass by pass; the seconds of
        each are its own.

        Args:
            clip: path of a file.
            question: about it.
            chosen: one strategy, or two.
            pace: seconds that each pass is shown at least.
        """
        try:
            yield from self._answer(clip, question, chosen, pace)
        except (DllmAudioError, MemoryError, RuntimeError) as error:  # the device's, too
            yield failure(one_line(error))

    def _answer(
        self, clip: str | None, question: str | None, chosen: Sequence[str], pace: float
    ) -> Iterator[str]:
        samplers = [self._strategy(name) for name in chosen]
        question = self._question(question)
        if not 0 <= pace <= SLOWEST:
            raise InvalidArgumentError("pace", f"seconds in 0..{SLOWEST:g}", pace)
        if clip is None:
            raise AudioError("clip: expected a recording, a file or a shipped clip, got none")
        heard = hear_clip(clip, self.model.encoder, self.settings.max_bytes)
        note = _note(heard)
        last: list[View | None] = [None] * len(samplers)
        yield panels(list(zip(chosen, last, strict=True)), note)
        with torch.no_grad():
            predictor = self.model.prepare(audio=[heard.waveform], prompts=[question])
        seed = self.settings.seed
        streams = [watch(self.model, predictor, each, seed=seed) for each in samplers]
        while not all(view is not None and view.final for view in last):
            began = time.perf_counter()
            for number, stream in enumerate(streams):
                last[number] = next(stream, last[number])
            self.wait(max(0.0, pace - (time.perf_counter() - began)))
            yield panels(list(zip(chosen, last, strict=True)), note)

    def _question(self, question: str | None) -> str:
        text, most = (question or "").strip(), self.settings.max_question
        if not text or len(text) > most:
            got = f"{len(text)} characters" if text else "nothing"
            raise InvalidArgumentError("question", f"a text of at most {most} characters", got)
        return text

    def _strategy(self, name: str) -> Sampler:
        if name not in self.strategies:
            expected = f"one of {', '.join(self.strategies)}"
            raise InvalidArgumentError("strategy", expected, repr(name)[:80])
        return self.strategies[name]


def _note(heard: Heard) -> str:
    if not heard.goes_on:
        return ""
    return (
        f"The recording is longer than the model hears at once: this is about its first "
        f"{heard.seconds:.1f} s."
    )
