"""Perturbations of clips that keep what the questions ask for.

Speech that a model learns from must cover voices and microphones it has never heard: speed and
pitch (resampling), the color of the channel, telephone bandwidth, rooms, noise and level.
"""

from __future__ import annotations

import numpy as np
from numpy.random import Generator

from .signals import SAMPLING_RATE, band, colored_noise, fast_length, normalize


def change_speed(signal: np.ndarray, factor: float) -> np.ndarray:
    """Play ``factor`` times as fast: shorter and higher (linear interpolation)."""
    positions = np.arange(0, len(signal) - 1, factor)
    return np.interp(positions, np.arange(len(signal)), signal).astype(np.float32)


def equalize(rng: Generator, signal: np.ndarray, strength_db: float) -> np.ndarray:
    """Apply a smooth random gain curve over log-frequency, up to about ``strength_db``."""
    size = fast_length(len(signal))
    spectrum = np.fft.rfft(signal, size)
    octaves = np.log2(np.fft.rfftfreq(size, 1 / SAMPLING_RATE)[1:])
    knots = np.linspace(np.log2(80), np.log2(8000), 7)
    gains = rng.uniform(-strength_db, strength_db, len(knots))
    spectrum[1:] *= 10 ** (np.interp(octaves, knots, gains) / 20)
    return np.fft.irfft(spectrum, size)[: len(signal)].astype(np.float32)


def reverberate(rng: Generator, signal: np.ndarray) -> np.ndarray:
    """Add a short room: an exponentially fading noise tail."""
    time = np.arange(int(0.2 * SAMPLING_RATE)) / SAMPLING_RATE
    tail = rng.standard_normal(len(time)) * np.exp(-time / rng.uniform(0.02, 0.06))
    tail *= rng.uniform(0.1, 0.35) / np.sqrt((tail**2).sum())
    tail[0] = 1.0
    size = fast_length(len(signal) + len(tail))
    wet = np.fft.irfft(np.fft.rfft(signal, size) * np.fft.rfft(tail, size), size)
    return wet[: len(signal)].astype(np.float32)


def telephone(rng: Generator, signal: np.ndarray) -> np.ndarray:
    """Limit the bandwidth to that of 8 kHz recordings."""
    return band(signal, rng.uniform(0, 200), rng.uniform(3300, 4000)).astype(np.float32)


def channel(rng: Generator, signal: np.ndarray, strong: bool) -> np.ndarray:
    """A random microphone and room; ``strong`` ones are further from the original."""
    if rng.random() < (0.9 if strong else 0.5):
        signal = equalize(rng, signal, 12.0 if strong else 6.0)
    if rng.random() < (0.5 if strong else 0.2):
        signal = telephone(rng, signal)
    if rng.random() < (0.35 if strong else 0.15):
        signal = reverberate(rng, signal)
    return signal


def mix(signal: np.ndarray, other: np.ndarray, snr_db: float) -> np.ndarray:
    """Add ``other`` (cut or repeated to fit) at a ratio of powers over the loud parts."""
    other = np.resize(other, len(signal))
    ratio = loud_power(signal) / max(loud_power(other), 1e-12)
    return (signal + other * np.sqrt(ratio / 10 ** (snr_db / 10))).astype(np.float32)


def loud_power(signal: np.ndarray) -> float:
    """Mean power of the loudest half of the 20 ms frames."""
    hop = min(SAMPLING_RATE // 50, len(signal))
    frames = np.square(signal[: len(signal) // hop * hop]).reshape(-1, hop)
    power = np.sort(frames.mean(axis=1))
    return float(power[len(power) // 2 :].mean())


def add_noise(rng: Generator, signal: np.ndarray, snr_db: float) -> np.ndarray:
    """Add white to brown noise at ``snr_db``."""
    return mix(signal, colored_noise(rng, len(signal), rng.uniform(0.0, 0.9)), snr_db)


def set_level(rng: Generator, signal: np.ndarray) -> np.ndarray:
    """Scale to a random peak between -26 dB and 0 dB."""
    return normalize(signal, 10 ** (rng.uniform(-26, -0.5) / 20))
