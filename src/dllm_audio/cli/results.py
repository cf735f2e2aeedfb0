"""What was answered about a recording, as text, JSON and subtitles."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ..serving.captions import clock, srt

if TYPE_CHECKING:
    from .recordings import Recording

DOUBTFUL = "[doubtful] "


@dataclass(frozen=True, slots=True)
class Part:
    """The answer to one window.

    Attributes:
        start: of the window, in seconds.
        end: of the window, in seconds.
        text: the answer.
        nfe: forward passes that it took.
        confidence: how sure the model was, 0 to 1; None where there is no token to be sure of.
        probabilities: of the choices, where choices were given.
        prior: the hypothesis that it was made from, where there was one.
        edits: what was changed of it: texts ``from`` and ``to``, and ``confidence``.
    """

    start: float
    end: float
    text: str
    nfe: int
    confidence: float | None = None
    probabilities: Mapping[str, float] | None = None
    prior: str | None = None
    edits: Sequence[Mapping[str, Any]] | None = None

    def to_json(self) -> dict[str, Any]:
        """Plain values, without what there is none of."""
        record: dict[str, Any] = {
            "start": self.start, "end": self.end, "text": self.text, "nfe": self.nfe,
            "confidence": _rounded(self.confidence),
        }  # fmt: skip
        if self.probabilities is not None:
            chances = self.probabilities.items()
            record["probabilities"] = {text: _rounded(chance) for text, chance in chances}
        if self.prior is not None:
            record |= {"prior": self.prior, "edits": list(self.edits or ())}
        return record


@dataclass(frozen=True, slots=True)
class Layout:
    """How results are written.

    Attributes:
        form: ``text``, ``json`` or ``srt``.
        key: what JSON calls the text of a whole recording.
        min_confidence: answers below it, or with none, are marked; None: no marks.
        lines: text has a line for every window, with its time, instead of one for all.
    """

    form: str
    key: str
    min_confidence: float | None = None
    lines: bool = False

    def doubtful(self, part: Part) -> bool:
        """Whether a reader is to be warned of an answer."""
        if self.min_confidence is None or not part.text:
            return False
        return part.confidence is None or part.confidence < self.min_confidence

    def text(self, part: Part) -> str:
        """The answer, marked where it is doubtful."""
        return f"{DOUBTFUL if self.doubtful(part) else ''}{part.text}"

    def record(self, recording: Recording) -> dict[str, Any]:
        """A recording as a JSON object."""
        text = " ".join(part.text for part in recording.parts if part.text)
        windows = [part.to_json() for part in recording.parts]
        if self.min_confidence is not None:
            for window, part in zip(windows, recording.parts, strict=True):
                window["doubtful"] = self.doubtful(part)
        return {
            "file": recording.name,
            "seconds": recording.seconds,
            self.key: text,
            "confidence": _rounded(confidence_of(recording.parts)),
            "windows": windows,
        }

    def render(self, recording: Recording) -> str:
        """A whole recording, as it is written to a file."""
        parts = recording.parts
        if self.form == "json":
            return json.dumps(self.record(recording), ensure_ascii=False, indent=2)
        if self.form == "srt":
            return srt((part.start, part.end, self.text(part)) for part in parts)
        if self.lines:
            alone = len(parts) == 1
            return "\n".join(
                ("" if alone else time_of(part.start, part.end)) + self.text(part) for part in parts
            )
        return " ".join(self.text(part) for part in parts if part.text)


def _rounded(probability: float | None) -> float | None:
    return None if probability is None else round(probability, 4)


def confidence_of(parts: Sequence[Part]) -> float | None:
    """Mean confidence of the windows that have one.

    Example:
        >>> sure, unsure = Part(0, 1, "one", 2, 0.75), Part(1, 2, "two", 2, 0.25)
        >>> silent = Part(2, 3, "", 1)
        >>> confidence_of([sure, unsure, silent])
        0.5
    """
    known = [part.confidence for part in parts if part.confidence is not None]
    return sum(known) / len(known) if known else None


def time_of(start: float, end: float) -> str:
    """What stands in front of the answer to one of several windows.

    Example:
        >>> time_of(0.0, 2.5)
        '[00:00:00.000 - 00:00:02.500] '
    """
    return f"[{clock(start)} - {clock(end)}] "
