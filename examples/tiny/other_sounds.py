"""Speech and music outside the toy world, to learn "unknown" from.

Speech: synthesizers that say texts of :mod:`other_texts`, with accents of English and with voices
of other languages; and recordings of people, if there are folders of some.  Music: recordings.

    apt-get install asterisk-core-sounds-{fr,it,ru}-wav asterisk-prompt-it-menardi-wav \\
        asterisk-prompt-fr-armelle asterisk-prompt-es-co asterisk-moh-opsound-wav

(telephone prompts in French, Italian, Russian and Spanish, and music on hold).
"""

from __future__ import annotations

import random
import subprocess
from functools import lru_cache
from pathlib import Path

import numpy as np
from numpy.random import Generator
from other_texts import draw_text
from voices import RECORDED, VARIANTS, Voice, draw_voice, read, trim

from dllm_audio.toy import Utterance
from dllm_audio.toy.bank import SEXES

LANGUAGES = ("fr", "de", "es", "it", "pt", "ru", "nl", "pl", "sv", "tr", "hi", "cmn", "el", "fi")
LEFT_OUT = {"digits", "letters", "phonetic", "silence"}  # may sound like words of the world


class Synthesizers:
    """Voices of a split that say other texts."""

    def __init__(self, split: str) -> None:
        self._split = split
        self._flite = [
            Voice(name, engine, "train", sex, {"variant": name}, (1.0, 1.0))
            for engine, name, sex in RECORDED
            if engine == "flite" and split == "train"
        ]

    def __call__(self, rng: Generator) -> Utterance:
        """A text and who says it."""
        draws = random.Random(int(rng.integers(2**32)))
        text = draw_text(draws)
        if self._flite and draws.random() < 0.15:
            voice, rate = draws.choice(self._flite), draws.uniform(0.8, 1.2)
        else:
            sex = draws.choice(tuple(SEXES))
            index = draws.randrange(len(VARIANTS[self._split, sex]))
            voice = draw_voice(draws, self._split, sex, index, f"espeak {sex} {index}")
            rate = draws.uniform(120, 260)
            if draws.random() < 0.2:
                language = draws.choice(LANGUAGES)
                voice = Voice(
                    f"{voice.name} {language}", voice.engine, self._split, sex,
                    {**voice.settings, "accent": language}, voice.rates,
                )  # fmt: skip
        for _ in range(5):
            try:
                return Utterance(voice.say([text], rate)[0], SEXES[voice.sex], voice.name)
            except (subprocess.CalledProcessError, ValueError):
                text = draw_text(draws)  # a voice that cannot say it
        raise RuntimeError(f"{voice.name} says nothing")


class Recordings:
    """Pieces of the audio files below some folders.

    Args:
        folders: whose WAV, GSM, FLAC and OGG files are used, however deep they lie.
    """

    def __init__(self, folders: list[Path]) -> None:
        found = (path for folder in folders for path in folder.rglob("*") if path.is_file())
        self._paths = sorted(
            path
            for path in found
            if path.suffix in (".wav", ".gsm", ".flac", ".ogg") and path.parent.name not in LEFT_OUT
        )
        if not self._paths:
            raise ValueError(f"no recordings below {[str(folder) for folder in folders]}")

    def __call__(self, rng: Generator) -> Utterance:
        """One recording, or ten seconds of a long one."""
        while True:
            path = self._paths[int(rng.integers(len(self._paths)))]
            waveform = _read(path)
            start = int(rng.uniform(0, max(len(waveform) - 160_000, 0)))
            piece = waveform[start : start + 160_000]
            if np.abs(piece).max(initial=0.0) > 1e-3 and len(piece) > 4000:
                return Utterance(trim(piece), None, path.parent.name)


@lru_cache(maxsize=64)
def _read(path: Path) -> np.ndarray:
    return read(path)


class OtherVoices:
    """Synthesizers, and people where there are recordings of some.

    Args:
        split: of the synthetic voices.
        people: recordings.
        share: of people.
    """

    def __init__(self, split: str, people: Recordings | None, share: float = 0.4) -> None:
        self._synthesizers, self._people, self._share = Synthesizers(split), people, share

    def __call__(self, rng: Generator) -> Utterance:
        """Somebody who says something."""
        if self._people is not None and rng.random() < self._share:
            return self._people(rng)
        return self._synthesizers(rng)


class OtherMusic:
    """Recordings, and what the package makes."""

    def __init__(self, recordings: Recordings, synthesized, share: float = 0.5) -> None:
        self._recordings, self._synthesized, self._share = recordings, synthesized, share

    def __call__(self, rng: Generator) -> Utterance:
        """Some music."""
        return (self._recordings if rng.random() < self._share else self._synthesized)(rng)
