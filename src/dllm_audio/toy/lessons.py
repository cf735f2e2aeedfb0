"""What the stages of the toy curriculum hear and are asked."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TypeVar

import numpy as np

from dllm_audio.errors import InvalidArgumentError

from .bank import embedded_bank
from .questions import FAMILIES, ToyRecord, ask, askable
from .scenes import SceneMaker

T = TypeVar("T")


@dataclass(frozen=True)
class Lesson:
    """Clips by the dozen, each with one or more questions; fixed by the number of the clip.

    Args:
        name: of the lesson.
        stream: an integer >= 0; lessons with different ones share no clip.
        subjects: what clips are about, with shares that sum to one.
        families: which questions are asked, where the clip has an answer.
        questions: per clip, at most.
        layouts: how questions are laid out (None: free-form), with shares that sum to one.

    Raises:
        InvalidArgumentError: shares that do not sum to one.

    Example:
        >>> [(record.family, record.prompt) for record in ASR(range(1))]  # doctest: +SKIP
        [('digits', 'Write down what is said.')]
    """

    name: str
    stream: int
    subjects: dict[str, float]
    families: tuple[str, ...] = FAMILIES
    questions: int = 1
    layouts: dict[str | None, float] = field(default_factory=lambda: {None: 1.0})

    def __post_init__(self) -> None:
        for name in ("subjects", "layouts"):
            if abs(sum(getattr(self, name).values()) - 1) > 1e-9:
                raise InvalidArgumentError(name, "shares that sum to one", getattr(self, name))

    def __call__(self, clips: range) -> list[ToyRecord]:
        """Questions about the clips with these numbers, made anew each time."""
        maker = SceneMaker(embedded_bank(), "train")
        return [record for number in clips for record in self._clip(maker, number)]

    def _clip(self, maker: SceneMaker, number: int) -> list[ToyRecord]:
        rng = np.random.default_rng([self.stream, number])
        scene = maker.draw(rng, _draw(rng, self.subjects))
        families = [family for family in askable(scene) if family in self.families]
        count = min(self.questions, len(families))
        chosen: list[str] = list(rng.permutation(families)[:count]) if families else []
        return [ask(scene, str(family), rng, layout=_draw(rng, self.layouts)) for family in chosen]


def _draw(rng: np.random.Generator, shares: dict[T, float]) -> T:
    return list(shares)[int(rng.choice(len(shares), p=list(shares.values())))]


# Transcription: speech, the words of it, nothing else.
ASR = Lesson(
    "asr",
    0,
    {"digits": 2 / 3, "command": 1 / 6, "number": 1 / 12, "word": 1 / 12},
    families=("digits", "command", "number", "word"),
)
# Understanding: speech, sounds and music; what is said and how it sounds.
QA = Lesson(
    "qa",
    1,
    {
        "digits": 0.35,
        "command": 0.1,
        "number": 0.03,
        "word": 0.03,
        "sound": 0.17,
        "music": 0.18,
        "other_speech": 0.08,
        "other_sound": 0.03,
        "other_music": 0.02,
        "silence": 0.01,
    },
    questions=3,
    layouts={None: 0.75, "plain": 0.15, "mmau": 0.1},
)
