"""Encoded audio (WAV, FLAC, OGG, MP3 and whatever else libsndfile reads) to blocks of samples."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from ..errors import AudioDecodeError, MissingDependencyError
from .foreign import HEAD_BYTES, foreign
from .sound import Sound
from .units import MAX_RATE, MIN_RATE

_BLOCK_FRAMES = 1 << 12  # a failing read loses its block, so blocks are small
_UNKNOWN_FRAMES = 2**63 - 1  # libsndfile's mark for a header that does not tell
# The number of frames of an MP3 is an estimate, which may be off by this part or by this many.
_MP3_SLACK, _MP3_SLACK_FRAMES = 0.01, 2 * 1152


class Decoder:
    """One encoded sound, opened: its header is known, its samples come in blocks.

    Args:
        sound: its bytes; the format is recognized from them, never from a name.
        name: how errors call the source.
        allow_truncated: keep what can be decoded of a file that ends early.
        number: which sound of the file it is, from 1.

    Attributes:
        rate: in Hz.
        frames: how many the header announces (of some MP3 files an estimate); None: not known.

    Raises:
        AudioDecodeError: not audio in a known format, or the header says that it is truncated.
    """

    def __init__(
        self, sound: Sound, name: str, allow_truncated: bool = False, number: int = 1
    ) -> None:
        try:
            import soundfile
        except ImportError as error:
            raise MissingDependencyError("soundfile", "decoding audio files") from error

        class SequentialFile(soundfile.SoundFile):
            """Reads on; soundfile else seeks after each read: that breaks MP3, streamed FLAC."""

            def seekable(self) -> bool:
                return False

        self._sound, self._file_name, self._allow_truncated = sound, name, allow_truncated
        self._name = name if number == 1 else f"{name}: sound {number}"
        sound.view.seek(0)
        try:
            self._file = SequentialFile(sound.view)
        except soundfile.LibsndfileError as error:
            raise self._unreadable() or self._unknown(error.error_string) from error
        self._error: type[Exception] = soundfile.LibsndfileError
        try:
            self._check_header()
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Let go of libsndfile's memory."""
        self._file.close()

    def blocks(self) -> Iterator[np.ndarray]:
        """float32 ``[t, C]``, integer formats scaled to [-1, 1).

        Raises:
            AudioDecodeError: damaged or truncated.
        """
        decoded = 0
        try:
            while len(block := self._read(decoded)):
                decoded += len(block)
                yield block
        except self._error as error:
            if not self._allow_truncated or not decoded:
                raise self._unreadable() or AudioDecodeError(
                    f"{self._name}: truncated or damaged after {decoded} of "
                    f"{self.frames or 'an unknown number of'} frames "
                    f"({getattr(error, 'error_string', error)})"
                ) from error
        if problem := self._unreadable():
            raise problem
        missing = 0 if self.frames is None else self.frames - decoded
        is_mp3 = self._file.format == "MP3"
        slack = max(_MP3_SLACK * (self.frames or 0), _MP3_SLACK_FRAMES) if is_mp3 else 0
        if not self._allow_truncated and missing > slack:
            raise self._truncated(f"after {decoded} frames")

    def _read(self, decoded: int) -> np.ndarray:
        """The next block, which ends where the announced frames do; what lies behind may be junk.

        A file may hold fewer: the last block is the one that is empty.
        """
        remaining = _BLOCK_FRAMES if self.frames is None else self.frames - decoded
        frames = max(min(_BLOCK_FRAMES, remaining), 0)
        return self._file.read(frames, dtype="float32", always_2d=True)

    def _check_header(self) -> None:
        self.rate: int = self._file.samplerate
        frames: int = self._file.frames
        self.frames = None if frames == _UNKNOWN_FRAMES else frames
        if not MIN_RATE <= self.rate <= MAX_RATE:
            raise AudioDecodeError(
                f"{self._name}: expected a sampling rate of {MIN_RATE} to {MAX_RATE} Hz, got "
                f"{self.rate}"
            )
        if self._sound.truncated and not self._allow_truncated:
            raise self._truncated(f"after {self._sound.end} bytes")

    def _truncated(self, where: str) -> AudioDecodeError:
        return AudioDecodeError(
            f"{self._name}: truncated, the file ends {where}, before the end that it announces; "
            "pass allow_truncated=True to keep what is there"
        )

    def _unknown(self, reason: str) -> AudioDecodeError:
        head = self._sound.view.at(0, HEAD_BYTES)
        got = foreign(head, self._file_name) or f"something that cannot be decoded ({reason})"
        return AudioDecodeError(
            f"{self._name}: expected audio such as WAV, FLAC, OGG or MP3, got {got}"
        )

    def _unreadable(self) -> AudioDecodeError | None:
        """What the disk said while libsndfile read."""
        if (error := self._sound.view.error) is None:
            return None
        return AudioDecodeError(f"{self._name}: cannot be read ({error})")
