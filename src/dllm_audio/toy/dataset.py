"""The toy data set: any number of questions about generated clips, fixed by a seed."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from dllm_audio.errors import InvalidArgumentError

from .bank import SPLITS, WordBank, embedded_bank
from .human import HumanDigits
from .phrasing import CHOICE_LAYOUTS
from .questions import FAMILIES, ToyRecord, ask, askable, kind_of
from .scenes import Scene, SceneMaker

_SPEECH = ("digits", "command", "number", "word")
_SUBJECTS = {
    "digits": ("digits",),
    "position": ("digits",),
    "contains": ("digits",),
    "command": ("command",),
    "number": ("number",),
    "word": ("word",),
    "speaker": (*_SPEECH, "other_speech"),
    "rate": _SPEECH,
    "noise": _SPEECH,
    "event": ("sound", "sound", *_SPEECH),
    "count": ("sound",),
    "contour": ("music",),
    "mode": ("music",),
    "tempo": ("music",),
    "describe": ("digits", "sound", "music"),
    "unknown": ("other_speech", "other_speech", "other_sound", "other_music", "silence"),
}


class ToyDataset(Sequence[ToyRecord]):
    """Questions about generated clips; row ``i`` depends on ``seed``, ``split`` and ``i`` only.

    Families take turns, so that every run of ``len(families)`` rows asks each of them once.

    Args:
        split: ``train`` or ``heldout``; they share no voice and no random stream.
        size: number of rows.
        seed: any integer >= 0.
        families: which questions to ask.
        choice_share: how many questions are multiple-choice (where the family has choices).
        layouts: keys of ``CHOICE_LAYOUTS`` that multiple-choice prompts are laid out with.
        human: recordings of people to mix into the spoken digits.
        bank: spoken words; None: the embedded bank.

    Raises:
        InvalidArgumentError: an unknown split, family or layout, or a negative size or seed.

    Example:
        >>> data = ToyDataset("heldout", size=16, seed=1)
        >>> data[0].family, data[0].question, data[0].answer  # doctest: +SKIP
        ('digits', 'What is said?', 'four one')
        >>> data[0].waveform.dtype.name, len(data)
        ('float32', 16)
    """

    def __init__(
        self,
        split: str = "train",
        size: int = 1000,
        seed: int = 0,
        *,
        families: Sequence[str] = FAMILIES,
        choice_share: float = 0.35,
        layouts: Sequence[str] = tuple(CHOICE_LAYOUTS),
        human: HumanDigits | None = None,
        bank: WordBank | None = None,
    ) -> None:
        if split not in SPLITS:
            raise InvalidArgumentError("split", f"one of {SPLITS}", split)
        for name, value in (("size", size), ("seed", seed)):
            if value < 0:
                raise InvalidArgumentError(name, "an integer >= 0", value)
        for family in families:
            kind_of(family)
        for layout in layouts:
            if layout not in CHOICE_LAYOUTS:
                raise InvalidArgumentError("layouts", f"keys {tuple(CHOICE_LAYOUTS)}", layout)
        self.split, self.size, self.seed = split, size, seed
        self.families, self.layouts = tuple(families), tuple(layouts)
        self.choice_share = choice_share
        self._maker = SceneMaker(bank or embedded_bank(), split, human)

    def __len__(self) -> int:
        return self.size

    def __getitem__(self, index):  # type: ignore[no-untyped-def, override]
        """Row ``index``, or a list of rows for a slice."""
        if isinstance(index, slice):
            return [self[i] for i in range(*index.indices(self.size))]
        position = index + self.size if index < 0 else index
        if not 0 <= position < self.size:
            raise IndexError(f"row {index} of {self.size}")
        return self._row(position)

    def __iter__(self) -> Iterator[ToyRecord]:
        return (self._row(i) for i in range(self.size))

    def _row(self, index: int) -> ToyRecord:
        rng = np.random.default_rng([self.seed, SPLITS.index(self.split), index])
        family = self.families[index % len(self.families)]
        layout = None
        if rng.random() < self.choice_share:
            layout = self.layouts[int(rng.integers(len(self.layouts)))]
        return ask(self._scene(rng, family), family, rng, split=self.split, layout=layout)

    def _scene(self, rng: np.random.Generator, family: str) -> Scene:
        subjects = _SUBJECTS[family]
        while True:  # a scene has every fact with a probability far from zero
            scene = self._maker.draw(rng, subjects[int(rng.integers(len(subjects)))])
            if family in askable(scene):
                return scene
