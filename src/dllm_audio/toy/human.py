"""Digits spoken by people: a folder of ``{digit}_{speaker}_{index}.wav`` files.

That is the layout of the Free Spoken Digit Dataset (CC BY-SA 4.0), which anyone can fetch from
its public repository; it does not ship with this package.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from dllm_audio.audio import load_audio
from dllm_audio.errors import DataError, InvalidArgumentError

from .signals import SAMPLING_RATE
from .vocabulary import DIGITS

_NAME = re.compile(r"(?P<digit>[0-9])_(?P<speaker>[^_]+)_(?P<index>[0-9]+)\.wav")


@dataclass(frozen=True)
class HumanDigit:
    """One recording: where it is, the word, who says it."""

    path: Path
    text: str
    speaker: str

    def load(self) -> np.ndarray:
        """The waveform, float32 ``[T]`` at 16 kHz, as it is."""
        return np.asarray(load_audio(self.path, SAMPLING_RATE))


class HumanDigits:
    """Recordings of a folder, by speaker and digit.

    Args:
        folder: where the WAV files lie.
        speakers: which speakers to keep; None keeps all.

    Raises:
        DataError: the folder holds no file with such a name.
        InvalidArgumentError: a speaker is not in the folder.

    Example:
        >>> people = HumanDigits("recordings")  # doctest: +SKIP
        >>> people.speakers  # doctest: +SKIP
        ('george', 'jackson')
    """

    def __init__(self, folder: str | Path, speakers: Iterable[str] | None = None) -> None:
        found = [
            HumanDigit(path, DIGITS[int(match["digit"])], match["speaker"])
            for path in sorted(Path(folder).glob("*.wav"))
            if (match := _NAME.fullmatch(path.name))
        ]
        if not found:
            raise DataError(f"{folder}: no file is named {{digit}}_{{speaker}}_{{index}}.wav")
        known = sorted({recording.speaker for recording in found})
        self.speakers = tuple(known if speakers is None else speakers)
        for speaker in self.speakers:
            if speaker not in known:
                raise InvalidArgumentError("speakers", f"names among {known}", speaker)
        self.recordings = [each for each in found if each.speaker in self.speakers]
        self._takes: dict[tuple[str, str], list[HumanDigit]] = defaultdict(list)
        for recording in self.recordings:
            self._takes[recording.speaker, recording.text].append(recording)
        self._cache: dict[Path, np.ndarray] = {}

    def __len__(self) -> int:
        return len(self.recordings)

    def draw(self, rng: np.random.Generator, speaker: str, text: str) -> np.ndarray | None:
        """One take of ``text`` by ``speaker``, or None where there is none."""
        takes = self._takes.get((speaker, text))
        if not takes:
            return None
        recording = takes[int(rng.integers(len(takes)))]
        if recording.path not in self._cache:
            self._cache[recording.path] = recording.load()
        return self._cache[recording.path]
