"""Small real sound files, and the same with other sizes in their headers."""

from __future__ import annotations

import io
import struct

import numpy as np
import soundfile

RATE = 16_000
HEADERS = ("WAV", "WAVEX", "RIFX", "RF64", "BW64", "W64", "AIFF", "AU", "CAF")
CODECS = ("FLAC", "OGG", "OPUS", "MP3")

# Of the size of the samples: what precedes the field, how far behind, and how it is written.
_SIZE = {
    "RIFX": (b"data", 4, ">I"), "RF64": (b"ds64", 16, "<Q"), "BW64": (b"ds64", 16, "<Q"),
    "W64": (b"data\xf3\xac", 16, "<Q"), "AIFF": (b"SSND", 4, ">I"), "AU": (b".snd", 8, ">I"),
    "CAF": (b"data", 4, ">Q"),
}  # fmt: skip
_WHOLE = {"WAV": (4, "<I"), "WAVEX": (4, "<I"), "RIFX": (4, ">I"), "AIFF": (4, ">I"),
          "W64": (16, "<Q"), "RF64": (20, "<Q"), "BW64": (20, "<Q")}  # fmt: skip


def tone(frequency: float = 440, rate: int = RATE, seconds: float = 0.5) -> np.ndarray:
    """A loud sine, float64 ``[T]``."""
    return 0.5 * np.sin(2 * np.pi * frequency * np.arange(round(seconds * rate)) / rate)


def encode(
    samples: np.ndarray, form: str = "WAV", rate: int = RATE, subtype: str | None = None
) -> bytes:
    """A sound file; forms are those of soundfile, and some of their relatives."""
    container = {"OPUS": "OGG", "BW64": "RF64", "RIFX": "WAV"}.get(form, form)
    codec = "OPUS" if form == "OPUS" else subtype
    buffer = io.BytesIO()
    endian = "BIG" if form == "RIFX" else None
    soundfile.write(buffer, samples, rate, format=container, subtype=codec, endian=endian)
    return b"BW64" + buffer.getvalue()[4:] if form == "BW64" else buffer.getvalue()


def said(data: bytes, form: str, size: int, whole: int | None = None) -> bytes:
    """A file whose header gives another size of the samples, and of the whole."""
    changed = bytearray(data)
    mark, behind, order = _SIZE.get(form, (b"data", 4, "<I"))
    width = struct.calcsize(order)
    struct.pack_into(order, changed, changed.index(mark) + behind, size % 256**width)
    if whole is not None and form in _WHOLE:
        place, order = _WHOLE[form]
        struct.pack_into(order, changed, place, whole % 256 ** struct.calcsize(order))
    return bytes(changed)


def size_of(data: bytes, form: str) -> int:
    """The size that the header gives to the samples."""
    mark, behind, order = _SIZE.get(form, (b"data", 4, "<I"))
    return struct.unpack_from(order, data, data.index(mark) + behind)[0]


def id3(size: int = 1000) -> bytes:
    """An ID3v2.4 tag with a picture's worth of bytes that look like frames of an MP3."""
    shifts = (21, 14, 7, 0)
    return b"ID3\4\0\0" + bytes(size >> s & 127 for s in shifts) + (b"\xff\xfb\x90" * size)[:size]
