"""The bank of spoken words that ships with the package.

Every voice (a synthetic speaker) says every unit of the vocabulary, slowly and quickly, and a few
sentences of other words.  A voice is one OGG file; ``index.json`` tells where each unit lies.
Voices of the training split and held-out voices are disjoint.  ``examples/tiny/make_bank.py`` made
the bank.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np

from dllm_audio.audio import load_audio
from dllm_audio.errors import DataError, InvalidArgumentError
from dllm_audio.files import read_json

from .shipped import ASSETS

SPLITS = ("train", "heldout")
SEXES = {"male": "man", "female": "woman"}  # of a voice, and what answers call it


@dataclass(frozen=True)
class SpokenWord:
    """One unit as one voice says it: float32 ``[T]`` and whether it was read slowly."""

    waveform: np.ndarray
    text: str
    voice: str
    sex: str
    slow: bool


class WordBank:
    """Reads the bank; a voice is decoded when its first word is asked for.

    Args:
        folder: where ``index.json`` and the OGG files lie; the embedded bank when None.

    Raises:
        DataError: the folder holds no readable index.

    Example:
        >>> bank = WordBank()
        >>> word = bank.word(bank.voices("heldout", "female")[0], "seven", slow=True)
        >>> word.text, word.sex, word.waveform.dtype.name
        ('seven', 'female', 'float32')
    """

    def __init__(self, folder: Path | None = None) -> None:
        self.folder = folder or ASSETS / "bank"
        try:
            index = read_json(self.folder / "index.json", DataError)
        except DataError as error:
            raise DataError(f"{self.folder} holds no readable bank of words: {error}") from error
        self.sampling_rate: int = index["sampling_rate"]
        self._voices: dict[str, dict] = index["voices"]
        self._waveforms: dict[str, np.ndarray] = {}

    def voices(self, split: str, sex: str | None = None) -> list[str]:
        """Names of a split's voices, in a fixed order."""
        if split not in SPLITS:
            raise InvalidArgumentError("split", f"one of {SPLITS}", split)
        if sex is not None and sex not in SEXES:
            raise InvalidArgumentError("sex", f"one of {tuple(SEXES)} or None", sex)
        return [
            name
            for name, voice in self._voices.items()
            if voice["split"] == split and sex in (None, voice["sex"])
        ]

    def sex(self, voice: str) -> str:
        """``male`` or ``female``: what the synthesizer's variant imitates."""
        return self._entry(voice)["sex"]

    def word(self, voice: str, text: str, *, slow: bool) -> SpokenWord:
        """One of the ``UNITS`` as it is spoken, peak about 0.5, silence trimmed."""
        entry = self._entry(voice)
        if text not in entry["clips"]:
            raise InvalidArgumentError("text", f"one of {tuple(entry['clips'])}", text)
        start, end = entry["clips"][text][0 if slow else 1]
        return SpokenWord(self._waveform(voice)[start:end], text, voice, entry["sex"], slow)

    def sentences(self, voice: str) -> list[np.ndarray]:
        """Sentences of words outside the toy world; maybe none."""
        spans = self._entry(voice).get("sentences", ())
        return [self._waveform(voice)[start:end] for start, end in spans]

    def _entry(self, voice: str) -> dict:
        if voice not in self._voices:
            raise InvalidArgumentError("voice", "a name from voices()", voice)
        return self._voices[voice]

    def _waveform(self, voice: str) -> np.ndarray:
        if voice not in self._waveforms:
            path = self.folder / self._entry(voice)["file"]
            self._waveforms[voice] = np.asarray(load_audio(path, self.sampling_rate))
        return self._waveforms[voice]


@lru_cache(maxsize=1)
def embedded_bank() -> WordBank:
    """The bank that ships with the package, opened once per process."""
    return WordBank()
