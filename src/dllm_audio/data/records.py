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
        row: number that no other record of a run has; it seeds the noise.
        audio: a path, the bytes of an audio file, ``(array, sampling rate)``, or None for text
            alone.
        instruction: the user's text, with or without ``<audio>``.
        target: the answer to learn.
        id: the row's own name, or None.
        duration: seconds of audio where the data say so, or None.
        system: text of the system turn; None leaves it to the prompt template.
        origin: what errors call the record, such as ``train.json, row 3``; None: its number.
    """

    row: int
    audio: AudioSource = field(repr=False)
    instruction: str
    target: str
    id: str | None = None
    duration: float | None = None
    system: str | None = None
    origin: str | None = field(default=None, repr=False, compare=False)


@dataclass(frozen=True, slots=True)
class PreferencePair:
    """An instruction about a clip with a better and a worse answer.

    Attributes:
        row: as in :class:`Example`.
        audio: as in :class:`Example`.
        instruction: the user's text.
        chosen: the better answer.
        rejected: the worse answer.
        id: the row's own name, or None.
        duration: seconds of audio where the data say so, or None.
        system: text of the system turn; None leaves it to the prompt template.
        origin: what errors call the record, such as ``train.json, row 3``; None: its number.
    """

    row: int
    audio: AudioSource = field(repr=False)
    instruction: str
    chosen: str
    rejected: str
    id: str | None = None
    duration: float | None = None
    system: str | None = None
    origin: str | None = field(default=None, repr=False, compare=False)


Record = Example | PreferencePair


def name_of(record: Record) -> str:
    """What errors call a record.

    Example:
        >>> name_of(Example(3, "a.wav", "What?", "That.")), name_of(
        ...     Example(3, "a.wav", "What?", "That.", origin="train.json, row 1")
        ... )
        ('row 3', 'train.json, row 1')
    """
    return f"row {record.row}" if record.origin is None else record.origin
