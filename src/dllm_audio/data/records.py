"""One row of training data, after reading and validation."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

# A path, the bytes of an audio file, or (array, sampling rate).
AudioSource = Any


@dataclass(frozen=True, slots=True)
class Example:
    """An instruction about a clip, and its answer.

    Attributes:
        row: position in the data set; names the row in errors and seeds its noise.
        audio: a path, the bytes of an audio file, ``(array, sampling rate)``, or None for text
            alone.
        instruction: the user's text, with or without ``<audio>``.
        target: the answer to learn.
        id: the row's own name, or None.
        duration: seconds of audio where the data say so, or None.
        system: text of the system turn; None leaves it to the prompt template.
    """

    row: int
    audio: AudioSource = field(repr=False)
    instruction: str
    target: str
    id: str | None = None
    duration: float | None = None
    system: str | None = None


@dataclass(frozen=True, slots=True)
class PreferencePair:
    """An instruction about a clip with a better and a worse answer.

    Attributes:
        row: position in the data set.
        audio: as in :class:`Example`.
        instruction: the user's text.
        chosen: the better answer.
        rejected: the worse answer.
        id: the row's own name, or None.
        duration: seconds of audio where the data say so, or None.
        system: text of the system turn; None leaves it to the prompt template.
    """

    row: int
    audio: AudioSource = field(repr=False)
    instruction: str
    chosen: str
    rejected: str
    id: str | None = None
    duration: float | None = None
    system: str | None = None


Record = Example | PreferencePair
