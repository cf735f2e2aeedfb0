"""The bytes of an open file as libsndfile reads them, and as its headers are looked through."""

from __future__ import annotations

import io
import re
from collections.abc import Mapping
from typing import Any, BinaryIO

_FAR = 1 << 62  # positions beyond do not fit libsndfile's integers
_PIECE = 1 << 18  # bytes that are searched at once


class ByteView:
    """A stretch of a source as libsndfile reads it; some bytes may read as others.

    It never raises, because libsndfile cannot pass an exception on: :attr:`error` holds it.

    Args:
        file: seekable.
        start: first byte of the stretch.
        stop: one after its last byte.
        patches: by position in the file, what is read instead of the bytes that are there.
        front: what is read before the stretch.
    """

    def __init__(
        self,
        file: BinaryIO,
        start: int,
        stop: int,
        patches: Mapping[int, bytes] | None = None,
        front: bytes = b"",
    ) -> None:
        self._file = file
        self._start = start - len(front)  # where position 0 would be
        self._front = front
        self._size = max(stop - start, 0) + len(front)
        self._patches = dict(patches or {})
        self._position = 0
        self._errors: list[Exception] = []  # one list for a view and its parts

    def __len__(self) -> int:
        return self._size

    @property
    def error(self) -> Exception | None:
        """Why the file could not be read, here or in a part; None: it could."""
        return self._errors[0] if self._errors else None

    def part(
        self,
        start: int,
        stop: int | None = None,
        patches: Mapping[int, bytes] | None = None,
        front: bytes = b"",
    ) -> ByteView:
        """A stretch of this one, which has no front; positions count from its start."""
        stop = self._size if stop is None else min(stop, self._size)
        moved = {self._start + place: data for place, data in (patches or {}).items()}
        patches = {**self._patches, **moved}
        view = ByteView(self._file, self._start + start, self._start + stop, patches, front)
        view._errors = self._errors
        return view

    def at(self, position: int, count: int) -> bytes:
        """At most ``count`` bytes from a position on."""
        self.seek(position)
        return self.read(count)

    def find(
        self, pattern: re.Pattern[bytes], start: int, stop: int | None = None, *, longest: int
    ) -> int | None:
        """Where a pattern of at most ``longest`` bytes begins first, before ``stop``, or None."""
        stop = self._size if stop is None else min(stop, self._size)
        for position in range(start, stop, _PIECE):
            count = min(_PIECE, stop - position)
            match = pattern.search(self.at(position, count + longest - 1))
            if match and match.start() < count:
                return position + match.start()
        return None

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Move as the seek of a file does; positions before the start are the start."""
        base = {io.SEEK_CUR: self._position, io.SEEK_END: self._size}.get(whence, 0)
        self._position = min(max(base + offset, 0), _FAR)
        return self._position

    def tell(self) -> int:
        """The position."""
        return self._position

    def readinto(self, buffer: Any) -> int:
        """Fill a buffer as far as there are bytes."""
        data = self.read(len(buffer))
        buffer[: len(data)] = data
        return len(data)

    def read(self, count: int) -> bytes:
        """At most ``count`` bytes; fewer at the end, or where the file cannot be read."""
        wanted = min(count, self._size - self._position)
        if wanted <= 0:
            return b""
        data = self._front[self._position : self._position + wanted]
        self._position += len(data)
        if more := wanted - len(data):
            there = self._read(self._start + self._position, more)
            self._position += len(there)
            data += there
        return data

    def _read(self, first: int, count: int) -> bytes:
        """Bytes of the file from a position in it on."""
        try:
            self._file.seek(first)
            data = _read_fully(self._file, count)
        except (OSError, ValueError) as error:  # ValueError: closed meanwhile
            self._errors.append(error)
            return b""
        for place, patch in self._patches.items():
            if first - len(patch) < place < first + len(data):
                changed = bytearray(data)
                low, high = max(place, first), min(place + len(patch), first + len(data))
                changed[low - first : high - first] = patch[low - place : high - place]
                data = bytes(changed)
        return data


def _read_fully(file: BinaryIO, count: int) -> bytes:
    """``count`` bytes, or all until the end: a raw file may give fewer at a time."""
    data = file.read(count) or b""
    while len(data) < count and (more := file.read(count - len(data))):
        data += more
    return data
