"""A recording of any length as windows that fit an encoder, in bounded memory."""

from __future__ import annotations

from collections.abc import Generator, Iterator
from dataclasses import dataclass, field

import torch
from torch import Tensor

from ..protocols import AudioSource
from .blocks import AudioBlocks
from .units import SAMPLING_RATE
from .windows import SEARCH_SECONDS, AudioWindow, CutRule


@dataclass(frozen=True, slots=True)
class HeardWindow(AudioWindow):
    """A stretch of a recording together with its sound.

    Attributes:
        waveform: float32 ``[end_sample - start_sample]``.
    """

    waveform: Tensor = field(kw_only=True, compare=False, repr=False)


class WindowStream(Iterator[HeardWindow]):
    """The windows of a recording, in order; see :func:`stream_windows`.

    Attributes:
        name: how errors call the recording.
        total_seconds: its length by the header, for a progress bar (of some MP3 files an
            estimate); None: not known.
    """

    def __init__(self, blocks: AudioBlocks, rule: CutRule, sampling_rate: int) -> None:
        self.name, self.total_seconds = blocks.name, blocks.total_seconds
        self._blocks = blocks
        self._windows = _windows(blocks, rule, sampling_rate)

    def __next__(self) -> HeardWindow:
        return next(self._windows)

    def close(self) -> None:
        """Stop here and close the file."""
        self._windows.close()
        self._blocks.close()


def stream_windows(
    source: AudioSource,
    window_seconds: float,
    *,
    search_seconds: float = SEARCH_SECONDS,
    sampling_rate: int = SAMPLING_RATE,
    allow_truncated: bool = False,
) -> WindowStream:
    """Hear a recording of any length window by window, in bounded memory.

    Windows are cut as :func:`cut_at_pauses` cuts the waveform that ``load_audio`` gives, but
    only one of them is in memory: the recording is decoded, mixed and resampled block by block.

    Args:
        source: what ``load_audio`` takes.
        window_seconds: no window is longer.
        search_seconds: how far before that limit a pause is looked for; at most half of
            ``window_seconds`` is used.
        sampling_rate: wanted rate in Hz.
        allow_truncated: go up to where a file ends early instead of raising.

    Returns:
        An iterator of windows with ``start`` and ``end`` in seconds and ``waveform`` float32
        ``[T]``; its ``total_seconds`` is the length by the header, or None.

    Raises:
        InvalidArgumentError, ShapeError, AudioError: as ``load_audio`` does; damage in the middle
            of a file is met, and raised, by the iteration.

    Example:
        >>> import numpy as np
        >>> recording = (np.zeros(50 * 8000, dtype=np.int16), 8000)
        >>> [(w.start, w.end, w.waveform.shape[0]) for w in stream_windows(recording, 30.0)]
        [(0.0, 29.98, 479680), (29.98, 50.0, 320320)]
    """
    blocks = AudioBlocks(source, sampling_rate, allow_truncated=allow_truncated)
    try:
        rule = CutRule(window_seconds, search_seconds, sampling_rate, "window_seconds")
    except BaseException:
        blocks.close()
        raise
    return WindowStream(blocks, rule, sampling_rate)


def _windows(
    blocks: AudioBlocks, rule: CutRule, sampling_rate: int
) -> Generator[HeardWindow, None, None]:
    # No default dtype or device of torch's has a say in what is heard.
    start, held = 0, torch.zeros(0, dtype=torch.float32, device="cpu")

    def window(length: int) -> HeardWindow:
        # A copy: a view would keep all that is held alive.
        sound = held[:length].clone()
        return HeardWindow(start, start + length, sampling_rate, waveform=sound)

    pieces: list[Tensor] = []
    count = 0  # samples held and in pieces
    for block in blocks:
        pieces.append(torch.from_numpy(block))
        count += len(block)
        if count <= rule.longest:
            continue
        held, pieces = torch.cat([held, *pieces]), []
        # A window is cut only where more follows; the last one ends with the recording.
        while count > rule.longest:
            length = rule.cut(held[: rule.longest])
            yield window(length)
            start, held, count = start + length, held[length:], count - length
    held = torch.cat([held, *pieces])
    yield window(count)
