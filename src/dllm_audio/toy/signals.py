"""What sounds and melodies are made of: noise, bands, tones, as float32 ``[T]``.

Every function draws its details from ``rng``; nothing else is random.
"""

from __future__ import annotations

import numpy as np
from numpy.random import Generator

SAMPLING_RATE = 16_000

Signal = np.ndarray


def seconds(duration: float) -> np.ndarray:
    """Time axis ``[T]`` of a clip of ``duration`` seconds."""
    return np.arange(int(duration * SAMPLING_RATE)) / SAMPLING_RATE


def fast_length(samples: int) -> int:
    """A length >= ``samples`` whose Fourier transform is cheap (primes are not)."""
    return -(-samples // 2048) * 2048


def colored_noise(rng: Generator, samples: int, slope: float) -> Signal:
    """Noise whose amplitude spectrum falls as ``f ** -slope`` (0 white, 0.5 pink, 1 brown)."""
    spectrum = np.fft.rfft(rng.standard_normal(fast_length(samples)))
    frequency = np.maximum(np.arange(len(spectrum)), 1.0)
    return normalize(np.fft.irfft(spectrum * frequency**-slope)[:samples])


def band(signal: Signal, low: float, high: float) -> Signal:
    """Keep ``low..high`` Hz (ideal filter)."""
    size = fast_length(len(signal))
    spectrum = np.fft.rfft(signal, size)
    frequency = np.fft.rfftfreq(size, 1 / SAMPLING_RATE)
    spectrum[(frequency < low) | (frequency > high)] = 0
    return np.fft.irfft(spectrum, size)[: len(signal)]


def normalize(signal: Signal, peak: float = 1.0) -> Signal:
    """Scale to a peak of ``peak``; silence stays silent."""
    return (signal * (peak / max(float(np.abs(signal).max()), 1e-9))).astype(np.float32)


def add_at(signal: Signal, at: int, sound: Signal) -> None:
    """Add ``sound`` from sample ``at`` on, in place; what lies beyond the end is left out."""
    part = signal[at : at + len(sound)]
    part += sound[: len(part)]


def tone(frequency: float, duration: float, harmonics: np.ndarray, decay: float) -> Signal:
    """A note with the given harmonic amplitudes, a 10 ms attack and an exponential decay."""
    time = seconds(duration)
    numbers = np.arange(1, len(harmonics) + 1)
    audible = harmonics * (frequency * numbers < 0.47 * SAMPLING_RATE)
    wave = audible @ np.sin(2 * np.pi * frequency * numbers[:, None] * time)
    edge = np.minimum(1.0, np.minimum(time, time[-1] - time) / 0.01)
    return wave * np.exp(-decay * time) * edge
