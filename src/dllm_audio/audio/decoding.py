"""Encoded audio (WAV, FLAC, OGG, MP3 and whatever else libsndfile reads) to samples."""

from __future__ import annotations

import io
import re

import numpy as np

from ..errors import AudioDecodeError, EmptyAudioError, MissingDependencyError

_BLOCK_FRAMES = 1 << 20
# A recorder that writes to a pipe cannot know the size and leaves this in the header.
_UNKNOWN_SIZE = 0xFFFF_FFFF
# libsndfile repairs the frame count of a file that ends early and only says so in its log.
_CHUNK_SIZE = re.compile(r"^\s*(?:data|SSND) : (\d+) \(should be (\d+)\)", re.MULTILINE)
_ENDS_EARLY = re.compile(r"Last page lacks an end-of-stream bit|does not match value from 'ds64'")


def decode_audio(data: bytes, name: str, allow_truncated: bool = False) -> tuple[np.ndarray, int]:
    """Decode a whole audio file that is in memory.

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
    blocks: list[np.ndarray] = []
    try:
        with soundfile.SoundFile(io.BytesIO(data)) as file:
            rate, channels = file.samplerate, file.channels
            expected, log = file.frames, file.extra_info
            try:
                # By blocks, because a damaged header may promise more than memory holds.
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
    decoded = _total(blocks)
    if not allow_truncated and (decoded < expected or _log_says_truncated(log)):
        raise AudioDecodeError(
            f"{name}: truncated, the file ends after {decoded} frames, before the end that it "
            f"announces; pass allow_truncated=True to keep them"
        )
    if not decoded:
        raise EmptyAudioError(f"{name}: holds no samples")
    return np.concatenate(blocks).reshape(decoded, channels), rate


def _total(blocks: list[np.ndarray]) -> int:
    return sum(len(block) for block in blocks)


def _log_says_truncated(log: str) -> bool:
    sizes = [(int(said), int(there)) for said, there in _CHUNK_SIZE.findall(log)]
    short = any(there < said != _UNKNOWN_SIZE for said, there in sizes)
    return short or _ENDS_EARLY.search(log) is not None
