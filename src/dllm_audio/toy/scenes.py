"""Clips whose content is known: what is said, by whom, how, and what else sounds.

A ``Scene`` is one clip with its facts.  ``SceneMaker`` draws scenes from a random stream; the same
stream gives the same scene.  Facts that a clip does not have, or that cannot be told for sure, are
None, and no question asks for them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Protocol

import numpy as np
from numpy.random import Generator

from . import augment, sounds, unfamiliar
from .bank import SEXES, WordBank
from .human import HumanDigits
from .melodies import melody
from .signals import SAMPLING_RATE
from .vocabulary import COMMAND_UNITS, DIGITS, NUMBER_UNITS, WORDS

MAX_SECONDS = 4.0
MAX_DIGITS = 6


@dataclass(frozen=True)
class Span:
    """Where one word lies in a clip, in seconds."""

    text: str
    start: float
    end: float


@dataclass(frozen=True)
class Utterance:
    """Sound of any length whose content nobody asks for.

    Attributes:
        waveform: float32 ``[T]``, 16 kHz.
        sex: ``man`` or ``woman``, where somebody speaks and it is known.
        voice: name of the speaker, or of the kind of sound.
    """

    waveform: np.ndarray = field(repr=False)
    sex: str | None
    voice: str


class Others(Protocol):
    """Where sound comes from that lies outside the toy world."""

    def __call__(self, rng: Generator) -> Utterance:
        """Draw some."""


class BankSentences:
    """The sentences that the voices of a bank say besides their words.

    Args:
        bank: of spoken words.
        split: whose voices speak.
    """

    def __init__(self, bank: WordBank, split: str) -> None:
        self._bank, self._voices = bank, _voices(bank, split)

    def __call__(self, rng: Generator) -> Utterance:
        """One sentence of one voice."""
        sex, voice = _speaker(rng, self._voices)
        sentences = self._bank.sentences(voice)
        said = sentences[int(rng.integers(len(sentences)))]
        return Utterance(said, sex, voice)


class Synthesized:
    """Sounds or music of some kinds, each as likely as the others."""

    def __init__(self, kinds: dict[str, unfamiliar.Kind]) -> None:
        self._kinds = kinds

    def __call__(self, rng: Generator) -> Utterance:
        """One of them."""
        kind = _choice(rng, tuple(self._kinds))
        return Utterance(self._kinds[kind](rng, rng.uniform(1.6, 3.8)), None, kind)


@dataclass(frozen=True)
class Scene:
    """One clip and its facts.

    Attributes:
        waveform: float32 ``[T]``, 16 kHz, at most 4 s.
        subject: ``digits``, ``number``, ``word``, ``command``, ``sound`` or ``music``; or what this
            world has no name for: ``other_speech``, ``other_sound``, ``other_music``, ``silence``.
        words: what is said, in units of the vocabulary: digits one by one, ``forty`` and ``two``.
        spans: where each of them is said.
        sex: ``man`` or ``woman``.
        rate: ``slowly`` or ``quickly``: how fast single words are articulated.  Pauses are drawn
            so that neither the length of the clip nor the onsets tell.
        noise: ``clean`` or ``noisy``.
        event: the sound, alone or behind speech.
        count: how often it sounds.
        contour: ``rising`` or ``falling``.
        mode: ``major`` or ``minor``.
        tempo: ``slow`` or ``fast``.
        voice: name of the speaker.
    """

    waveform: np.ndarray = field(repr=False)
    subject: str
    words: tuple[str, ...] = ()
    spans: tuple[Span, ...] = ()
    sex: str | None = None
    rate: str | None = None
    noise: str | None = None
    event: str | None = None
    count: int | None = None
    contour: str | None = None
    mode: str | None = None
    tempo: str | None = None
    voice: str | None = None


class SceneMaker:
    """Draws scenes of one split.

    Args:
        bank: spoken words of synthetic voices.
        split: ``train`` or ``heldout``: whose voices speak.  Some training clips are perturbed more
            strongly than any held-out one.
        human: recordings to mix in, if any.
        human_share: how many of the spoken digit clips a person speaks.
        others: where ``other_speech``, ``other_sound`` and ``other_music`` come from; what is not
            given comes from the bank's sentences and :mod:`.unfamiliar`.

    Example:
        >>> maker = SceneMaker(embedded_bank(), "heldout")  # doctest: +SKIP
        >>> maker.draw(np.random.default_rng(0), "digits").words  # doctest: +SKIP
        ('four', 'one')
    """

    def __init__(
        self,
        bank: WordBank,
        split: str,
        human: HumanDigits | None = None,
        human_share: float = 0.6,
        others: Mapping[str, Others] | None = None,
    ) -> None:
        self.bank, self.split, self.human = bank, split, human
        self.human_share = human_share if human is not None else 0.0
        # Strong perturbations teach words better, but they leave sex and rate in doubt.
        self._strong_share = 0.35 if split == "train" else 0.0
        self._voices = _voices(bank, split)
        self._subjects: dict[str, Callable[[Generator], Scene]] = {
            "digits": self._digits,
            "number": self._number,
            "word": self._word,
            "command": self._command,
            "sound": self._sound,
            "music": self._music,
            "other_speech": self._other_speech,
            "other_sound": partial(self._unfamiliar, "other_sound"),
            "other_music": partial(self._unfamiliar, "other_music"),
            "silence": self._silence,
        }
        self._others: dict[str, Others] = {
            "other_speech": BankSentences(bank, split),
            "other_sound": Synthesized(unfamiliar.SOUNDS[split]),
            "other_music": Synthesized(unfamiliar.MUSIC[split]),
            **(others or {}),
        }

    def draw(self, rng: Generator, subject: str) -> Scene:
        """One scene about a subject (see :class:`Scene`)."""
        return self._subjects[subject](rng)

    def _digits(self, rng: Generator) -> Scene:
        if rng.random() < self.human_share:
            return self._human_digits(rng)
        count = 1 if rng.random() < 0.25 else int(rng.integers(2, MAX_DIGITS + 1))
        said = tuple(DIGITS[int(i)] for i in rng.integers(0, 10, count))
        return self._spoken(rng, "digits", said)

    def _number(self, rng: Generator) -> Scene:
        return self._spoken(rng, "number", NUMBER_UNITS[int(rng.integers(len(NUMBER_UNITS)))])

    def _word(self, rng: Generator) -> Scene:
        return self._spoken(rng, "word", (_choice(rng, WORDS),))

    def _command(self, rng: Generator) -> Scene:
        filled = COMMAND_UNITS[int(rng.integers(len(COMMAND_UNITS)))]
        return self._spoken(rng, "command", filled[int(rng.integers(len(filled)))])

    def _spoken(self, rng: Generator, subject: str, words: tuple[str, ...]) -> Scene:
        sex, voice = _speaker(rng, self._voices)
        slow = bool(rng.random() < 0.5)
        strong = bool(rng.random() < self._strong_share)
        speed = rng.uniform(0.8, 1.22) if strong else rng.uniform(0.94, 1.06)
        takes = [self.bank.word(voice, word, slow=slow).waveform for word in words]
        slots = [len(self.bank.word(voice, word, slow=True).waveform) for word in words]
        takes = [augment.change_speed(take, speed) for take in takes]
        # The words of one phrase follow one another closely.
        phrase = subject != "digits" and len(words) > 1
        room = None if strong or phrase else [int(slot / speed) for slot in slots]
        clip, spans = _lay_out(rng, words, takes, room, pauses=(-0.03, 0.06) if phrase else None)
        scene = Scene(augment.channel(rng, clip, strong), subject, words, spans, voice=voice)
        if not strong:
            scene = replace(scene, sex=sex, rate="slowly" if slow else "quickly")
        return self._with_background(rng, scene)

    def _human_digits(self, rng: Generator) -> Scene:
        if self.human is None:
            raise RuntimeError("a person's digit was drawn without recordings")
        speaker = _choice(rng, self.human.speakers)
        count = 1 if rng.random() < 0.6 else int(rng.integers(2, MAX_DIGITS + 1))
        words, takes = [], []
        for index in rng.integers(0, 10, count):
            take = self.human.draw(rng, speaker, DIGITS[int(index)])
            if take is not None:
                words.append(DIGITS[int(index)])
                takes.append(augment.change_speed(take, rng.uniform(0.78, 1.25)))
        if not words:
            return self._spoken(rng, "digits", (DIGITS[0],))
        clip, spans = _lay_out(rng, tuple(words), takes, None)
        clip = augment.channel(rng, clip, strong=True)
        if rng.random() < 0.5:
            clip = augment.add_noise(rng, clip, rng.uniform(5, 30))
        texts = tuple(span.text for span in spans)
        clip = augment.set_level(rng, clip)
        return Scene(clip, "digits", texts, spans, voice=speaker)

    def _with_background(self, rng: Generator, scene: Scene) -> Scene:
        """The same scene among noise or before a sound, or neither, at any level."""
        clip, noise, event = scene.waveform, None, None
        draw = rng.random()
        if draw < 0.35:
            noise = "clean"
        elif draw < 0.65:
            noise, clip = "noisy", augment.add_noise(rng, clip, rng.uniform(6, 12))
        elif draw < 0.8:
            clip = augment.add_noise(rng, clip, rng.uniform(18, 30))
        else:
            event = _choice(rng, sounds.EVENTS)
            clip = augment.mix(clip, _event(rng, event, len(clip)), rng.uniform(4, 10))
        clip = augment.set_level(rng, clip)
        said = tuple(span.text for span in scene.spans)
        return replace(scene, waveform=clip, words=said, noise=noise, event=event)

    def _other_speech(self, rng: Generator) -> Scene:
        said = self._others["other_speech"](rng)
        clip = augment.change_speed(said.waveform, rng.uniform(0.9, 1.1))
        clip = np.concatenate([_pause(rng, 0, 0.3), _piece(rng, clip, 3.4), _pause(rng, 0, 0.3)])
        strong = bool(rng.random() < max(self._strong_share, 0.2))
        clip = augment.channel(rng, clip, strong)
        sex = None if strong else said.sex
        scene = Scene(clip, "other_speech", sex=sex, voice=said.voice)
        return self._with_background(rng, scene)

    def _unfamiliar(self, subject: str, rng: Generator) -> Scene:
        clip = _piece(rng, self._others[subject](rng).waveform, 3.8)
        if rng.random() < 0.4:
            clip = augment.add_noise(rng, clip, rng.uniform(15, 35))
        return Scene(augment.set_level(rng, augment.channel(rng, clip, strong=False)), subject)

    def _silence(self, rng: Generator) -> Scene:
        return Scene(unfamiliar.silence(rng, rng.uniform(0.5, MAX_SECONDS)), "silence")

    def _sound(self, rng: Generator) -> Scene:
        counted = rng.random() < 0.55
        event = _choice(rng, tuple(sounds.STROKES) if counted else tuple(sounds.TEXTURES))
        count = int(rng.integers(1, 6)) if counted else None
        length = int(rng.uniform(2.6, 3.6) * SAMPLING_RATE)
        clip = _event(rng, event, length, count)
        if rng.random() < 0.4:
            clip = augment.add_noise(rng, clip, rng.uniform(15, 35))
        return Scene(augment.set_level(rng, clip), "sound", event=event, count=count)

    def _music(self, rng: Generator) -> Scene:
        contour = _choice(rng, ("rising", "falling"))
        mode = _choice(rng, ("major", "minor"))
        tempo = _choice(rng, ("slow", "fast"))
        clip = melody(rng, contour, mode, tempo)
        clip = np.concatenate([_pause(rng, 0.05, 0.5), clip, _pause(rng, 0.05, 0.8)])
        if rng.random() < 0.4:
            clip = augment.add_noise(rng, clip, rng.uniform(20, 35))
        clip = augment.set_level(rng, clip)
        return Scene(clip, "music", contour=contour, mode=mode, tempo=tempo)


def _event(rng: Generator, event: str, samples: int, count: int | None = None) -> np.ndarray:
    duration = samples / SAMPLING_RATE
    if event in sounds.TEXTURES:
        return sounds.TEXTURES[event](rng, duration)
    count = count or max(1, min(5, round(duration * rng.uniform(1.0, 1.6))))
    return sounds.repeat(rng, event, count, duration)


def _lay_out(
    rng: Generator,
    words: tuple[str, ...],
    takes: list[np.ndarray],
    room: list[int] | None,
    pauses: tuple[float, float] | None = None,
) -> tuple[np.ndarray, tuple[Span, ...]]:
    """Put words one after another, each at a random place of its ``room`` (None: close together).

    Words that would lie beyond the window are left out.  ``pauses``: between words, in seconds.
    """
    limit = int(MAX_SECONDS * SAMPLING_RATE)
    clip = np.zeros(limit, np.float32)
    if pauses is None:
        pauses = (0.02, 0.16) if room else (-0.04, 0.2)
    position = int(rng.uniform(0, 0.35 if len(words) < 4 else 0.12) * SAMPLING_RATE)
    spans: list[Span] = []
    end = position
    for index, (word, take) in enumerate(zip(words, takes, strict=True)):
        slot = max(room[index] if room else 0, len(take))
        if position + slot > limit and spans:
            break
        take = take[: limit - position]
        start = position + int(rng.uniform(0, max(slot - len(take), 0)))
        clip[start : start + len(take)] += take * rng.uniform(0.75, 1.0)
        spans.append(Span(word, start / SAMPLING_RATE, (start + len(take)) / SAMPLING_RATE))
        end = max(position + slot, start + len(take))
        position = max(end + int(rng.uniform(*pauses) * SAMPLING_RATE), 0)
    tail = int(rng.uniform(0, 0.35) * SAMPLING_RATE)
    return clip[: max(end + tail, SAMPLING_RATE // 10)], tuple(spans)


def _piece(rng: Generator, clip: np.ndarray, longest: float) -> np.ndarray:
    """Some seconds out of a clip, all of it where it is short enough."""
    samples = int(rng.uniform(0.6, 1.0) * longest * SAMPLING_RATE)
    start = int(rng.uniform(0, max(len(clip) - samples, 0)))
    return clip[start : start + samples]


def _pause(rng: Generator, low: float, high: float) -> np.ndarray:
    return np.zeros(int(rng.uniform(low, high) * SAMPLING_RATE), np.float32)


def _voices(bank: WordBank, split: str) -> dict[str, tuple[str, ...]]:
    """Names of a split's voices, by what answers call their sex."""
    return {name: tuple(bank.voices(split, sex)) for sex, name in SEXES.items()}


def _speaker(rng: Generator, voices: dict[str, tuple[str, ...]]) -> tuple[str, str]:
    """Either sex as likely, and one of its voices."""
    sex = _choice(rng, tuple(voices))
    return sex, _choice(rng, voices[sex])


def _choice(rng: Generator, options: tuple[str, ...] | list[str]) -> str:
    return options[int(rng.integers(len(options)))]
