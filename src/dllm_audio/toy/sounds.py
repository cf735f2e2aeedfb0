"""Sounds of the toy world: textures that last, and strokes that can be counted.

Every function draws its details from ``rng``; a texture fills a duration in seconds.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.random import Generator

from .signals import SAMPLING_RATE, Signal, add_at, band, normalize, seconds, tone


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
        add_at(signal, start, (1.0 if number % 2 else 0.7) * click)
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


def crickets(rng: Generator, duration: float) -> Signal:
    """High trills of a few pulses, over and over."""
    time = seconds(duration)
    pulses = 0.5 + 0.5 * np.sin(2 * np.pi * rng.uniform(28, 45) * time)
    trills = (time * rng.uniform(1.8, 3.2) + rng.uniform()) % 1.0 < rng.uniform(0.45, 0.65)
    pitch = rng.uniform(3300, 3800)  # a telephone lets it through
    return normalize(np.sin(2 * np.pi * pitch * time) * pulses**2 * trills)


def birds(rng: Generator, duration: float) -> Signal:
    """Short whistles that glide, high up, with pauses."""
    signal = np.zeros(len(seconds(duration)))
    low, high = rng.uniform(1700, 2200), rng.uniform(2800, 3500)
    position = rng.uniform(0, 0.15)
    while position < duration:
        time = seconds(rng.uniform(0.05, 0.14))
        start, end = rng.uniform(low, high, 2)
        phase = np.cumsum(np.linspace(start, end, len(time))) / SAMPLING_RATE
        chirp = np.sin(2 * np.pi * phase) * np.hanning(len(time)) * rng.uniform(0.5, 1.0)
        add_at(signal, int(position * SAMPLING_RATE), chirp)
        position += len(time) / SAMPLING_RATE + rng.uniform(0.02, 0.22)
    return normalize(signal)


def clap(rng: Generator) -> Signal:
    """One clap of two hands: a burst of noise around 1 to 2 kHz."""
    time = seconds(0.09)
    burst = rng.standard_normal(len(time)) * np.exp(-time * rng.uniform(60, 110))
    return normalize(band(burst, rng.uniform(500, 900), rng.uniform(2200, 3500)))


def bark(rng: Generator) -> Signal:
    """One bark of a dog: a rough voice that falls in pitch."""
    time = seconds(rng.uniform(0.16, 0.24))
    pitch = rng.uniform(300, 600) * (1 + 0.5 * np.exp(-time * 12) - 0.25 * time / time[-1])
    phase = np.cumsum(pitch) / SAMPLING_RATE
    voice = sum(np.sin(2 * np.pi * n * phase) / n**0.5 for n in range(1, 7))
    rough = 1 + 0.6 * rng.standard_normal(len(time))
    return normalize(voice * rough * np.hanning(len(time)) ** 0.6)


def drop(rng: Generator) -> Signal:
    """One drop of water: a sine that glides up and dies away."""
    time = seconds(0.14)
    pitch = rng.uniform(500, 900) * (1 + rng.uniform(6, 10) * time)
    phase = np.cumsum(pitch) / SAMPLING_RATE
    return np.sin(2 * np.pi * phase) * np.exp(-time * 22) * np.minimum(1.0, time / 0.004)


def ring(rng: Generator) -> Signal:
    """One ring of a telephone: two tones that alternate fast."""
    time = seconds(0.4)
    low = rng.uniform(600, 900)
    warble = np.where((time * rng.uniform(18, 26)) % 1.0 < 0.5, low, 1.25 * low)
    phase = np.cumsum(warble) / SAMPLING_RATE
    edge = np.minimum(1.0, np.minimum(time, time[-1] - time) / 0.01)
    return (np.sin(2 * np.pi * phase) + 0.4 * np.sin(6 * np.pi * phase)) * edge


TEXTURES: dict[str, Callable[[Generator, float], Signal]] = {
    "rain": rain,
    "wind": wind,
    "siren": siren,
    "engine": engine,
    "ticking": ticking,
    "crickets": crickets,
    "birds": birds,
}
STROKES: dict[str, Callable[[Generator], Signal]] = {
    "beeping": beep,
    "knocking": knock,
    "bell": bell,
    "clapping": clap,
    "barking": bark,
    "dripping": drop,
    "ringing": ring,
}
EVENTS = (*TEXTURES, *STROKES)


def repeat(rng: Generator, event: str, count: int, duration: float) -> Signal:
    """``count`` strokes of one kind with uneven gaps, spread so that length tells no count."""
    stroke = STROKES[event](np.random.default_rng(rng.integers(2**32)))
    signal = np.zeros(max(len(seconds(duration)), len(stroke)))
    slot = (len(signal) - len(stroke)) / 5
    starts = np.sort(rng.choice(5, count, replace=False)) * slot
    for start in starts + rng.uniform(0, 0.35 * slot, count):
        add_at(signal, int(start), rng.uniform(0.7, 1.0) * stroke)
    return normalize(signal)
