"""Ogg (RFC 3533): the chained streams of a file, one after the other."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache

from .byte_view import ByteView
from .sound import Sound, next_header

# Section 6: a page's mark, flags, checksum and number of segments; then the segments' sizes.
_MARK, _FLAGS, _CHECKSUM, _SEGMENTS, _SIZES = b"OggS", 5, slice(22, 26), 26, 27
_BEGINS, _ENDS = 0x02, 0x04  # flags: the first and the last page of a stream
_LONGEST_HEAD = _SIZES + 255


@dataclass(frozen=True, slots=True)
class _Page:
    start: int
    end: int
    flags: int


def ogg(view: ByteView, position: int) -> Sound | None:
    """The stream (or streams that are interleaved) at a position; None: there is none.

    It ends where another begins.  A writer that was stopped marks no page as the last: what counts
    is that the last page is complete, and it is shown with the mark, which decoders of Opus need.
    """
    if view.at(position, len(_MARK)) != _MARK:
        return None
    last, stop, following, begun, ended = position, position, len(view), False, False
    for page in _pages(view, position):
        if page.flags & _BEGINS and begun:
            following = page.start
            break
        begun |= not page.flags & _BEGINS
        ended |= bool(page.flags & _ENDS)
        last, stop = page.start, page.end
    truncated = stop > len(view) or (stop < following and not ended)
    patches = {} if ended or truncated else {last: _marked_as_last(view.at(last, stop - last))}
    return Sound(view.part(position, min(stop, following), patches), following, truncated)


def _pages(view: ByteView, position: int) -> Iterator[_Page]:
    """The pages from here on; what is no page is passed over, as decoders do.

    Where a sound of another kind begins there is an empty page that begins a stream.
    """
    while True:
        head = view.at(position, _LONGEST_HEAD)
        if not head.startswith(_MARK):
            found = view.find(re.compile(_MARK), position, longest=len(_MARK))
            resumed = len(view) if found is None else found
            if (other := next_header(view, position, resumed)) < resumed:
                yield _Page(other, other, _BEGINS)
                return
            position = resumed
        elif len(head) >= _SIZES:
            body = _SIZES + head[_SEGMENTS]
            end = position + body + sum(head[_SIZES:body])
            yield _Page(position, end, head[_FLAGS])
            position = end
        if position >= len(view) or len(head) < _SIZES:
            return


def _marked_as_last(page: bytes) -> bytes:
    """The head of a page with the flag of the last one, and the checksum that then fits."""
    changed = bytearray(page)
    changed[_FLAGS] |= _ENDS
    changed[_CHECKSUM] = bytes(4)
    value, table = 0, _checksums()
    for byte in changed:
        value = (value << 8 & 0xFFFF_FFFF) ^ table[value >> 24 ^ byte]
    changed[_CHECKSUM] = value.to_bytes(4, "little")
    return bytes(changed[:_SIZES])


@cache
def _checksums() -> list[int]:
    """What each leading byte adds to a CRC with the polynomial 0x04c11db7."""
    table = [byte << 24 for byte in range(256)]
    for _ in range(8):
        table = [value << 1 ^ (0x1_04C1_1DB7 if value >> 31 else 0) for value in table]
    return table
