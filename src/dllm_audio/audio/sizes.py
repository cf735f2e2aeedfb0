"""How many bytes of samples a container holds, whatever its header says.

A recorder that writes to a pipe cannot go back to fill the sizes in, and one that crashed never
did.  What is there is heard; only a file that is plainly shorter than its header says is truncated.
"""

from __future__ import annotations

from dataclasses import dataclass

# What sox, espeak-ng, arecord and ffmpeg write into a pipe for a size that they do not know: about
# one of these, because some bytes for a header or an incomplete frame are taken off or added.
_LIVE_SIZES = (0x7F00_0000, 0x8000_0000, 0xFE00_0000, 0x1_0000_0000)
_LIVE_SLACK = 1 << 16
_LIVE_64 = 1 << 62  # and beyond: -1, or the largest number, in eight bytes
_WRAPS = 1 << 32  # where a size of four bytes begins again at 0
_HEADER_COUNTED = 128  # bytes of a header that were counted as if they were samples


@dataclass(frozen=True, slots=True)
class Extent:
    """Bytes of samples.

    Attributes:
        length: of those that are there.
        truncated: there should be more.
        known: the header tells the length; else they go on until something else begins.
    """

    length: int
    truncated: bool = False
    known: bool = True


def is_live(said: int) -> bool:
    """Whether a size stands for "not known"."""
    return said >= _LIVE_64 or any(abs(said - live) <= _LIVE_SLACK for live in _LIVE_SIZES)


def extent(said: int, there: int, frame: int, whole: int | None) -> Extent:
    """What there is of the samples that a header announces.

    Args:
        said: bytes of samples by the header; 0: not filled in.
        there: bytes from the first sample to the end of the file.
        frame: bytes of one sample of all channels; 1: not known.
        whole: bytes from the first sample to where the container ends by its own size, which
            counts what lies behind the samples too; None: not known.
    """
    if said == 0 or (said > there and is_live(said)):
        return Extent(there, known=False)
    if said <= there:
        wrapped = (there - said) % _WRAPS == 0  # more than 4 GiB
        return Extent(there if wrapped else said)
    if whole is not None and 0 < whole <= there:  # the container is complete
        return Extent(whole)
    counted = said - there <= _HEADER_COUNTED and there % frame == 0
    return Extent(there, truncated=not counted)
