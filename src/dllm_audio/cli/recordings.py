"""Sound files and folders named on the command line, heard window by window."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import AudioDecodeError, DataError, DllmAudioError

if TYPE_CHECKING:
    from ..audio import HeardWindow
    from .results import Part

# What a folder is searched for; files that are named may have any name.
AUDIO_SUFFIXES = frozenset(
    (
        *(".aif", ".aifc", ".aiff", ".au", ".caf", ".flac", ".mp3"),
        *(".oga", ".ogg", ".opus", ".rf64", ".w64", ".wav"),
    )
)
STANDARD_INPUT = "-"
UNBOUNDED_WINDOW = 30.0  # what models of speech are usually trained on


@dataclass(eq=False, slots=True)
class Recording:
    """A sound that is asked about, and what has been heard and answered of it so far.

    Attributes:
        name: as it was given on the command line, or found in a folder.
        parts: answers to its windows, in order.
        seconds: heard so far.
        error: why nothing more is asked about it.
    """

    name: str
    parts: list[Part] = field(default_factory=list)
    seconds: float = 0.0
    error: BaseException | None = None


@dataclass(frozen=True, slots=True)
class Heard:
    """A window of a recording.

    Attributes:
        recording: what it is of.
        number: 0 is the first window.
        window: its place and its sound.
        alone: the recording has no other.
        last: no other follows.
    """

    recording: Recording
    number: int
    window: HeardWindow
    alone: bool
    last: bool = False


def find_files(names: Sequence[str]) -> list[str]:
    """Files as they are named, and every sound file in the folders among them, sorted.

    A folder without sound files stays in the list, so that it is told with the files that fail.
    """
    found: list[str] = []
    for name in names:
        inside = [] if name == STANDARD_INPUT else sorted(map(str, _sounds_inside(name)))
        found += inside or [name]
    return found


def _sounds_inside(name: str) -> Iterator[Path]:
    folder = Path(name)
    if folder.is_dir():
        for path in folder.rglob("*"):
            if path.suffix.lower() in AUDIO_SUFFIXES and path.is_file():
                yield path


def hear(
    recording: Recording, window_seconds: float, *, allow_truncated: bool = False
) -> Iterator[tuple[Heard, float | None]]:
    """The windows of a recording as they are decoded, in bounded memory.

    Yields:
        Each window, and the length of the whole recording in seconds by its header, or None.

    Raises:
        DataError: a folder, which holds no sound file.
        AudioError: it cannot be used, perhaps only from some place on.
    """
    from ..audio import stream_windows

    source: Any = recording.name
    if source == STANDARD_INPUT:
        if sys.stdin is None:
            raise AudioDecodeError(f"{source}: standard input is closed")
        source = sys.stdin.buffer
    elif Path(source).is_dir():
        raise DataError(f"{source}: no sound file ({' '.join(sorted(AUDIO_SUFFIXES))}) inside")
    stream = stream_windows(source, window_seconds, allow_truncated=allow_truncated)
    try:
        # One window ahead: whether a window is the only one changes how its answer is shown.
        window, number = next(stream), 0
        for following in stream:
            yield Heard(recording, number, window, alone=False), stream.total_seconds
            window, number = following, number + 1
        yield Heard(recording, number, window, not number, last=True), stream.total_seconds
    finally:
        stream.close()


def file_errors() -> tuple[type[BaseException], ...]:
    """Errors that concern one file only; the next one is tried."""
    import torch

    return DllmAudioError, OSError, MemoryError, torch.OutOfMemoryError


def reason(name: str, error: BaseException) -> str:
    """Why a file failed, on one line that names the file once."""
    text = " ".join(str(error).split()) or type(error).__name__
    return text if text.startswith(f"{name}:") else f"{name}: {text}"
