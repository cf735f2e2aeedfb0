"""Containers of chunks (WAV, RF64, W64, AIFF, CAF) and AU, shown with sizes that are true."""

from __future__ import annotations

import struct
from collections.abc import Callable
from dataclasses import dataclass

from .byte_view import ByteView
from .families import FAMILIES, Chunk, Family, round_up
from .sizes import Extent, extent, is_live
from .sound import Sound, is_header, next_header

_MOST_CHUNKS = 1000  # in front of the samples, or behind them
_AU_BYTES = {1: 1, 2: 1, 3: 2, 4: 3, 5: 4, 6: 4, 7: 8, 27: 1}  # of a sample, by encoding


@dataclass(frozen=True, slots=True)
class _Header:
    """What a container says about its samples; positions count from its start.

    Attributes:
        start: the first sample.
        said: bytes of samples.
        frame: bytes of one frame; 1: not known.
        whole: where the container ends by its own size; None: it does not say.
    """

    start: int
    said: int
    frame: int
    whole: int | None = None


def chunked(view: ByteView, position: int) -> Sound | None:
    """The sound in the container of chunks that begins here; None: there is none."""
    file = view.part(position)
    mark = file.at(0, 16)
    family = next((each for each in FAMILIES if each.mark.match(mark)), None)
    if family is None:
        return None
    chunks = _in_front(file, family)
    if (samples := chunks.get(family.samples)) is None:
        return None
    header = _header(file, family, chunks, samples)
    held = _held(file, header, lambda: _is_end(file, _behind(file, family, header.start)))
    last = header.start + held.length
    end = _behind(file, family, last)
    shown = end if family.shows_all else last
    patches = _true_sizes(family, samples, held.length)
    if len(patches) > 1:  # read up to the end
        shown = last
    if mark[:4] in (b"RF64", b"BW64"):
        patches[0] = b"RIFF"  # its chunks are the same
    return _sound(view, position, shown, end, held.truncated, patches)


def au(view: ByteView, position: int) -> Sound | None:
    """The sound in the AU file that begins here; None: there is none."""
    file = view.part(position)
    head = file.at(0, 24)
    if len(head) < 24 or not head.startswith(b".snd"):
        return None
    start, said, encoding, _, channels = struct.unpack_from(">5I", head, 4)
    if start < len(head):
        return None
    header = _Header(start, said, max(channels * _AU_BYTES.get(encoding, 0), 1))
    held = _held(file, header, lambda: _is_end(file, start))
    end = start + held.length
    size = min(held.length, 0xFFFF_FFFF)  # the largest stands for all up to the end
    return _sound(view, position, end, end, held.truncated, {8: struct.pack(">I", size)})


def _true_sizes(family: Family, samples: Chunk, length: int) -> dict[int, bytes]:
    """What is written over the header, by position."""
    at, size = samples.body - family.size.size, length + family.inside
    if size < 256**family.size.size:
        return {at: family.size.pack(size + family.inclusive * family.head)}
    whole, size = family.endless
    return {family.whole_size or 0: family.size.pack(whole), at: family.size.pack(size)}


def _sound(
    view: ByteView, position: int, shown: int, end: int, truncated: bool, patches: dict[int, bytes]
) -> Sound:
    moved = {position + place: data for place, data in patches.items()}
    return Sound(view.part(position, position + shown, moved), position + end, truncated)


def _held(file: ByteView, header: _Header, is_empty: Callable[[], bool]) -> Extent:
    """The samples that are there."""
    there = max(len(file) - header.start, 0)
    if header.said == 0 and is_empty():
        return Extent(0)
    whole = None if header.whole is None else header.whole - header.start
    held = extent(header.said, there, header.frame, whole)
    if held.known:
        return held
    return Extent(max(next_header(file, header.start) - header.start, 0))


def _is_end(file: ByteView, position: int) -> bool:
    return position >= len(file) or is_header(file, position)


def _in_front(file: ByteView, family: Family) -> dict[bytes, Chunk]:
    """The chunks up to the one with the samples, by name."""
    chunks: dict[bytes, Chunk] = {}
    position = family.first
    for _ in range(_MOST_CHUNKS):
        if (chunk := family.chunk(file, position)) is None:
            break
        chunks.setdefault(chunk.name, chunk)
        if chunk.name == family.samples:
            break
        position = chunk.behind
    return chunks


def _header(file: ByteView, family: Family, chunks: dict[bytes, Chunk], samples: Chunk) -> _Header:
    said = max(samples.size - family.inside, 0)
    long = chunks.get(b"ds64")  # EBU Tech 3306, where RF64 has its sizes
    if long is not None and samples.size == 0xFFFF_FFFF:
        said = int.from_bytes(file.at(long.body + 8, 8), "little")
    form, whole = chunks.get(family.format), None
    frame = 1 if form is None else family.frame(file.at(form.body, min(form.size, 24)))
    if family.whole_size is not None and long is None:
        (size,) = family.size.unpack(file.at(family.whole_size, family.size.size))
        counted = 0 if family.inclusive else family.whole_size + family.size.size
        whole = None if is_live(size) else size + counted
    return _Header(samples.body + family.inside, said, max(frame, 1), whole)


def _behind(file: ByteView, family: Family, position: int) -> int:
    """Where the chunks end that begin here, or behind some padding."""
    for _ in range(_MOST_CHUNKS):
        if is_header(file, position):
            break
        chunk = family.chunk(file, round_up(position, family.align))
        named = chunk is not None and family.name.fullmatch(chunk.name)
        if chunk is None or not named or chunk.behind > len(file):
            break
        position = chunk.behind
    return position
