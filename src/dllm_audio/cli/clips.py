"""Sound files named on the command line, cut into windows that the encoder hears at once."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import AudioDecodeError, DataError, DllmAudioError

if TYPE_CHECKING:
    from torch import Tensor

    from ..audio import AudioWindow
    from ..evaluation.predictors import ModelPredictor

# What a folder is searched for; files that are named may have any name.
AUDIO_SUFFIXES = frozenset(
    (
        ".wav",
        ".flac",
        ".ogg",
        ".oga",
        ".opus",
        ".mp3",
        ".aif",
        ".aiff",
        ".aifc",
        ".au",
        ".caf",
        ".w64",
    )
)
STANDARD_INPUT = "-"
_UNBOUNDED_WINDOW = 30.0  # what models of speech are usually trained on


@dataclass(frozen=True, slots=True)
class Clip:
    """A sound with its windows.

    Attributes:
        name: as it was given on the command line.
        waveform: ``[T]`` at 16 kHz.
        windows: consecutive stretches, none longer than the encoder's window.
    """

    name: str
    waveform: Tensor
    windows: list[AudioWindow]

    @property
    def seconds(self) -> float:
        """Length of the whole clip."""
        from ..audio.units import SAMPLING_RATE

        return len(self.waveform) / SAMPLING_RATE


def find_files(names: Sequence[str]) -> list[str]:
    """Files as they are named, and every sound file in the folders among them, sorted.

    Raises:
        DataError: a folder holds no sound file.
    """
    found: list[str] = []
    for name in names:
        if name == STANDARD_INPUT or not Path(name).is_dir():
            found.append(name)
            continue
        inside = sorted(
            str(path)
            for path in Path(name).rglob("*")
            if path.suffix.lower() in AUDIO_SUFFIXES and path.is_file()
        )
        if not inside:
            raise DataError(f"{name}: no sound file ({', '.join(sorted(AUDIO_SUFFIXES))}) inside")
        found += inside
    return found


def window_of(predictor: ModelPredictor) -> float:
    """Seconds that are heard at once: the encoder's window, or a bound where it has none."""
    return predictor.max_seconds or _UNBOUNDED_WINDOW


def read_clip(name: str, max_seconds: float, *, allow_truncated: bool = False) -> Clip:
    """Load a sound and cut it at pauses.

    Args:
        name: a file, or ``-`` for standard input.
        max_seconds: longest window.
        allow_truncated: use what is left of a file that ends early.

    Raises:
        AudioError: it cannot be used.
    """
    from ..audio import cut_at_pauses, load_audio

    source: Any = name
    if name == STANDARD_INPUT:
        if sys.stdin is None:
            raise AudioDecodeError(f"{name}: standard input is closed")
        source = sys.stdin.buffer.read()
    waveform = load_audio(source, allow_truncated=allow_truncated)
    return Clip(name, waveform, cut_at_pauses(waveform, max_seconds))


def describe_windows(clip: Clip, max_seconds: float) -> str:
    """What is said on standard error about a clip that was cut."""
    return (
        f"{clip.name}: {clip.seconds:.1f} s, heard in {len(clip.windows)} windows "
        f"of at most {max_seconds:g} s, cut at pauses"
    )


def ask_windows(
    clip: Clip, prompt: str, predictor: ModelPredictor, *, batch_size: int, seed: int
) -> Iterator[dict[str, Any]]:
    """Ask the same about every window.

    Yields:
        ``start`` and ``end`` in seconds, ``text`` and ``nfe`` of each window, in order.
    """
    for first in range(0, len(clip.windows), batch_size):
        windows = clip.windows[first : first + batch_size]
        output = predictor(
            [window.cut(clip.waveform) for window in windows],
            [prompt] * len(windows),
            [seed + first + i for i in range(len(windows))],
        )
        for window, text, nfe in zip(windows, output.texts, output.nfe, strict=True):
            yield {"start": window.start, "end": window.end, "text": text, "nfe": nfe}


def file_errors() -> tuple[type[BaseException], ...]:
    """Errors that concern one file only; the next one is tried."""
    import torch

    return DllmAudioError, OSError, MemoryError, torch.OutOfMemoryError


def reason(name: str, error: BaseException) -> str:
    """Why a file failed, on one line that names the file once."""
    text = " ".join(str(error).split()) or type(error).__name__
    return text if text.startswith(f"{name}:") else f"{name}: {text}"


def clock(seconds: float, separator: str = ".") -> str:
    """A time as ``HH:MM:SS.mmm``.

    Example:
        >>> clock(3725.0625, ",")
        '01:02:05,062'
    """
    milliseconds = int(seconds * 1000 + 1e-6)
    hours, rest = divmod(milliseconds, 3_600_000)
    minutes, rest = divmod(rest, 60_000)
    return f"{hours:02d}:{minutes:02d}:{rest // 1000:02d}{separator}{rest % 1000:03d}"
