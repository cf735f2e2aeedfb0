"""Synthesized sounds and melodies, as float32 ``[T]`` with a peak near 1.

Every function draws its details from ``rng``; nothing else is random.
"""

from __future__ import annotations

from collections.abc import Callable

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


def tone(frequency: float, duration: float, harmonics: np.ndarray, decay: float) -> Signal:
    """A note with the given harmonic amplitudes, a 10 ms attack and an exponential decay."""
    time = seconds(duration)
    numbers = np.arange(1, len(harmonics) + 1)
    audible = harmonics * (frequency * numbers < 0.47 * SAMPLING_RATE)
    wave = audible @ np.sin(2 * np.pi * frequency * numbers[:, None] * time)
    edge = np.minimum(1.0, np.minimum(time, time[-1] - time) / 0.01)
    return wave * np.exp(-decay * time) * edge


def rain(rng: Generator, duration: float) -> Signal:
    """Bright steady noise with single drops."""
    samples = len(seconds(duration))
    drops = np.zeros(samples)
    at = rng.integers(0, samples, int(duration * rng.uniform(25, 70)))
    drops[at] = rng.exponential(1.0, len(at))
    splash = np.exp(-seconds(0.006) * 900) * rng.standard_normal(len(seconds(0.006)))
    hiss = band(rng.standard_normal(samples), rng.uniform(700, 1500), 7500)
    return normalize(hiss + 2.0 * np.convolve(drops, splash)[:samples])


def wind(rng: Generator, duration: float) -> Signal:
    """Dull noise that swells and fades."""
    time = seconds(duration)
    noise = band(rng.standard_normal(len(time)), 60, rng.uniform(350, 700))
    swell = 0.55 + 0.45 * np.sin(
        2 * np.pi * rng.uniform(0.3, 0.9) * time + rng.uniform(0, 2 * np.pi)
    )
    return normalize(noise * swell)


def siren(rng: Generator, duration: float) -> Signal:
    """A tone that glides up and down."""
    time = seconds(duration)
    middle, swing = rng.uniform(700, 1100), rng.uniform(0.2, 0.4)
    glide = np.sin(2 * np.pi * rng.uniform(0.6, 1.6) * time + rng.uniform(0, 2 * np.pi))
    phase = 2 * np.pi * np.cumsum(middle * (1 + swing * glide)) / SAMPLING_RATE
    return normalize(np.sin(phase) + 0.3 * np.sin(2 * phase) + 0.1 * np.sin(3 * phase))


def engine(rng: Generator, duration: float) -> Signal:
    """A low buzz of many harmonics with a rough edge."""
    time = seconds(duration)
    pitch = rng.uniform(45, 90) * (1 + 0.05 * np.sin(2 * np.pi * rng.uniform(0.2, 0.6) * time))
    phase = np.cumsum(pitch) / SAMPLING_RATE
    buzz = band(2 * (phase % 1.0) - 1, 30, rng.uniform(900, 1800))
    rough = band(rng.standard_normal(len(time)), 50, 1200) * (1 + np.sin(2 * np.pi * phase))
    return normalize(buzz + 0.25 * rough)


def ticking(rng: Generator, duration: float) -> Signal:
    """Short, sharp clicks at an even pace of 3 to 5 a second."""
    length = seconds(0.012)
    click = np.exp(-length * 600) * np.sin(2 * np.pi * rng.uniform(2500, 4500) * length)
    signal = np.zeros(len(seconds(duration)) + len(click))
    period = int(SAMPLING_RATE / rng.uniform(3, 5))
    for number, start in enumerate(range(int(rng.uniform(0, period)), len(signal), period)):
        part = signal[start : start + len(click)]
        part += (1.0 if number % 2 else 0.7) * click[: len(part)]
    return normalize(signal[: len(seconds(duration))])


def beep(rng: Generator) -> Signal:
    """One steady electronic beep."""
    harmonics = np.array([1.0, rng.uniform(0, 0.3), rng.uniform(0, 0.2)])
    return tone(rng.uniform(900, 2200), rng.uniform(0.12, 0.2), harmonics, 0.0)


def knock(rng: Generator) -> Signal:
    """One dull knock on wood."""
    time = seconds(0.12)
    body = np.sin(2 * np.pi * rng.uniform(140, 260) * time) * np.exp(-time * rng.uniform(35, 55))
    snap = rng.standard_normal(len(time)) * np.exp(-time * 300)
    return body + 0.5 * snap


def bell(rng: Generator) -> Signal:
    """One stroke of a bell: slightly inharmonic partials that ring on."""
    time = seconds(0.6)
    base = rng.uniform(450, 800)
    ratios = np.array([1.0, 2.0, 2.76, 4.07, 5.4])
    decays = np.array([3.0, 4.0, 6.0, 8.0, 10.0])[:, None]
    partials = np.sin(2 * np.pi * base * ratios[:, None] * time) * np.exp(-decays * time)
    fade = np.minimum(1.0, (time[-1] - time) / 0.02)
    return np.array([0.8, 1.0, 0.7, 0.5, 0.3]) @ partials * fade


TEXTURES: dict[str, Callable[[Generator, float], Signal]] = {
    "rain": rain,
    "wind": wind,
    "siren": siren,
    "engine": engine,
    "ticking": ticking,
}
STROKES: dict[str, Callable[[Generator], Signal]] = {
    "beeping": beep,
    "knocking": knock,
    "bell": bell,
}
EVENTS = (*TEXTURES, *STROKES)


def repeat(rng: Generator, event: str, count: int, duration: float) -> Signal:
    """``count`` strokes of one kind with uneven gaps, spread so that length tells no count."""
    stroke = STROKES[event](np.random.default_rng(rng.integers(2**32)))
    signal = np.zeros(max(len(seconds(duration)), len(stroke)))
    slot = (len(signal) - len(stroke)) / 5
    starts = np.sort(rng.choice(5, count, replace=False)) * slot
    for start in starts + rng.uniform(0, 0.35 * slot, count):
        signal[int(start) : int(start) + len(stroke)] += rng.uniform(0.7, 1.0) * stroke
    return normalize(signal)


def melody(rng: Generator, contour: str, mode: str, tempo: str) -> Signal:
    """A broken triad that rises or falls, major or minor, in slow or fast notes.

    It starts from one of five keys, a whole tone apart, above 440 Hz (lower down, mel filters
    hardly tell a major from a minor third).  Fast melodies have twice the notes, so that the length
    of the clip does not tell the tempo.
    """
    fast = tempo == "fast"
    third = 4 if mode == "major" else 3
    steps = [0, third, 7, 12] + ([12 + third, 19, 24, 24 + third] if fast else [])
    if contour == "falling":
        steps.reverse()
    root = 440.0 * 2 ** (rng.integers(0, 5) / 6 + rng.uniform(-0.005, 0.005))
    length = rng.uniform(0.19, 0.24) if fast else rng.uniform(0.4, 0.48)
    harmonics = rng.uniform(0.3, 1.0, 5) / np.arange(1, 6) ** rng.uniform(0.8, 1.6)
    decay = rng.uniform(0.5, 4.0)
    notes = [tone(root * 2 ** (step / 12), length, harmonics, decay) for step in steps]
    return normalize(np.concatenate(notes))
