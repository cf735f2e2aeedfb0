"""Encoded audio (WAV, FLAC, OGG, MP3 and whatever else libsndfile reads) to samples."""

from __future__ import annotations

import io
import re

import numpy as np

from ..errors import AudioDecodeError, EmptyAudioError, MissingDependencyError
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


def decode_audio(data: bytes, name: str, allow_truncated: bool = False) -> tuple[np.ndarray, int]:
    """Decode a whole audio file that is in memory.

    An MP3 of varying bit rate whose first frame does not tell its length is read as far as
    libsndfile estimates it to go.

    Args:
        data: the file's bytes; the format is recognized from them, never from a name.
        name: how errors call the source.
        allow_truncated: keep what can be decoded of a file that ends early.

    Returns:
        float32 samples ``[T, C]`` (integer formats scaled to [-1, 1)) and the rate in Hz.

    Raises:
        EmptyAudioError: no bytes or no samples.
        AudioDecodeError: not audio in a known format, damaged, or truncated.
    """
    try:
        import soundfile
    except ImportError as error:
        raise MissingDependencyError("soundfile", "decoding audio files") from error
    if not data:
        raise EmptyAudioError(f"{name}: holds no bytes")

    class SequentialFile(soundfile.SoundFile):
        """Reads on; soundfile else seeks after each read, which breaks MP3 and streamed FLAC."""

        def seekable(self) -> bool:
            return False

    blocks: list[np.ndarray] = []
    try:
        with SequentialFile(io.BytesIO(data)) as file:
            rate, channels, is_mp3 = file.samplerate, file.channels, file.format == "MP3"
            expected, log = file.frames, file.extra_info
            try:
                # By blocks, because a header may promise more, or less, than the file holds.
                while len(block := file.read(_BLOCK_FRAMES, dtype="float32", always_2d=True)):
                    blocks.append(block)
            except soundfile.LibsndfileError as error:
                if not allow_truncated or not blocks:
                    raise AudioDecodeError(
                        f"{name}: truncated or damaged after {_total(blocks)} of {expected} "
                        f"frames ({error.error_string})"
                    ) from error
    except soundfile.LibsndfileError as error:
        raise AudioDecodeError(
            f"{name}: expected audio such as WAV, FLAC, OGG or MP3, got something that cannot be "
            f"decoded ({error.error_string})"
        ) from error
    if not MIN_RATE <= rate <= MAX_RATE:
        raise AudioDecodeError(
            f"{name}: expected a sampling rate of {MIN_RATE} to {MAX_RATE} Hz, got {rate}"
        )
    decoded = _total(blocks)
    missing = 0 if expected == _UNKNOWN_FRAMES else expected - decoded
    slack = max(_MP3_SLACK * expected, _MP3_SLACK_FRAMES) if is_mp3 else 0
    if not allow_truncated and (missing > slack or _chunk_is_short(log) or _ogg_is_short(data)):
        raise AudioDecodeError(
            f"{name}: truncated, the file ends after {decoded} frames, before the end that it "
            f"announces; pass allow_truncated=True to keep them"
        )
    if not decoded:
        raise EmptyAudioError(f"{name}: holds no samples")
    return np.concatenate(blocks).reshape(decoded, channels), rate


def _total(blocks: list[np.ndarray]) -> int:
    return sum(len(block) for block in blocks)


def _chunk_is_short(log: str) -> bool:
    """Whether a WAV or AIFF file ends before its data chunk does."""
    sizes = [(int(said), int(there)) for said, there in _CHUNK_SIZE.findall(log)]
    return any(there < said != _UNKNOWN_SIZE for said, there in sizes)


def _ogg_is_short(data: bytes) -> bool:
    """Whether an Ogg stream stops before the end of the page that is marked as its last."""
    if not data.startswith(_OGG_MARK):
        return False
    page = data[data.rindex(_OGG_MARK) :]
    if len(page) < _OGG_SIZES or not page[_OGG_FLAGS] & _OGG_END_OF_STREAM:
        return True
    sizes = page[_OGG_SIZES : _OGG_SIZES + page[_OGG_SEGMENTS]]
    return len(page) < _OGG_SIZES + page[_OGG_SEGMENTS] + sum(sizes)
