"""A file of one sound, or of several that were joined, decoded one after the other."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import chain, count

import numpy as np

from ..errors import AudioDecodeError, EmptyAudioError
from .containers import sounds
from .decoding import Decoder
from .sources import OpenSource

_MOST_SOUNDS = 100_000  # each costs the time to open it


class JoinedSounds:
    """All that can be heard in a file, block by block.

    Args:
        source: a path, bytes, or a binary file object.
        allow_truncated: keep what can be decoded of a file that ends early.

    Attributes:
        name: how errors call the source.
        total_seconds: length by the header (of some MP3 files an estimate); None: not known, as
            of several sounds (of joined FLAC the first one's).

    Raises:
        EmptyAudioError: no bytes.
        AudioDecodeError, InvalidArgumentError: the source cannot be read, or its first sound
            cannot be decoded.
    """

    def __init__(self, source: object, allow_truncated: bool = False) -> None:
        self._source = OpenSource(source)
        self._allow_truncated = allow_truncated
        self.name = self._source.name
        try:
            if not len(self._source.view):
                raise EmptyAudioError(f"{self.name}: holds no bytes")
            self._sounds = sounds(self._source.view)
            first = next(self._sounds)
            self._decoder = Decoder(first, self.name, allow_truncated)
            following = None if first.is_open else next(self._sounds, None)
        except BaseException:
            self._source.close()
            raise
        self.total_seconds: float | None = None
        if following is not None:
            self._sounds = chain([following], self._sounds)
        elif self._decoder.frames is not None:
            self.total_seconds = self._decoder.frames / self._decoder.rate

    def blocks(self) -> Iterator[tuple[float, np.ndarray]]:
        """The rate in Hz of each block, and its samples, float32 ``[t, C]``.

        Raises:
            EmptyAudioError: no samples at all.
            AudioDecodeError: a sound is damaged, truncated or of no known kind.
        """
        heard = False
        for number in count(2):
            for block in self._decoder.blocks():
                heard = True
                yield float(self._decoder.rate), block
            self._decoder.close()
            if (sound := next(self._sounds, None)) is None:
                break
            if number > _MOST_SOUNDS:
                raise AudioDecodeError(f"{self.name}: holds more than {_MOST_SOUNDS} sounds")
            self._decoder = Decoder(sound, self.name, self._allow_truncated, number)
        if not heard:
            raise EmptyAudioError(f"{self.name}: holds no samples")

    def close(self) -> None:
        """Close the file, where it was opened here."""
        self._decoder.close()
        self._source.close()
