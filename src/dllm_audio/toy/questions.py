"""Questions about scenes: what is said (semantic) and how it sounds (acoustic)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
from numpy.random import Generator

from dllm_audio.errors import InvalidArgumentError

from .phrasing import CHOICE_LAYOUTS, LETTERS, PHRASINGS, UNKNOWN_PHRASINGS, lay_out_choices
from .scenes import Scene
from .signals import SAMPLING_RATE
from .sounds import EVENTS
from .vocabulary import COMMANDS, DIGITS, NUMBERS, UNKNOWN, WORDS

SEMANTIC_FAMILIES = ("digits", "position", "contains", "command", "number", "word")
ACOUSTIC_FAMILIES = (
    "speaker",
    "rate",
    "noise",
    "event",
    "count",
    "contour",
    "mode",
    "tempo",
)
FAMILIES = (*SEMANTIC_FAMILIES, *ACOUSTIC_FAMILIES, "describe", "unknown")


@dataclass(frozen=True)
class ToyRecord:
    """One clip with one question.

    Attributes:
        waveform: float32 ``[T]``, 16 kHz, at most 4 s.
        question: the bare question.
        prompt: the instruction that a model is given: the question and, if any, its choices.
        answer: the right answer in words, for example ``rain``; where there are choices it is
            the text of one of them.
        choices: texts in letter order, or None for a free-form question.
        family: one of ``FAMILIES``.
        kind: ``semantic`` (what is said), ``acoustic`` (how it sounds) or ``mixed`` (both, or
            nothing that this world knows).
        split: ``train`` or ``heldout``.
        scene: all facts of the clip.
    """

    waveform: np.ndarray = field(repr=False)
    question: str
    prompt: str
    answer: str
    choices: tuple[str, ...] | None
    family: str
    kind: str
    split: str
    scene: Scene = field(repr=False)
    sampling_rate: int = SAMPLING_RATE

    @property
    def target(self) -> str:
        """What a model should reply: the answer, under the name that training uses."""
        return self.answer


@dataclass(frozen=True)
class _Fact:
    """What a family asks for: the answer, what fills the phrasing, and wrong answers."""

    answer: str
    subject: str = ""
    others: tuple[str, ...] = ()


def kind_of(family: str) -> str:
    """``semantic``, ``acoustic`` or ``mixed``."""
    if family not in FAMILIES:
        raise InvalidArgumentError("family", f"one of {FAMILIES}", family)
    if family in SEMANTIC_FAMILIES:
        return "semantic"
    return "acoustic" if family in ACOUSTIC_FAMILIES else "mixed"


def askable(scene: Scene) -> tuple[str, ...]:
    """Families whose answer is known for ``scene``."""
    known = {
        "digits": scene.subject == "digits",
        "position": scene.subject == "digits" and len(scene.words) > 1,
        "contains": scene.subject == "digits",
        "command": scene.subject == "command",
        "number": scene.subject == "number",
        "word": scene.subject == "word",
        "speaker": scene.sex is not None,
        "rate": scene.rate is not None,
        "noise": scene.noise is not None,
        "event": scene.event is not None,
        "count": scene.count is not None,
        "contour": scene.contour is not None,
        "mode": scene.mode is not None,
        "tempo": scene.tempo is not None,
        "describe": None not in (scene.sex, scene.rate) or scene.subject in ("sound", "music"),
        "unknown": scene.subject in UNKNOWN_PHRASINGS,
    }
    return tuple(family for family in FAMILIES if known[family])


def ask(
    scene: Scene,
    family: str,
    rng: Generator,
    *,
    split: str = "train",
    layout: str | None = None,
) -> ToyRecord:
    """Ask one question.

    Args:
        scene: what it is about.
        family: one of ``askable(scene)``.
        rng: draws phrasing, choices and their order.
        split: noted in the record.
        layout: a key of ``CHOICE_LAYOUTS`` for multiple choice; None: free-form.

    Raises:
        InvalidArgumentError: the scene has no such fact, or the layout is unknown.
    """
    if family not in askable(scene):
        raise InvalidArgumentError("family", f"one of {askable(scene)} for this scene", family)
    if layout is not None and layout not in CHOICE_LAYOUTS:
        raise InvalidArgumentError("layout", f"one of {tuple(CHOICE_LAYOUTS)} or None", layout)
    fact = _FACTS[family](scene, rng)
    phrasings = PHRASINGS.get(family) or UNKNOWN_PHRASINGS[scene.subject]
    if family == "digits" and len(scene.words) > 1:
        phrasings = phrasings[:-1]  # the last one asks for a single digit
    question = phrasings[int(rng.integers(len(phrasings)))].format(x=fact.subject)
    prompt, choices = question, None
    if layout is not None and fact.others:
        wrong = rng.permutation(np.array(fact.others))[: len(LETTERS) - 1]
        choices = tuple(str(text) for text in rng.permutation(np.array([fact.answer, *wrong])))
        prompt = lay_out_choices(question, choices, layout)
    return ToyRecord(
        scene.waveform,
        question,
        prompt,
        fact.answer,
        choices,
        family,
        kind_of(family),
        split,
        scene,
    )


def _digits(scene: Scene, rng: Generator) -> _Fact:
    words = list(scene.words)
    others: set[str] = set()
    while len(others) < 3:
        changed = list(words)
        changed[int(rng.integers(len(words)))] = DIGITS[int(rng.integers(10))]
        if changed != words:
            others.add(" ".join(changed))
    return _Fact(" ".join(words), others=tuple(sorted(others)))


def _position(scene: Scene, rng: Generator) -> _Fact:
    which = ("first", "last")[int(rng.integers(2))]
    answer = scene.words[0 if which == "first" else -1]
    return _Fact(answer, which, _without(DIGITS, answer))


def _contains(scene: Scene, rng: Generator) -> _Fact:
    yes = bool(rng.random() < 0.5)
    options = [digit for digit in DIGITS if (digit in scene.words) == yes]
    answers = ("yes", "no") if yes else ("no", "yes")
    return _Fact(answers[0], options[int(rng.integers(len(options)))], answers[1:])


def _one_of(attribute: str, options: tuple[str, ...]) -> Callable[[Scene, Generator], _Fact]:
    def fact(scene: Scene, rng: Generator) -> _Fact:
        answer = getattr(scene, attribute)
        return _Fact(answer, others=_without(options, answer))

    return fact


def _one_said(options: tuple[str, ...]) -> Callable[[Scene, Generator], _Fact]:
    def fact(scene: Scene, rng: Generator) -> _Fact:
        said = " ".join(scene.words)
        return _Fact(said, others=_without(options, said))

    return fact


def _unknown(scene: Scene, rng: Generator) -> _Fact:
    return _Fact(UNKNOWN)


def _count(scene: Scene, rng: Generator) -> _Fact:
    return _Fact(DIGITS[scene.count or 0], others=_without(DIGITS[1:6], DIGITS[scene.count or 0]))


def _describe(scene: Scene, rng: Generator) -> _Fact:
    if scene.subject == "music":
        return _Fact(f"a {scene.tempo} {scene.contour} {scene.mode} melody")
    if scene.subject == "sound":
        times = f" {DIGITS[scene.count]} times" if scene.count is not None else ""
        return _Fact(f"the sound of {scene.event}{times}")
    behind = f" with {scene.event}" if scene.event else " with noise" * (scene.noise == "noisy")
    return _Fact(f"a {scene.sex} {scene.rate} says {' '.join(scene.words)}{behind}")


def _without(options: tuple[str, ...], answer: str) -> tuple[str, ...]:
    return tuple(option for option in options if option != answer)


_FACTS: dict[str, Callable[[Scene, Generator], _Fact]] = {
    "digits": _digits,
    "position": _position,
    "contains": _contains,
    "command": _one_said(COMMANDS),
    "number": _one_said(NUMBERS),
    "word": _one_said(WORDS),
    "speaker": _one_of("sex", ("man", "woman")),
    "rate": _one_of("rate", ("slowly", "quickly")),
    "noise": _one_of("noise", ("clean", "noisy")),
    "event": _one_of("event", EVENTS),
    "count": _count,
    "contour": _one_of("contour", ("rising", "falling")),
    "mode": _one_of("mode", ("major", "minor")),
    "tempo": _one_of("tempo", ("slow", "fast")),
    "describe": _describe,
    "unknown": _unknown,
}
