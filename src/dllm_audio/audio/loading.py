"""One entry point from any source of sound to a mono waveform at the wanted rate."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from ..errors import InvalidArgumentError, ShapeError
from ..protocols import AudioSource
from .arrays import to_mono
from .blocks import AudioBlocks
from .units import SAMPLING_RATE


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
            names do not matter.  Of several sounds in a file all are heard, one after the other.
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
    samples = bytearray()  # grows in place: blocks and their sum never stand side by side
    for block in AudioBlocks(
        source, sampling_rate, channel_axis=channel_axis, allow_truncated=allow_truncated
    ):
        samples += block.data.cast("B")
    return torch.frombuffer(samples, dtype=torch.float32)


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
