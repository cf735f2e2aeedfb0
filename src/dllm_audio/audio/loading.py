"""One entry point from any source of sound to a mono waveform at the wanted rate."""

from __future__ import annotations

import math
import numbers
import os
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from ..errors import (
    AudioDecodeError,
    EmptyAudioError,
    InvalidArgumentError,
    MissingDependencyError,
    NonFiniteAudioError,
    ShapeError,
)
from ..protocols import AudioSource
from .arrays import to_mono
from .decoding import decode_audio
from .units import MAX_RATE, MIN_RATE, SAMPLING_RATE


def load_audio(
    source: AudioSource,
    sampling_rate: int = SAMPLING_RATE,
    *,
    channel_axis: int | None = None,
    allow_truncated: bool = False,
) -> Tensor:
    """Load a sound as a mono waveform at one sampling rate.

    Channels are averaged, then the result is resampled with soxr.  Silence is a sound like any
    other; samples are not normalized, and floats beyond [-1, 1] are not clipped.

    Args:
        source: a path; the bytes of a file; a binary file object, read from where it stands; or
            ``(array, rate)`` with a NumPy array or tensor ``[T]``, ``[T, C]`` or ``[C, T]`` and
            its rate in Hz, or the same as ``{"array": ..., "sampling_rate": ...}`` (Hugging Face
            data sets).  Integer arrays are divided by the full scale of their dtype.
            Files may be WAV, FLAC, OGG, MP3 or any other format that libsndfile knows; their
            names do not matter.
        sampling_rate: wanted rate in Hz.
        channel_axis: axis of the channels in a two-dimensional array; None: the axis that has at
            most 32 entries while the other has more.
        allow_truncated: return what is left of a file that ends early instead of raising.

    Returns:
        float32 ``[T]`` with ``T >= 1``, on the CPU.

    Raises:
        InvalidArgumentError: the source is of no known kind, or a rate is not one.
        ShapeError: an array with another rank than one or two, or whose orientation is unclear.
        AudioDecodeError: the source cannot be read, is not audio, or is truncated.
        EmptyAudioError: there are no samples, before or after resampling.
        NonFiniteAudioError: there are NaN or infinite samples.

    Example:
        >>> import numpy as np
        >>> load_audio((np.zeros((8000, 2), dtype=np.int16), 8000)).shape
        torch.Size([16000])
    """
    target = _check_rate("sampling_rate", sampling_rate)
    if channel_axis not in (None, 0, 1, -1, -2):
        raise InvalidArgumentError("channel_axis", "0, 1, -1, -2 or None", channel_axis)
    if isinstance(source, Mapping):
        source = _from_mapping(source)
    if isinstance(source, tuple):
        if len(source) != 2:
            raise InvalidArgumentError("source", "(array, rate)", f"{len(source)} entries")
        samples, rate = source
        rate = _check_rate("source rate", rate)
        name, waveform = "source", to_mono(samples, channel_axis)
    else:
        data, name = _read(source)
        decoded, rate = decode_audio(data, name, allow_truncated)
        waveform = to_mono(decoded, channel_axis=1)
    if not np.isfinite(waveform).all():
        count = int((~np.isfinite(waveform)).sum())
        raise NonFiniteAudioError(
            f"{name}: {count} of {waveform.size} samples are NaN, infinite or beyond float32"
        )
    if rate != target:
        waveform = _resample(waveform, rate, target)
    if waveform.size == 0:
        raise EmptyAudioError(f"{name}: too short to hold one sample at {target} Hz")
    return torch.from_numpy(np.ascontiguousarray(waveform, dtype=np.float32))


def load_waveform(source: AudioSource | None, sampling_rate: int = SAMPLING_RATE) -> Tensor:
    """A clip as :func:`load_audio` gives it, or samples that have the wanted rate already.

    Args:
        source: a tensor or NumPy array ``[T]`` or ``[1, T]`` is taken as it is; anything else goes
            through :func:`load_audio`.
        sampling_rate: wanted rate in Hz.

    Returns:
        Floating point ``[T]``; a tensor stays on its device.

    Raises:
        InvalidArgumentError, ShapeError, AudioError: a source that cannot be used.
    """
    if isinstance(source, np.ndarray):
        source = torch.from_numpy(to_mono(source))
    if not isinstance(source, Tensor):
        return load_audio(source, sampling_rate)  # type: ignore[arg-type]
    waveform = source[0] if source.dim() == 2 and len(source) == 1 else source
    if waveform.dim() != 1:
        raise ShapeError("audio", "a mono waveform [T]", list(source.shape))
    if not waveform.is_floating_point():
        raise InvalidArgumentError("audio", "a floating point waveform", waveform.dtype)
    return waveform


def _check_rate(argument: str, rate: object) -> float:
    number = isinstance(rate, numbers.Real) and not isinstance(rate, bool)
    if not number or not math.isfinite(rate) or not MIN_RATE <= rate <= MAX_RATE:  # type: ignore
        raise InvalidArgumentError(argument, f"a rate in Hz, {MIN_RATE} to {MAX_RATE}", rate)
    return float(rate)  # type: ignore[arg-type]


def _from_mapping(source: Mapping[str, object]) -> AudioSource:
    """A row of a Hugging Face data set, decoded or not, as one of the other kinds."""
    if source.get("array") is not None and source.get("sampling_rate") is not None:
        return source["array"], source["sampling_rate"]  # type: ignore[return-value]
    found = source.get("bytes") or source.get("path")
    if isinstance(found, str | os.PathLike | bytes):
        return found
    expected = "'array' and 'sampling_rate' (or 'bytes', or 'path')"
    raise InvalidArgumentError("source", expected, sorted(map(str, source)))


def _read(source: object) -> tuple[bytes, str]:
    """The bytes behind a path, bytes or file object, and what to call them in errors."""
    if isinstance(source, str | os.PathLike):
        path = Path(source)
        try:
            return path.read_bytes(), str(path)
        except (OSError, ValueError) as error:  # ValueError: a null character in the name
            raise AudioDecodeError(f"{path}: cannot be read ({error})") from error
    if isinstance(source, bytes | bytearray | memoryview):
        return bytes(source), "source"
    if hasattr(source, "read"):
        name = str(getattr(source, "name", "source"))
        try:
            data = source.read()
        except (OSError, ValueError) as error:  # ValueError: closed, or not text after all
            raise AudioDecodeError(f"{name}: cannot be read ({error})") from error
        if not isinstance(data, bytes):
            raise InvalidArgumentError("source", "a file opened in binary mode", type(data))
        return data, name
    raise InvalidArgumentError(
        "source", "a path, bytes, a binary file object or (array, rate)", type(source)
    )


def _resample(waveform: np.ndarray, rate: float, target: float) -> np.ndarray:
    try:
        import soxr
    except ImportError as error:
        raise MissingDependencyError("soxr", "resampling audio") from error
    return soxr.resample(waveform, rate, target)
