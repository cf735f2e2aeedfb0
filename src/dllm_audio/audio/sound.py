"""One sound among those of a file, and the marks by which the next one is found."""

from __future__ import annotations

import re
from dataclasses import dataclass

from .byte_view import ByteView


@dataclass(frozen=True, slots=True)
class Sound:
    """Where one sound lies in a file.

    Attributes:
        view: its header and samples alone; the header's sizes are those of what is there.
        end: one after its last byte in the file.
        truncated: the file ends before the end that the header announces.
        is_open: ``end`` is not known yet: it is there or behind, where a decoder stops.
    """

    view: ByteView
    end: int
    truncated: bool = False
    is_open: bool = False


# How the containers begin.  A mark is long enough that no samples look like it by chance.
_HEADER = re.compile(
    rb"(?:RIFF|RIFX|RF64|BW64)....WAVE[ -~]{4}"
    rb"|FORM....AIF[FC][ -~]{4}"
    rb"|riff\x2e\x91\xcf\x11\xa5\xd6\x28\xdb\x04\xc1\x00\x00"
    rb"|caff\x00\x01..desc\x00{7}\x20"
    rb"|fLaC[\x00\x80]\x00\x00\x22"
    rb"|OggS\x00[\x02\x06]\x00{8}"
    rb"|\.snd\x00..[\x18-\xff]....\x00\x00\x00[\x01-\x1b]\x00...",
    re.DOTALL,
)
# The same for a search: a set of bytes in front makes it several times faster.
_ANY_HEADER = re.compile(rb"[RBFrcfO.](?<=(?=" + _HEADER.pattern + rb").)", re.DOTALL)
_LONGEST_HEADER = 20
# id3.org, "ID3 tag version 2.4.0", section 3.1.
_ID3 = re.compile(rb"ID3[\x02-\x04][^\xff].[\x00-\x7f]{4}", re.DOTALL)


def is_header(view: ByteView, position: int) -> bool:
    """Whether a sound begins here."""
    return _HEADER.match(view.at(position, _LONGEST_HEADER)) is not None


def next_header(view: ByteView, position: int, stop: int | None = None) -> int:
    """Where the next sound begins; the end of the file, or ``stop``, where none does before."""
    stop = len(view) if stop is None else stop
    found = view.find(_ANY_HEADER, position, stop, longest=_LONGEST_HEADER)
    return stop if found is None else found


def behind_tag(view: ByteView, position: int) -> int:
    """Where an ID3v2 tag ends that begins here; the same position where none does."""
    head = view.at(position, 10)
    if not _ID3.match(head):
        return position
    size = sum(byte << shift for byte, shift in zip(head[6:], (21, 14, 7, 0), strict=True))
    footer = 10 if head[5] & 0x10 else 0
    return position + 10 + size + footer
