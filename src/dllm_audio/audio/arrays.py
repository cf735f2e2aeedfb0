"""Arrays of samples to one floating point channel: full scale, orientation, channel mean."""

from __future__ import annotations

import numpy as np
import torch

from ..errors import EmptyAudioError, InvalidArgumentError, ShapeError

_MAX_CHANNELS = 32


def to_mono(samples: object, channel_axis: int | None = None) -> np.ndarray:
    """Mix an array of samples down to one channel.

    Integers are divided by the full scale of their own width, so that every width maps to
    [-1, 1); unsigned integers are centered first, as in 8-bit WAV.  Floats are kept as they are.

    Args:
        samples: ``[T]``, or two axes of which one is the channels: NumPy array or tensor.
        channel_axis: which axis of a two-dimensional array is the channels; None: the one with
            at most 32 entries, which must be exactly one of the two.

    Returns:
        float32 ``[T]``, the mean over the channels.

    Raises:
        EmptyAudioError: no samples.
        ShapeError: not one or two axes, or not clear which axis is the channels.
        InvalidArgumentError: not real numbers, or a list of integers (which has no width).
    """
    return mix(samples_by_channel(samples, channel_axis))


def samples_by_channel(samples: object, channel_axis: int | None = None) -> np.ndarray:
    """An array of samples with its channels, where it has such, last: a view of it.

    Args:
        samples: as for :func:`to_mono`.
        channel_axis: as there.

    Returns:
        ``[T]`` or ``[T, C]`` of the dtype that came.

    Raises:
        EmptyAudioError, ShapeError, InvalidArgumentError: as there.
    """
    array = _as_array(samples)
    if array.ndim not in (1, 2):
        raise ShapeError("source", "an array [T], [T, C] or [C, T]", f"shape {list(array.shape)}")
    if array.size == 0:
        raise EmptyAudioError(f"source: an array of shape {list(array.shape)} holds no samples")
    if array.ndim == 2:
        axis = _channel_axis(array.shape) if channel_axis is None else channel_axis
        array = np.moveaxis(array, axis, 1)
    return array


def mix(array: np.ndarray) -> np.ndarray:
    """The mean over the channels of samples ``[T]`` or ``[T, C]``: float32 ``[T]``, in [-1, 1)."""
    # What float32 cannot hold becomes infinite here and is the caller's to report.
    with np.errstate(over="ignore", invalid="ignore"):
        waveform = _to_float(array)
        if array.ndim == 2:
            mono = array.shape[1] == 1
            waveform = waveform[:, 0] if mono else waveform.mean(axis=1, dtype=np.float64)
        return np.ascontiguousarray(waveform, dtype=np.float32)


def _as_array(samples: object) -> np.ndarray:
    if isinstance(samples, torch.Tensor):
        tensor = samples.detach().cpu()
        # NumPy has no bfloat16.
        return (tensor.float() if tensor.dtype == torch.bfloat16 else tensor).numpy()
    try:
        array = np.asarray(samples)
    except ValueError as error:  # rows of different lengths
        raise ShapeError("source", "a rectangular array of samples", error) from error
    if array.dtype.kind not in "iuf":
        raise InvalidArgumentError("source", "an array of real numbers", f"dtype {array.dtype}")
    if array.dtype.kind != "f" and not isinstance(samples, np.ndarray):
        raise InvalidArgumentError(
            "source", "integers in an array whose dtype tells their full scale", type(samples)
        )
    return array


def _channel_axis(shape: tuple[int, ...]) -> int:
    candidates = [axis for axis, size in enumerate(shape) if size <= _MAX_CHANNELS]
    if len(candidates) != 1:
        raise ShapeError(
            "source",
            f"one axis with at most {_MAX_CHANNELS} channels and a longer one of samples "
            "(or pass channel_axis)",
            f"shape {list(shape)}",
        )
    return candidates[0]


def _to_float(array: np.ndarray) -> np.ndarray:
    if array.dtype.kind == "f":
        return array
    half_range = 2.0 ** (8 * array.dtype.itemsize - 1)
    # float32 holds up to 16 bits exactly; wider integers go through float64.
    values = array.astype(np.result_type(array.dtype, np.float32))
    if array.dtype.kind == "u":
        values -= half_range
    return values / half_range
