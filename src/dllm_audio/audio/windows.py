"""Cut a long recording at pauses into windows that fit an encoder."""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import pairwise

from torch import Tensor

from ..errors import EmptyAudioError, InvalidArgumentError, NonFiniteAudioError, ShapeError
from .units import CHUNK_LENGTH, SAMPLING_RATE

_ENERGY_SECONDS = 0.04  # a pause is judged over this span ...
_ENERGY_HOP_SECONDS = 0.01  # ... at every such step


@dataclass(frozen=True, slots=True)
class AudioWindow:
    """A half-open stretch of a recording.

    Attributes:
        start_sample: first sample.
        end_sample: one after the last sample.
        sampling_rate: samples per second.
    """

    start_sample: int
    end_sample: int
    sampling_rate: int = SAMPLING_RATE

    @property
    def start(self) -> float:
        """Start in seconds."""
        return self.start_sample / self.sampling_rate

    @property
    def end(self) -> float:
        """End in seconds."""
        return self.end_sample / self.sampling_rate

    def cut(self, waveform: Tensor) -> Tensor:
        """The samples ``[T']`` of this window, a view into ``waveform [T]``."""
        return waveform[self.start_sample : self.end_sample]


def cut_at_pauses(
    waveform: Tensor,
    max_seconds: float = CHUNK_LENGTH,
    *,
    search_seconds: float = 5.0,
    sampling_rate: int = SAMPLING_RATE,
) -> list[AudioWindow]:
    """Cut a waveform into windows of bounded length, each cut in the quietest place near its end.

    The windows follow one another without gap or overlap and cover everything.  A cut lies in
    the middle of the 40 ms with the least energy among the last ``search_seconds`` of the
    longest window possible; of equally quiet places the latest.

    Args:
        waveform: floating point ``[T]``.
        max_seconds: no window is longer.
        search_seconds: how far before that limit a pause is looked for; at most half of
            ``max_seconds`` is used.
        sampling_rate: of the waveform, in Hz.

    Returns:
        At least one window, in order.

    Raises:
        ShapeError: the waveform is not ``[T]``.
        EmptyAudioError: the waveform holds no samples.
        NonFiniteAudioError: NaN or infinite samples.
        InvalidArgumentError: a length or rate is out of range.

    Example:
        >>> import torch
        >>> [(w.start, w.end) for w in cut_at_pauses(torch.zeros(50 * 16000), 30.0)]
        [(0.0, 29.98), (29.98, 50.0)]
    """
    longest = _check(waveform, max_seconds, search_seconds, sampling_rate)
    search = min(round(search_seconds * sampling_rate), longest // 2)
    span = max(round(_ENERGY_SECONDS * sampling_rate), 1)
    hop = max(round(_ENERGY_HOP_SECONDS * sampling_rate), 1)
    total = len(waveform)
    edges = [0]
    while total - edges[-1] > longest:
        limit = edges[-1] + longest
        edges.append(_quietest(waveform[limit - search : limit], span, hop) + limit - search)
    edges.append(total)
    return [AudioWindow(start, end, sampling_rate) for start, end in pairwise(edges)]


def _check(waveform: Tensor, max_seconds: float, search_seconds: float, sampling_rate: int) -> int:
    """Check the arguments and return the longest window in samples."""
    if not isinstance(waveform, Tensor) or not waveform.is_floating_point():
        got = getattr(waveform, "dtype", type(waveform).__name__)
        raise InvalidArgumentError("waveform", "a floating point tensor", got)
    if waveform.dim() != 1:
        raise ShapeError("waveform", "shape [T], mono", list(waveform.shape))
    if not len(waveform):
        raise EmptyAudioError("waveform: holds no samples")
    if not waveform.isfinite().all():
        raise NonFiniteAudioError("waveform: holds NaN or infinite samples")
    if sampling_rate < 1:
        raise InvalidArgumentError("sampling_rate", "a rate in Hz >= 1", sampling_rate)
    if not math.isfinite(max_seconds) or math.floor(max_seconds * sampling_rate) < 1:
        raise InvalidArgumentError("max_seconds", "at least one sample", max_seconds)
    if not math.isfinite(search_seconds) or search_seconds < 0:
        raise InvalidArgumentError("search_seconds", "seconds >= 0", search_seconds)
    return math.floor(max_seconds * sampling_rate)


def _quietest(region: Tensor, span: int, hop: int) -> int:
    """Middle of the latest stretch of ``span`` samples with the least energy; the end if none."""
    if len(region) < span:
        return len(region)
    # float64, so that no energy overflows; counted from the end, so that the end is a candidate.
    energy = region.flip(0).double().square().unfold(0, span, hop).sum(dim=-1)
    latest = int((energy == energy.min()).nonzero()[0])
    return len(region) - latest * hop - span // 2
