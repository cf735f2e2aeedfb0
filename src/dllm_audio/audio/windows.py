"""Cut a long recording at pauses into windows that fit an encoder."""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import pairwise

from torch import Tensor

from ..errors import EmptyAudioError, InvalidArgumentError, NonFiniteAudioError, ShapeError
from .units import CHUNK_LENGTH, SAMPLING_RATE

SEARCH_SECONDS = 5.0  # how far before its limit a window looks for a pause
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
    search_seconds: float = SEARCH_SECONDS,
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
    _check_waveform(waveform)
    rule = CutRule(max_seconds, search_seconds, sampling_rate)
    total = len(waveform)
    edges = [0]
    while total - edges[-1] > rule.longest:
        edges.append(edges[-1] + rule.cut(waveform[edges[-1] : edges[-1] + rule.longest]))
    edges.append(total)
    return [AudioWindow(start, end, sampling_rate) for start, end in pairwise(edges)]


class CutRule:
    """Where a window ends of which more follows.

    Args:
        max_seconds: no window is longer.
        search_seconds: how far before that limit a pause is looked for.
        sampling_rate: in Hz.
        argument: how errors call ``max_seconds``.

    Attributes:
        longest: samples of the longest window.

    Raises:
        InvalidArgumentError: a length or rate is out of range.
    """

    def __init__(
        self,
        max_seconds: float,
        search_seconds: float,
        sampling_rate: int,
        argument: str = "max_seconds",
    ) -> None:
        if sampling_rate < 1:
            raise InvalidArgumentError("sampling_rate", "a rate in Hz >= 1", sampling_rate)
        if not math.isfinite(max_seconds) or math.floor(max_seconds * sampling_rate) < 1:
            raise InvalidArgumentError(argument, "at least one sample", max_seconds)
        if not math.isfinite(search_seconds) or search_seconds < 0:
            raise InvalidArgumentError("search_seconds", "seconds >= 0", search_seconds)
        self.longest = math.floor(max_seconds * sampling_rate)
        self._search = min(round(search_seconds * sampling_rate), self.longest // 2)
        self._span = max(round(_ENERGY_SECONDS * sampling_rate), 1)
        self._hop = max(round(_ENERGY_HOP_SECONDS * sampling_rate), 1)

    def cut(self, stretch: Tensor) -> int:
        """Samples of the window, given the ``longest`` samples from its start on."""
        earliest = len(stretch) - self._search
        return earliest + _quietest(stretch[earliest:], self._span, self._hop)


def _check_waveform(waveform: Tensor) -> None:
    if not isinstance(waveform, Tensor) or not waveform.is_floating_point():
        got = getattr(waveform, "dtype", type(waveform).__name__)
        raise InvalidArgumentError("waveform", "a floating point tensor", got)
    if waveform.dim() != 1:
        raise ShapeError("waveform", "shape [T], mono", list(waveform.shape))
    if not len(waveform):
        raise EmptyAudioError("waveform: holds no samples")
    if not waveform.isfinite().all():
        raise NonFiniteAudioError("waveform: holds NaN or infinite samples")


def _quietest(region: Tensor, span: int, hop: int) -> int:
    """Middle of the latest stretch of ``span`` samples with the least energy; the end if none."""
    if len(region) < span:
        return len(region)
    # float64, so that no energy overflows; counted from the end, so that the end is a candidate.
    energy = region.flip(0).double().square().unfold(0, span, hop).sum(dim=-1)
    latest = int((energy == energy.min()).nonzero()[0])
    return len(region) - latest * hop - span // 2
