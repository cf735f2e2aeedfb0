"""Melodies: broken triads that rise or fall."""

from __future__ import annotations

import numpy as np
from numpy.random import Generator

from .signals import Signal, normalize, tone


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
