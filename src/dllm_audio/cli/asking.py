"""Ask the same about every window of many recordings, in batches across files.

Windows are asked about as they are heard; at most a batch of them is in memory.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from .recordings import Heard, Recording, file_errors, hear
from .results import Part

if TYPE_CHECKING:
    from ..evaluation.predictors import ModelPredictor
    from .progress import Progress

Place = tuple[float, float]  # start and end of a window in seconds


class Sink(Protocol):
    """Where answers go, in the order of the recordings and of their windows."""

    def begin(self, recording: Recording) -> Mapping[Place, Part] | None:
        """Answers that an earlier run has left; None: there is nothing to do."""
        ...

    def part(self, heard: Heard, part: Part) -> None:
        """One more answer; it is the last of ``recording.parts``."""
        ...

    def end(self, recording: Recording) -> None:
        """There is no more of this recording: it is whole, or has an error."""
        ...


@dataclass(frozen=True)
class Asker:
    """One question to a model.

    Attributes:
        predictor: the model and its sampler.
        prompt: the question.
        choices: the texts that may be answers; None: any text.
        seed: of the first window of every recording; each window has one of its own.
    """

    predictor: ModelPredictor
    prompt: str
    choices: Sequence[str] | None = None
    seed: int = 0

    def __call__(self, windows: Sequence[Heard]) -> list[Part]:
        """Answers for a batch of windows, whatever recordings they are of."""
        import torch

        model, sampler = self.predictor.model, self.predictor.sampler
        sounds = [heard.window.waveform for heard in windows]
        prompts = [self.prompt] * len(windows)
        if self.choices is None:
            seeds = [self.seed + heard.number for heard in windows]
            generator = [torch.Generator().manual_seed(seed) for seed in seeds]
            found = model.generate(
                audio=sounds, prompts=prompts, sampler=sampler, generator=generator
            )
        else:
            found = model.generate(
                audio=sounds, prompts=prompts, sampler=sampler, choices=self.choices
            )
        nfe, sure = found.output.row_nfe.tolist(), found.output.confidence.tolist()
        rows = found.choice_probabilities or [None] * len(windows)
        return [
            self._part(heard, found.texts[row], nfe[row], sure[row], rows[row])
            for row, heard in enumerate(windows)
        ]

    def _part(
        self, heard: Heard, text: str, nfe: int, sure: float, chances: Sequence[float] | None
    ) -> Part:
        window = heard.window
        if self.choices is None or chances is None:
            return Part(window.start, window.end, text, nfe, None if math.isnan(sure) else sure)
        # Of an answer that was chosen, the probability among the choices says how sure it is.
        probabilities = dict(zip(self.choices, chances, strict=True))
        return Part(window.start, window.end, text, nfe, max(chances), probabilities)


@dataclass(frozen=True, slots=True)
class _Known:
    """A window whose answer is known from an earlier run."""

    heard: Heard
    part: Part


_Event = Heard | _Known | Recording  # a recording: there is no more of it


def ask_all(
    names: Iterable[str],
    ask: Callable[[Sequence[Heard]], list[Part]],
    sink: Sink,
    *,
    window_seconds: float,
    batch_size: int = 1,
    allow_truncated: bool = False,
    debug: bool = False,
    progress: Progress,
) -> int:
    """Ask about every window of every recording.

    A recording that fails, wherever it does, is told to the sink, and the next one is tried.

    Args:
        names: files, or ``-`` for standard input.
        ask: answers a batch of windows.
        sink: where the answers go.
        window_seconds: no window is longer.
        batch_size: windows asked about at once.
        allow_truncated: use what is left of files that end early.
        debug: raise the first error instead of trying the next recording.
        progress: shows how far it is.

    Returns:
        How many recordings failed.
    """
    failed = 0
    waiting: list[_Event] = []

    def settle() -> int:
        ended = list(_settle(waiting, ask, sink))
        waiting.clear()
        errors = [recording.error for recording in ended if recording.error is not None]
        if errors and debug:
            raise errors[0]
        return len(errors)

    for event in _events(names, sink, window_seconds, allow_truncated, progress):
        waiting.append(event)
        windows = sum(isinstance(each, Heard) for each in waiting)
        # What is known already waits for nobody but the windows in front of it.
        if windows >= batch_size or not windows:
            failed += settle()
    return failed + settle()


def _events(
    names: Iterable[str],
    sink: Sink,
    window_seconds: float,
    allow_truncated: bool,
    progress: Progress,
) -> Iterator[_Event]:
    """Windows in order, and every recording behind its last one."""
    for name in names:
        recording = Recording(name)
        known = sink.begin(recording)
        if known is None:
            progress.passed()
            continue
        try:
            for heard, total in hear(recording, window_seconds, allow_truncated=allow_truncated):
                progress.heard(heard, total)
                recording.seconds = heard.window.end
                part = known.get((heard.window.start, heard.window.end))
                yield heard if part is None else _Known(heard, part)
                if recording.error is not None:  # the model failed on a window
                    break
        except file_errors() as error:
            recording.error = recording.error or error
        yield recording
        progress.passed()


def _settle(
    waiting: Sequence[_Event], ask: Callable[[Sequence[Heard]], list[Part]], sink: Sink
) -> Iterator[Recording]:
    """Answer what waits and pass everything on; yields the recordings that came to an end."""
    windows = [each for each in waiting if isinstance(each, Heard)]
    answers = iter(_ask(windows, ask))
    for event in waiting:
        if isinstance(event, Recording):
            sink.end(event)
            yield event
            continue
        heard = event if isinstance(event, Heard) else event.heard
        found = next(answers) if isinstance(event, Heard) else event.part
        recording = heard.recording
        if isinstance(found, BaseException):
            recording.error = recording.error or found
        elif not _failed_before(recording, found):
            recording.parts.append(found)
            sink.part(heard, found)


def _failed_before(recording: Recording, part: Part) -> bool:
    """Whether a window in front of this one has no answer."""
    return part.start > (recording.parts[-1].end if recording.parts else 0.0)


def _ask(
    windows: Sequence[Heard], ask: Callable[[Sequence[Heard]], list[Part]]
) -> list[Part | BaseException]:
    """Answers, or why there is none: a window that fails must not fail its batch."""
    if not windows:
        return []
    try:
        return list(ask(windows))
    except file_errors() as error:
        if len(windows) == 1:
            return [error]
    return [answer for window in windows for answer in _ask([window], ask)]
