"""What every front end asks of the waveforms that it is given."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from ..errors import AudioTooLongError, EmptyAudioError, InvalidArgumentError, ShapeError


def checked_waveforms(
    waveforms: Sequence[Tensor], window: int | None, sampling_rate: int, *, crop: bool = False
) -> list[Tensor]:
    """The waveforms of a batch as float32, none longer than the window.

    Args:
        waveforms: one floating point ``[T]`` per item, ``T >= 1``, all on one device.
        window: most samples that an encoder hears; None: any number.
        sampling_rate: for the error's seconds.
        crop: keep the beginning of a longer clip instead of raising.

    Raises:
        InvalidArgumentError: not a non-empty list of floating point tensors on one device.
        ShapeError: a waveform that is not ``[T]``.
        EmptyAudioError: a waveform without samples.
        AudioTooLongError: a waveform longer than the window, unless ``crop``.
    """
    if isinstance(waveforms, Tensor) or not isinstance(waveforms, Sequence) or not waveforms:
        got = type(waveforms).__name__ if not isinstance(waveforms, Sequence) else "none"
        raise InvalidArgumentError("waveforms", "a list of at least one tensor", got)
    items = []
    for index, waveform in enumerate(waveforms):
        name = f"waveforms[{index}]"
        if not isinstance(waveform, Tensor) or not waveform.is_floating_point():
            got = getattr(waveform, "dtype", type(waveform).__name__)
            raise InvalidArgumentError(name, "a floating point tensor", got)
        if waveform.dim() != 1:
            raise ShapeError(name, "shape [T], mono", list(waveform.shape))
        if waveform.device != waveforms[0].device:
            raise InvalidArgumentError(name, f"device {waveforms[0].device}", waveform.device)
        if not len(waveform):
            raise EmptyAudioError(f"{name}: holds no samples")
        if window is not None and len(waveform) > window and not crop:
            raise AudioTooLongError(
                f"{name}: expected at most {window / sampling_rate:g} s, got "
                f"{len(waveform) / sampling_rate:.2f} s; pass crop=True to keep the beginning, "
                "or cut it into windows first"
            )
        items.append(waveform[:window].float())
    return items
