"""The sounds of a file, one after the other: a file may hold several that were joined."""

from __future__ import annotations

import re
from collections.abc import Iterator

from .byte_view import ByteView
from .chunked import au, chunked
from .foreign import HEAD_BYTES, foreign
from .mpeg import mpeg
from .ogg import ogg
from .sound import Sound, behind_tag, next_header

_JUNK = 1 << 20  # bytes in front of an MP3 in which its first frame is looked for
_READ_AHEAD = 1 << 16  # a decoder may have read so many bytes of the next sound
_MOST_FLAC_SAMPLES = 1 << 36  # RFC 9639, section 8.2: a field of 36 bits, 0 for "not known"
_SOMETHING = re.compile(rb"[^\x00]")


def sounds(view: ByteView) -> Iterator[Sound]:
    """The sounds of a file, in order.

    WAV, RF64, W64, AIFF, CAF and AU come with headers whose sizes are true.  Zeros and ID3 tags in
    front of a sound are passed over, and so is junk in front of the first frames of an MP3.  Files
    of other formats are one sound; what no decoder knows is also one, for the decoder to refuse.
    Not found is an MP3 behind FLAC or Ogg: no header tells where it begins, nor where they end.

    Args:
        view: the file.

    Yields:
        At least one sound.  Where one is open, the next is looked for behind what was read of its
        view until then.
    """
    position = _behind_padding(view, 0)
    sound: Sound | None = _sound_at(view, position) or _unmarked(view, position)
    while sound:
        yield sound
        end = sound.end
        if sound.is_open:
            end = next_header(view, max(position + sound.view.tell() - _READ_AHEAD, end))
        position = _behind_padding(view, end)
        sound = _sound_at(view, position)


def _unmarked(view: ByteView, position: int) -> Sound:
    """A file that does not begin as a sound does, whatever lies in front of it."""
    for start in (0, position):
        if foreign(view.at(start, HEAD_BYTES), ""):
            return Sound(view.part(start), len(view))
    # The size of a tag may be wrong.
    sound = mpeg(view, position, _JUNK) or mpeg(view, 0, _JUNK)
    return sound or Sound(view, len(view))


def _sound_at(view: ByteView, position: int) -> Sound | None:
    for read in (chunked, au, ogg, flac, mpeg):
        if sound := read(view, position):
            return sound
    return None


def flac(view: ByteView, position: int) -> Sound | None:
    """The FLAC stream that begins here; None: there is none."""
    if view.at(position, 4) != b"fLaC":
        return None
    frames = _behind_metadata(view, position + 4)
    if int.from_bytes(view.at(position + 18, 8), "big") % _MOST_FLAC_SAMPLES:
        return Sound(view.part(position), frames, is_open=True)
    # Frames do not tell their length, and here is no number of samples to end at.
    end = next_header(view, frames)
    return Sound(view.part(position, end), end)


def _behind_metadata(view: ByteView, position: int) -> int:
    """Where the first frame of a FLAC stream is: what an application left may look as a header."""
    while len(head := view.at(position, 4)) == 4:  # RFC 9639, section 8: a block
        position += 4 + int.from_bytes(head[1:], "big")
        if head[0] & 0x80:  # the last one
            break
    return min(position, len(view))


def _behind_padding(view: ByteView, position: int) -> int:
    """Behind the zeros and tags that begin here."""
    while True:
        start = position
        found = view.find(_SOMETHING, position, longest=1)
        position = behind_tag(view, len(view) if found is None else found)
        if position == start:
            return position
