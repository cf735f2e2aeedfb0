"""Ogg pages taken apart and put together (RFC 3533)."""

from __future__ import annotations

import struct
from collections.abc import Iterator

BEGINS, ENDS = 2, 4


def checksum(page: bytes) -> int:
    """The CRC of section 6, field 7: polynomial 0x04c11db7, nothing reflected."""
    value = 0
    for byte in page:
        value ^= byte << 24
        for _ in range(8):
            value = (value << 1 ^ 0x04C11DB7 if value & 0x80000000 else value << 1) & 0xFFFFFFFF
    return value


def sealed(page: bytes) -> bytes:
    """A page with the checksum that fits."""
    bare = page[:22] + bytes(4) + page[26:]
    return page[:22] + struct.pack("<I", checksum(bare)) + page[26:]


def pages(data: bytes) -> Iterator[bytes]:
    """The pages of a file, and what follows them as one piece."""
    while data:
        if not data.startswith(b"OggS") or len(data) < 27:
            yield data
            return
        body = 27 + data[26]
        end = body + sum(data[27:body])
        yield data[:end]
        data = data[end:]


def without_end(data: bytes) -> bytes:
    """A stream whose writer was stopped: no page is marked as the last."""
    return b"".join(
        sealed(page[:5] + bytes([page[5] & ~ENDS]) + page[6:]) if page[5] & ENDS else page
        for page in pages(data)
    )


def page(packet: bytes, flags: int, granule: int, serial: int, number: int) -> bytes:
    segments = [255] * (len(packet) // 255) + [len(packet) % 255]
    head = struct.pack("<4sBBqIIIB", b"OggS", 0, flags, granule, serial, number, 0, len(segments))
    return sealed(head + bytes(segments) + packet)


def ogg_flac() -> bytes:
    """The first page of FLAC in Ogg, which libsndfile does not decode."""
    info = struct.pack(">HHIIQ", 4096, 4096, 0, 0, 16_000 << 44 | 15 << 36) + bytes(16)
    return page(b"\x7fFLAC\1\0\0\0fLaC\x80\0\0\x22" + info, BEGINS | ENDS, 0, 7, 0)
