"""Timing of a call: warm-up, repetitions, the device's own clock, peak memory."""

from __future__ import annotations

import contextlib
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch

LONG = 5.0


@dataclass(frozen=True)
class Timing:
    """Seconds of each repetition and the memory that the call needed at most.

    Attributes:
        seconds: one entry per repetition.
        peak_bytes: of device memory (CUDA) or of the process (CPU, Linux); None if unknown.
    """

    seconds: list[float]
    peak_bytes: int | None = None

    @property
    def median(self) -> float:
        """Median of the repetitions."""
        return statistics.median(self.seconds)


def measure(
    call: Callable[[], object],
    device: torch.device,
    *,
    repeats: int = 5,
    warmup: Callable[[], object] | None = None,
) -> Timing:
    """Time ``call``.

    A warm-up that takes longer than ``LONG`` seconds counts as a repetition: what it warms up is
    small against that.

    Args:
        call: what is timed.
        device: where it computes; CUDA is timed with events.
        repeats: timed calls.
        warmup: what runs once before, and never counts; None runs ``call`` itself.
    """
    first = _once(warmup or call, device)
    _reset_peak(device)
    seconds = [first] if warmup is None and first > LONG else []
    seconds += [_once(call, device) for _ in range(repeats - len(seconds))]
    return Timing(seconds, _peak(device))


def _once(call: Callable[[], object], device: torch.device) -> float:
    if device.type == "cuda":
        begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        torch.cuda.synchronize(device)
        begin.record()
        call()
        end.record()
        end.synchronize()
        return begin.elapsed_time(end) / 1e3
    begin_time = time.perf_counter()
    call()
    return time.perf_counter() - begin_time


def _reset_peak(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
    else:
        with contextlib.suppress(OSError):  # Linux only, and not in every container
            Path("/proc/self/clear_refs").write_text("5")


def _peak(device: torch.device) -> int | None:
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    with contextlib.suppress(OSError, StopIteration):
        lines = Path("/proc/self/status").read_text().splitlines()
        line = next(line for line in lines if line.startswith("VmHWM"))
        return int(line.split()[1]) * 1024
    return None
