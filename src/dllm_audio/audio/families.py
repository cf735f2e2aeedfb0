"""How the containers of chunks (WAV, RF64, W64, AIFF, CAF) write what they hold."""

from __future__ import annotations

import re
import struct
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from .byte_view import ByteView

_W64_TAIL = b"\xf3\xac\xd3\x11\x8c\xd1\x00\xc0\x4f\x8e\xdb\x8a"  # of the names of its chunks


@dataclass(frozen=True, slots=True)
class Family:
    """How a family of containers writes its chunks.

    Attributes:
        mark: how it begins.
        size: of a chunk, behind its name; and of the whole.
        samples: name of the chunk with the samples ...
        inside: ... and its bytes in front of them.
        format: name of the chunk that tells the format ...
        frame: ... and the bytes of a frame by its content; 0: not known.
        first: where the first chunk is.
        whole_size: where the size of the whole is; None: nowhere.
        endless: sizes of the whole and of the samples by which libsndfile reads up to the end.
        name: what a chunk's name looks like.
        align: chunks begin at multiples of this.
        inclusive: sizes count the chunk's own name and size.
        shows_all: what lies behind the samples is shown to libsndfile, because it may tell the
            format; else it is not, because libsndfile may take it for samples.
    """

    mark: re.Pattern[bytes]
    size: struct.Struct
    samples: bytes
    format: bytes
    frame: Callable[[bytes], int]
    inside: int = 0
    first: int = 12
    whole_size: int | None = 4
    endless: tuple[int, int] = (8, 0)
    name: re.Pattern[bytes] = re.compile(rb"[ -~]{4}")
    align: int = 2
    inclusive: bool = False
    shows_all: bool = False

    @property
    def head(self) -> int:
        """Bytes of a chunk's name and size."""
        return len(self.samples) + self.size.size

    def chunk(self, file: ByteView, position: int) -> Chunk | None:
        """The chunk that begins here; None: the file ends."""
        head = file.at(position, self.head)
        if len(head) < self.head:
            return None
        (said,) = self.size.unpack_from(head, len(self.samples))
        size = max(said - self.inclusive * self.head, 0)
        body = position + self.head
        return Chunk(head[: len(self.samples)], body, size, body + round_up(size, self.align))


@dataclass(frozen=True, slots=True)
class Chunk:
    """A chunk by its head: its name, where its content and the next chunk begin, and the size."""

    name: bytes
    body: int
    size: int
    behind: int


def round_up(size: int, align: int) -> int:
    """The next multiple of ``align``."""
    return -(-size // align) * align


def _wave_frame(form: bytes, order: Literal["little", "big"]) -> int:
    return int.from_bytes(form[12:14], order)


def _aiff_frame(form: bytes) -> int:
    plain = len(form) == 18 or form[18:22] in _AIFC_PLAIN
    return int.from_bytes(form[:2], "big") * -(-int.from_bytes(form[6:8], "big") // 8) * plain


_AIFC_PLAIN = (b"NONE", b"sowt", b"twos", b"in24", b"in32", b"fl32", b"FL32", b"fl64", b"FL64")
FAMILIES = (
    Family(
        mark=re.compile(rb"(?:RIFF|RF64|BW64)....WAVE", re.DOTALL),
        size=struct.Struct("<I"),
        samples=b"data",
        format=b"fmt ",
        frame=lambda form: _wave_frame(form, "little"),
    ),
    Family(
        mark=re.compile(rb"RIFX....WAVE", re.DOTALL),
        size=struct.Struct(">I"),
        samples=b"data",
        format=b"fmt ",
        frame=lambda form: _wave_frame(form, "big"),
    ),
    Family(
        mark=re.compile(rb"FORM....AIF[FC]", re.DOTALL),
        size=struct.Struct(">I"),
        samples=b"SSND",
        format=b"COMM",
        frame=_aiff_frame,
        inside=8,
        shows_all=True,
    ),
    Family(
        mark=re.compile(b"riff\x2e\x91\xcf\x11"),
        size=struct.Struct("<Q"),
        samples=b"data" + _W64_TAIL,
        format=b"fmt " + _W64_TAIL,
        frame=lambda form: _wave_frame(form, "little"),
        first=40,
        whole_size=16,
        name=re.compile(rb"[ -~]{4}" + re.escape(_W64_TAIL)),
        align=8,
        inclusive=True,
    ),
    Family(
        mark=re.compile(b"caff\0\1"),
        size=struct.Struct(">Q"),
        samples=b"data",
        format=b"desc",
        frame=lambda form: int.from_bytes(form[16:20], "big"),
        inside=4,
        first=8,
        whole_size=None,
        align=1,
        shows_all=True,
    ),
)
