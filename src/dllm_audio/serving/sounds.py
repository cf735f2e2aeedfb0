"""Sound out of a request: decoded block by block, never more of it than is allowed."""

from __future__ import annotations

import io

from ..audio import HeardWindow, stream_windows
from ..errors import AudioTooLongError
from ..protocols import AudioEncoder

UNBOUNDED_WINDOW = 30.0  # seconds, where the encoder hears any length


def window_of(encoder: AudioEncoder) -> float:
    """Seconds of the longest sound that is heard at once."""
    return encoder.window_seconds or UNBOUNDED_WINDOW


def hear(data: bytes, encoder: AudioEncoder, most_seconds: float) -> list[HeardWindow]:
    """The windows of a sound file.

    Args:
        data: the file's content, of anybody.
        encoder: whose window no window is longer than.
        most_seconds: of the whole.

    Raises:
        AudioTooLongError: it goes on behind ``most_seconds``, whatever its header says.
        AudioError: it cannot be used.
    """
    stream = stream_windows(
        io.BytesIO(data), window_of(encoder), sampling_rate=encoder.sampling_rate
    )
    found: list[HeardWindow] = []
    try:
        for window in stream:
            if window.end > most_seconds:
                raise AudioTooLongError(f"expected at most {most_seconds:g} s of sound, got more")
            found.append(window)
    finally:
        stream.close()
    return found
