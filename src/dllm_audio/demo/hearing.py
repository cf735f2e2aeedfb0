"""A visitor's clip: bounded in bytes, and heard up to the model's window."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from torch import Tensor

from ..audio import stream_windows
from ..errors import AudioDecodeError, AudioError, AudioTooLongError
from ..protocols import AudioEncoder
from ..serving.sounds import window_of

_FOR_PROGRAMS = "; pass "  # what a caller in Python could do about it


@dataclass(frozen=True, slots=True)
class Heard:
    """What the model is given of a clip.

    Attributes:
        waveform: float32 ``[T]`` at the encoder's rate.
        seconds: of it.
        goes_on: the recording is longer.
    """

    waveform: Tensor
    seconds: float
    goes_on: bool


def hear_clip(path: str | Path, encoder: AudioEncoder, max_bytes: int) -> Heard:
    """The beginning of a clip, as much of it as the model hears at once, cut at a pause.

    No more than that is ever decoded, however long the recording is or says that it is.

    Args:
        path: of a file of anybody; messages tell its name alone, and not where it lies.
        encoder: whose window bounds it.
        max_bytes: of the file.

    Raises:
        AudioTooLongError: a larger file.
        AudioError: it cannot be used.
    """
    path = Path(path)
    try:
        size = path.stat().st_size
    except OSError as error:
        raise AudioDecodeError(f"{path.name}: cannot be read ({error.strerror})") from error
    if size > max_bytes:
        expected = f"expected a file of at most {max_bytes / 1e6:g} MB"
        raise AudioTooLongError(f"{path.name}: {expected}, got {size / 1e6:.1f} MB")
    try:
        stream = stream_windows(path, window_of(encoder), sampling_rate=encoder.sampling_rate)
        try:
            window = next(stream)
            goes_on = next(stream, None) is not None
        finally:
            stream.close()
    except AudioError as error:
        text = str(error).replace(str(path), path.name).partition(_FOR_PROGRAMS)[0]
        raise type(error)(text) from error
    return Heard(window.waveform, window.end - window.start, goes_on)
