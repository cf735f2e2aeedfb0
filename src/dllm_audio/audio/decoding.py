"""Encoded audio (WAV, FLAC, OGG, MP3 and whatever else libsndfile reads) to blocks of samples."""

from __future__ import annotations

import re
from collections.abc import Iterator

import numpy as np

from ..errors import AudioDecodeError, EmptyAudioError, MissingDependencyError
from .sources import ByteView
from .units import MAX_RATE, MIN_RATE

_BLOCK_FRAMES = 1 << 12  # a failing read loses its block, so blocks are small
# A recorder that writes to a pipe cannot know the size and leaves this in the header.
_UNKNOWN_SIZE = 0xFFFF_FFFF
_UNKNOWN_FRAMES = 2**63 - 1  # libsndfile's own mark for the same
# The number of frames of an MP3 is an estimate, which may be off by this part or by this many.
_MP3_SLACK, _MP3_SLACK_FRAMES = 0.01, 2 * 1152
# libsndfile repairs the frame count of a file that ends early and only says so in its log.
_CHUNK_SIZE = re.compile(r"^\s*(?:data|SSND) : (\d+) \(should be (\d+)\)", re.MULTILINE)
# RFC 3533, section 6: an Ogg page's mark, flags, number of segments; then the segments' sizes.
_OGG_MARK, _OGG_FLAGS, _OGG_SEGMENTS, _OGG_SIZES = b"OggS", 5, 26, 27
_OGG_END_OF_STREAM = 0x04
_OGG_LONGEST_PAGE = 27 + 255 + 255 * 255


class Decoder:
    """One encoded sound, opened: its header is known, its samples come in blocks.

    Args:
        view: the bytes; the format is recognized from them, never from a name.
        name: how errors call the source.
        allow_truncated: keep what can be decoded of a file that ends early.

    Attributes:
        rate: in Hz.
        frames: how many the header announces (of some MP3 files an estimate); None: not known.

    Raises:
        EmptyAudioError: no bytes.
        AudioDecodeError: not audio in a known format, or the header says that it is truncated.
    """

    def __init__(self, view: ByteView, name: str, allow_truncated: bool = False) -> None:
        try:
            import soundfile
        except ImportError as error:
            raise MissingDependencyError("soundfile", "decoding audio files") from error
        if not len(view):
            raise EmptyAudioError(f"{name}: holds no bytes")

        class SequentialFile(soundfile.SoundFile):
            """Reads on; soundfile else seeks after each read: that breaks MP3, streamed FLAC."""

            def seekable(self) -> bool:
                return False

        self._view, self._name, self._allow_truncated = view, name, allow_truncated
        view.seek(0)
        try:
            self._file = SequentialFile(view)
        except soundfile.LibsndfileError as error:
            raise self._unreadable() or AudioDecodeError(
                f"{name}: expected audio such as WAV, FLAC, OGG or MP3, got something that cannot "
                f"be decoded ({error.error_string})"
            ) from error
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
            EmptyAudioError: no samples.
            AudioDecodeError: damaged or truncated.
        """
        decoded = 0
        try:
            # Until nothing comes: a header may promise more, or less, than the file holds.
            while len(block := self._file.read(_BLOCK_FRAMES, dtype="float32", always_2d=True)):
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
        if not decoded:
            raise EmptyAudioError(f"{self._name}: holds no samples")

    def _check_header(self) -> None:
        self.rate: int = self._file.samplerate
        frames: int = self._file.frames
        self.frames = None if frames == _UNKNOWN_FRAMES else frames
        if not MIN_RATE <= self.rate <= MAX_RATE:
            raise AudioDecodeError(
                f"{self._name}: expected a sampling rate of {MIN_RATE} to {MAX_RATE} Hz, got "
                f"{self.rate}"
            )
        short = _chunk_is_short(self._file.extra_info) or _ogg_is_short(self._view)
        if short and not self._allow_truncated:
            raise self._truncated(f"after {len(self._view)} bytes")

    def _truncated(self, where: str) -> AudioDecodeError:
        return AudioDecodeError(
            f"{self._name}: truncated, the file ends {where}, before the end that it announces; "
            "pass allow_truncated=True to keep what is there"
        )

    def _unreadable(self) -> AudioDecodeError | None:
        """What the disk said while libsndfile read."""
        if (error := self._view.error) is None:
            return None
        return AudioDecodeError(f"{self._name}: cannot be read ({error})")


def _chunk_is_short(log: str) -> bool:
    """Whether a WAV or AIFF file ends before its data chunk does."""
    sizes = [(int(said), int(there)) for said, there in _CHUNK_SIZE.findall(log)]
    return any(there < said != _UNKNOWN_SIZE for said, there in sizes)


def _ogg_is_short(view: ByteView) -> bool:
    """Whether an Ogg stream stops before the end of the page that is marked as its last."""
    position = view.tell()
    mark, tail = view.at(0, len(_OGG_MARK)), view.at(len(view) - _OGG_LONGEST_PAGE, len(view))
    view.seek(position)  # libsndfile goes on where it was
    if mark != _OGG_MARK or _OGG_MARK not in tail:
        return mark == _OGG_MARK
    page = tail[tail.rindex(_OGG_MARK) :]
    if len(page) < _OGG_SIZES or not page[_OGG_FLAGS] & _OGG_END_OF_STREAM:
        return True
    sizes = page[_OGG_SIZES : _OGG_SIZES + page[_OGG_SEGMENTS]]
    return len(page) < _OGG_SIZES + page[_OGG_SEGMENTS] + sum(sizes)
