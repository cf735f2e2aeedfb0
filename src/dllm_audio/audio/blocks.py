"""Any source of sound as mono blocks at one rate: decoded, mixed and resampled one by one."""

from __future__ import annotations

import math
import numbers
import os
from collections.abc import Iterable, Iterator, Mapping
from itertools import groupby
from operator import itemgetter
from types import TracebackType

import numpy as np

from ..errors import (
    EmptyAudioError,
    InvalidArgumentError,
    MissingDependencyError,
    NonFiniteAudioError,
)
from ..protocols import AudioSource
from .arrays import mix, samples_by_channel
from .joined import JoinedSounds
from .units import MAX_RATE, MIN_RATE

_Block = tuple[float, np.ndarray]  # rate in Hz, and samples
_ARRAY_BLOCK = 1 << 16  # samples of an array that are mixed and resampled at once


class AudioBlocks:
    """A sound that is heard block by block, once; memory does not depend on its length.

    Blocks are float32 ``[t]``, mono, finite, at the wanted rate and not empty.  Resampling goes
    on from block to block: joined they equal the whole sound resampled at once.

    Args:
        source: what :func:`dllm_audio.load_audio` takes.
        sampling_rate: wanted rate in Hz.
        channel_axis: axis of the channels of an array; None: found from its shape.
        allow_truncated: go up to where a file ends early instead of raising.

    Attributes:
        name: how errors call the source.
        total_seconds: length by the header (of some MP3 files an estimate); None: not known,
            as of a file of several sounds.

    Raises:
        InvalidArgumentError, ShapeError, AudioError: as :func:`dllm_audio.load_audio` does; what
            only decoding tells is raised by the iteration.
    """

    def __init__(
        self,
        source: AudioSource,
        sampling_rate: float,
        *,
        channel_axis: int | None = None,
        allow_truncated: bool = False,
    ) -> None:
        self._target = check_rate("sampling_rate", sampling_rate)
        self._file: JoinedSounds | None = None
        if channel_axis not in (None, 0, 1, -1, -2):
            raise InvalidArgumentError("channel_axis", "0, 1, -1, -2 or None", channel_axis)
        if isinstance(source, Mapping):
            source = _from_mapping(source)
        if isinstance(source, tuple):
            if len(source) != 2:
                raise InvalidArgumentError("source", "(array, rate)", f"{len(source)} entries")
            self.name = "source"
            rate = check_rate("source rate", source[1])
            samples = samples_by_channel(source[0], channel_axis)
            self.total_seconds: float | None = len(samples) / rate
            self._decoded: Iterator[_Block] = (
                (rate, samples[start : start + _ARRAY_BLOCK])
                for start in range(0, len(samples), _ARRAY_BLOCK)
            )
        else:
            self._file = JoinedSounds(source, allow_truncated)
            self.name, self.total_seconds = self._file.name, self._file.total_seconds
            self._decoded = self._file.blocks()

    def __iter__(self) -> Iterator[np.ndarray]:
        heard = 0
        with self:
            for block in _resampled(self._mono(), self._target):
                heard += len(block)
                if len(block):
                    yield block
        if not heard:
            raise EmptyAudioError(
                f"{self.name}: too short to hold one sample at {self._target:g} Hz"
            )

    def __enter__(self) -> AudioBlocks:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the file, where it was opened here."""
        if self._file is not None:
            self._file.close()

    def _mono(self) -> Iterator[_Block]:
        start = 0.0
        for rate, block in self._decoded:
            mono = mix(block)
            if not np.isfinite(mono).all():
                count = int((~np.isfinite(mono)).sum())
                raise NonFiniteAudioError(
                    f"{self.name}: {count} of {mono.size} samples from "
                    f"{start:.2f} s on are NaN, infinite or beyond float32"
                )
            start += len(mono) / rate
            yield rate, mono


def check_rate(argument: str, rate: object) -> float:
    """A rate in Hz that a sound may have.

    Raises:
        InvalidArgumentError: it is none.
    """
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


def _resampled(blocks: Iterable[_Block], target: float) -> Iterator[np.ndarray]:
    """Blocks at one rate; sounds of one rate that follow one another are resampled as one."""
    for rate, run in groupby(blocks, key=itemgetter(0)):
        same_rate = map(itemgetter(1), run)
        yield from same_rate if rate == target else _resampled_run(same_rate, rate, target)


def _resampled_run(
    blocks: Iterable[np.ndarray], rate: float, target: float
) -> Iterator[np.ndarray]:
    try:
        import soxr
    except ImportError as error:
        raise MissingDependencyError("soxr", "resampling audio") from error
    stream = soxr.ResampleStream(rate, target, 1, dtype="float32")
    for block in blocks:
        yield stream.resample_chunk(block)
    yield stream.resample_chunk(np.zeros(0, dtype=np.float32), last=True)
