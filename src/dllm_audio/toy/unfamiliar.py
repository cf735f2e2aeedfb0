"""What lies outside the toy world: sounds, music and silence that it has no name for.

Training and held-out clips draw from different kinds, so that what is measured is whether a model
says "unknown" of what it has never heard.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.random import Generator

from .signals import SAMPLING_RATE, Signal, add_at, band, normalize, seconds, tone


def silence(rng: Generator, duration: float) -> Signal:
    """Nothing, or next to nothing: a faint hiss 50 to 80 dB down."""
    faint = rng.standard_normal(len(seconds(duration))) * 10 ** (-rng.uniform(50, 80) / 20)
    return (faint * (rng.random() < 0.7)).astype(np.float32)


def sweeps(rng: Generator, duration: float) -> Signal:
    """A tone that glides one way across octaves, again and again."""
    time = seconds(duration)
    saw = (time * rng.uniform(1.0, 3.0)) % 1.0
    if rng.random() < 0.5:
        saw = 1 - saw
    phase = np.cumsum(rng.uniform(150, 300) * 2 ** (saw * rng.uniform(2.5, 3.5)))
    return normalize(np.sin(2 * np.pi * phase / SAMPLING_RATE))


def sawing(rng: Generator, duration: float) -> Signal:
    """Rough strokes of noise to and fro."""
    time = seconds(duration)
    stroke = np.abs(np.sin(np.pi * rng.uniform(1.5, 3.5) * time)) ** rng.uniform(0.5, 1.5)
    teeth = 1 + np.sign(np.sin(2 * np.pi * rng.uniform(80, 160) * time))
    return normalize(band(rng.standard_normal(len(time)), 900, 4500) * stroke * teeth)


def hum(rng: Generator, duration: float) -> Signal:
    """A steady chord of a transformer's harmonics."""
    time, base = seconds(duration), float(rng.choice([50.0, 60.0]))
    strength = rng.exponential(1.0, 8)
    numbers = np.arange(2, 10)[:, None]
    return normalize(strength @ np.sin(2 * np.pi * base * numbers * time))


def whirring(rng: Generator, duration: float) -> Signal:
    """Blades that beat the air, slower than an engine turns."""
    time = seconds(duration)
    beat = np.exp(3 * np.sin(2 * np.pi * rng.uniform(9, 16) * time) - 3)
    return normalize(band(rng.standard_normal(len(time)), 80, rng.uniform(1200, 2600)) * beat)


def rattling(rng: Generator, duration: float) -> Signal:
    """Many small hard clicks without a pace."""
    samples = len(seconds(duration))
    hits = np.zeros(samples)
    at = rng.integers(0, samples, int(duration * rng.uniform(12, 22)))
    hits[at] = rng.uniform(0.3, 1.0, len(at))
    time = seconds(0.03)
    knock = np.sin(2 * np.pi * rng.uniform(1200, 2800) * time) * np.exp(-time * 160)
    return normalize(np.convolve(hits, knock)[:samples])


def mosquito(rng: Generator, duration: float) -> Signal:
    """A thin whine that wavers."""
    time = seconds(duration)
    waver = 1 + 0.08 * np.sin(2 * np.pi * rng.uniform(3, 7) * time) * np.sin(2 * np.pi * 0.7 * time)
    phase = np.cumsum(rng.uniform(380, 700) * waver) / SAMPLING_RATE
    overtones = [np.sin(2 * np.pi * n * phase) / n for n in range(1, 6)]
    return normalize(sum(overtones, np.zeros_like(phase)))


def horn(rng: Generator, duration: float) -> Signal:
    """One long blast of two pitches."""
    time = seconds(duration)
    base = rng.uniform(280, 420)
    wave = sum(
        np.tanh(3 * np.sin(2 * np.pi * base * ratio * time)) for ratio in (1, rng.uniform(1.2, 1.5))
    )
    return normalize(wave * (time > 0.1 * duration) * (time < rng.uniform(0.5, 0.9) * duration))


def drumming(rng: Generator, duration: float) -> Signal:
    """A pattern of a low and a high drum."""
    signal = np.zeros(len(seconds(duration)))
    step = rng.uniform(0.11, 0.2)
    pattern = rng.choice([0, 1, 2], 8, p=[0.4, 0.35, 0.25])
    for number in range(int(duration / step)):
        kind = pattern[number % 8]
        time = seconds(0.15)
        low = np.sin(2 * np.pi * 70 * time * (1 + np.exp(-time * 30))) * np.exp(-time * 18)
        high = rng.standard_normal(len(time)) * np.exp(-time * 45)
        hit = (np.zeros_like(time), low, 0.5 * high)[kind]
        add_at(signal, int(number * step * SAMPLING_RATE), hit)
    return normalize(signal)


def tune(rng: Generator, duration: float) -> Signal:
    """Notes of a scale in any order, which neither rise nor fall as a whole."""
    scale = np.array([0, 2, 4, 5, 7, 9, 11, 12, 14])
    root, length = rng.uniform(180, 420), rng.uniform(0.16, 0.4)
    harmonics = rng.uniform(0.2, 1.0, 5) / np.arange(1, 6)
    place, notes = int(rng.integers(2, 7)), []
    for _ in range(max(int(duration / length), 3)):
        place = int(np.clip(place + rng.choice([-2, -1, 0, 1, 2, 3, -3]), 0, len(scale) - 1))
        frequency = root * 2 ** (scale[place] / 12)
        notes.append(tone(frequency, length, harmonics, rng.uniform(0.5, 5)))
    return normalize(np.concatenate(notes)[: len(seconds(duration))])


def chords(rng: Generator, duration: float) -> Signal:
    """Chords of three and four notes, one after another."""
    length = rng.uniform(0.5, 1.1)
    harmonics = rng.uniform(0.2, 1.0, 4) / np.arange(1, 5)
    pieces = []
    for _ in range(max(int(duration / length), 2)):
        root = 130 * 2 ** (rng.integers(0, 12) / 12)
        steps = rng.choice([[0, 4, 7], [0, 3, 7], [0, 5, 9], [0, 4, 10]])
        pieces.append(sum(tone(root * 2 ** (s / 12), length, harmonics, 1.5) for s in steps))
    return normalize(np.concatenate(pieces)[: len(seconds(duration))])


Kind = Callable[[Generator, float], Signal]
SOUNDS: dict[str, dict[str, Kind]] = {
    "train": {
        "sweeps": sweeps,
        "sawing": sawing,
        "hum": hum,
        "whirring": whirring,
        "mosquito": mosquito,
        "drumming": drumming,
    },
    "heldout": {"rattling": rattling, "horn": horn},
}
MUSIC: dict[str, dict[str, Kind]] = {
    "train": {"tune": tune, "drumming": drumming},
    "heldout": {"chords": chords, "tune": tune},
}
