"""MPEG audio (MP3, and layers I and II): where files that were joined begin and end."""

from __future__ import annotations

import re
import struct
from functools import lru_cache
from typing import NamedTuple

from .byte_view import ByteView
from .sound import Sound, behind_tag, next_header

# ISO/IEC 11172-3, section 2.4.2.3, and 13818-3: kbit/s by layer, for MPEG 1 and for MPEG 2 and 2.5.
_KBITS = {
    (1, 1): (32, 64, 96, 128, 160, 192, 224, 256, 288, 320, 352, 384, 416, 448),
    (1, 2): (32, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320, 384),
    (1, 3): (32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320),
    (2, 1): (32, 48, 56, 64, 80, 96, 112, 128, 144, 160, 176, 192, 224, 256),
    (2, 2): (8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
    (2, 3): (8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
}
_RATES = {3: (44_100, 48_000, 32_000), 2: (22_050, 24_000, 16_000), 0: (11_025, 12_000, 8_000)}
_SYNC = re.compile(rb"\xff[\xe2-\xff]")
_MONO = 3
_LONGEST_INFO = 54  # bytes of an information frame that are looked at
_TELLS_FRAMES, _TELLS_BYTES = 1, 2  # flags of an information frame
_FRAMES_IN_A_ROW = 3  # from here on it is no chance


class _Frame(NamedTuple):
    """A frame by its header.

    Attributes:
        length: in bytes, with the header.
        kind: version, layer, rate and whether it is mono; one kind a stream.
        info: where an information frame (of Xing or LAME) has its mark.
    """

    length: int
    kind: tuple[int, int, int, bool]
    info: int


def mpeg(view: ByteView, position: int, junk: int = 0) -> Sound | None:
    """The stream of frames at a position, or at most ``junk`` bytes on; None: there is none.

    It ends in front of a tag, an information frame or frames of another kind: there another file
    was joined.  Junk in the middle of a stream is left to the decoder.
    """
    start = _in_sync(view, position, position + junk + 1)
    if start is None:
        return None
    place, stop, following, first, count = start, start, len(view), None, 0
    while data := view.at(place, _LONGEST_INFO):
        frame = _frame(data[:4])
        first = first or frame
        if frame and first and (frame.kind == first.kind or _is_certain(view, place)):
            joined = frame.kind != first.kind or _announced(frame, data) is not None
            if place > start and joined:
                following = place
                break
            place = stop = place + frame.length
            count += 1
        elif behind_tag(view, place) > place:
            following = place
            break
        else:  # junk
            resumed = _in_sync(view, place, len(view)) or len(view)
            if (following := next_header(view, place, resumed)) < resumed:
                break
            place, following = resumed, len(view)
    begin, front, patches = _told(view, start, stop, count)
    return Sound(view.part(begin, min(stop, following), patches, front), following)


def _told(view: ByteView, start: int, stop: int, count: int) -> tuple[int, bytes, dict[int, bytes]]:
    """Where frames begin, an information frame if theirs does not tell their number, and patches.

    Without the number libmpg123 guesses it from the first frame's length, and libsndfile ends
    there, which may be far too early.
    """
    data = view.at(start, _LONGEST_INFO)
    frame = _frame(data[:4])
    if frame is None or frame.kind[1] != 3:  # the layer
        return start, b"", {}
    announced = _announced(frame, data)
    if announced is None:
        return start, _information(data, count), {}
    if count - 1 > announced + 1:  # some count their own frame
        return start + frame.length, _information(data, count - 1), {}
    flags = int.from_bytes(data[frame.info + 4 : frame.info + 8], "big")
    if data[36:40] == b"VBRI" or not flags & _TELLS_BYTES:
        return start, b"", {}
    # libmpg123 would complain on standard error about a wrong number of bytes.
    return start, b"", {start + frame.info + 12: struct.pack(">I", stop - start)}


def _information(like: bytes, count: int) -> bytes:
    """A frame in the manner of Xing that tells how many others follow."""
    header = bytes([like[0], like[1] | 1, like[2] & 0x0C | 0xE0, like[3]])  # the highest bit rate
    frame = _frame(header)
    assert frame is not None
    mark = header.ljust(frame.info, b"\0") + b"Xing" + struct.pack(">II", _TELLS_FRAMES, count)
    return mark.ljust(frame.length, b"\0")


def _in_sync(view: ByteView, position: int, stop: int) -> int | None:
    """The first place from a position on, before another, where frames begin."""
    while (found := view.find(_SYNC, position, stop, longest=2)) is not None:
        if _is_certain(view, found):
            return found
        position = found + 1
    return None


def _is_certain(view: ByteView, place: int) -> bool:
    """Whether frames of one kind follow one another here."""
    kind = None
    for count in range(_FRAMES_IN_A_ROW):
        if place >= len(view):
            return count > 1 or (count == 1 and place == len(view))
        frame = _frame(view.at(place, 4))
        if frame is None or (kind and frame.kind != kind):
            return False
        kind, place = frame.kind, place + frame.length
    return True


@lru_cache(maxsize=1024)
def _frame(header: bytes) -> _Frame | None:
    if len(header) < 4 or not _SYNC.match(header):
        return None
    version, layer = header[1] >> 3 & 3, 4 - (header[1] >> 1 & 3)
    index, rate_index, mono = header[2] >> 4, header[2] >> 2 & 3, header[3] >> 6 == _MONO
    if version not in _RATES or layer == 4 or rate_index == 3 or index in (0, 15):
        return None
    edition = 1 if version == 3 else 2
    rate = _RATES[version][rate_index]
    bits = 1000 * _KBITS[edition, layer][index - 1]
    padding = header[2] >> 1 & 1
    if layer == 1:
        length = (12 * bits // rate + padding) * 4
    else:
        length = (72 if (edition, layer) == (2, 3) else 144) * bits // rate + padding
    side = (17 if mono else 32) if edition == 1 else (9 if mono else 17)
    return _Frame(length, (version, layer, rate, mono), 4 + side)


def _announced(frame: _Frame, data: bytes) -> int | None:
    """How many frames follow, by a frame that only tells about the file; None: it is a sound."""
    if data[frame.info : frame.info + 4] in (b"Xing", b"Info"):
        flags, count = struct.unpack_from(">II", data, frame.info + 4)
        return count if flags & _TELLS_FRAMES else 0
    return int.from_bytes(data[50:54], "big") if data[36:40] == b"VBRI" else None
