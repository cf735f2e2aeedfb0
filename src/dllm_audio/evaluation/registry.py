"""The benchmarks by name."""

from __future__ import annotations

from ..errors import InvalidArgumentError
from .asr import ASR, LIBRISPEECH_CLEAN, LIBRISPEECH_OTHER
from .items import Benchmark
from .multiple_choice import MMAR, MMAU, MMSU, TOY
from .voicebench import SUBSETS, VoiceBench

_ALL: tuple[Benchmark, ...] = (
    MMSU,
    MMAU,
    MMAR,
    TOY,
    ASR,
    LIBRISPEECH_CLEAN,
    LIBRISPEECH_OTHER,
    *(VoiceBench(subset) for subset in SUBSETS),
)
BENCHMARKS: dict[str, Benchmark] = {benchmark.name: benchmark for benchmark in _ALL}


def get_benchmark(name: str) -> Benchmark:
    """The benchmark with this name.

    Raises:
        InvalidArgumentError: there is none; the message lists those that are.

    Example:
        >>> get_benchmark("mmsu").presets["diffa"]
        'diffa-mmsu'
    """
    if name not in BENCHMARKS:
        raise InvalidArgumentError("benchmark", f"one of {', '.join(BENCHMARKS)}", name)
    return BENCHMARKS[name]
