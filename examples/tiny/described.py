"""Clips that are described in words instead of heard, to teach the language model its task.

A large language model can answer questions about a clip that is described to it; the adapters only
have to speak its language.  The tiny one learns that here: where audio embeddings will be, it reads
the embeddings of words - facts anywhere in the acoustic slots; in the semantic ones the spoken
words with pauses.  A word fills one to three slots, as it will when it is heard, so that the model
learns to read a run as one word, and two runs with a pause between as two.
"""

from __future__ import annotations

from functools import partial

import numpy as np
import torch
from labels import FACTS, value_of, word_of
from numpy.random import Generator
from settings import NUM_QUERIES
from transformers import PreTrainedTokenizerFast

from dllm_audio import AudioEmbeddings, LLaDA
from dllm_audio.toy import DIGITS, FAMILIES, UNKNOWN, WORDS, Scene, ToyRecord, ask, askable
from dllm_audio.toy.scenes import MAX_DIGITS
from dllm_audio.toy.sounds import EVENTS, STROKES, TEXTURES
from dllm_audio.toy.vocabulary import COMMAND_UNITS, CONTENT_WORDS, NUMBER_UNITS, content_words

LAYOUT_SHARES = {None: 0.75, "plain": 0.15, "mmau": 0.1}
SILENCE = " "
NOTHING = np.zeros(0, np.float32)
UNFAMILIAR = ("other_speech", "other_sound", "other_music", "silence")


def draw_layout(rng: Generator) -> str | None:
    """How a batch asks: freely or with choices."""
    layouts = list(LAYOUT_SHARES)
    return layouts[int(rng.choice(len(layouts), p=list(LAYOUT_SHARES.values())))]


def draw_record(
    rng: Generator, family: str | None = None, layout: str | bool | None = False
) -> ToyRecord:
    """A question about a clip that was never made.

    Args:
        rng: source of randomness.
        family: what to ask; None: any.
        layout: as in ``ask``; False draws one.
    """
    family = family or FAMILIES[int(rng.integers(len(FAMILIES)))]
    scene = draw_facts(rng)
    while family not in askable(scene):
        scene = draw_facts(rng)
    return ask(scene, family, rng, layout=draw_layout(rng) if layout is False else layout)


def draw_drill(rng: Generator) -> ToyRecord:
    """A question that only the language model is asked, to learn how to look a word up.

    Whether a word is among others is one bit for a whole search; which one follows it, and how
    often it is said, tell more of what the search should have found.
    """
    scene = draw_facts(rng)
    while scene.subject != "digits" or len(scene.words) < 2:
        scene = draw_facts(rng)
    once = [n for n, word in enumerate(scene.words[:-1]) if scene.words.count(word) == 1]
    if once and rng.random() < 0.5:
        place = once[int(rng.integers(len(once)))]
        question, answer = f"Which digit comes after {scene.words[place]}?", scene.words[place + 1]
    else:
        word = DIGITS[int(rng.integers(10))]
        if rng.random() < 0.6:
            word = scene.words[int(rng.integers(len(scene.words)))]
        question, answer = f"How often is {word} said?", DIGITS[scene.words.count(word)]
    return ToyRecord(NOTHING, question, question, answer, None, "drill", "semantic", "train", scene)


def draw_facts(rng: Generator) -> Scene:
    """Facts of a clip, each value as likely as the others."""

    def one(*options):
        return options[int(rng.integers(len(options)))]

    subject = one("digits", "digits", "command", "number", "word", "sound", "music", *UNFAMILIAR)
    if subject == "music":
        tones = {"contour": one("rising", "falling"), "mode": one("major", "minor")}
        return Scene(NOTHING, subject, tempo=one("slow", "fast"), **tones)
    if subject == "sound":
        counted = rng.random() < 0.6
        event = one(*STROKES) if counted else one(*TEXTURES)
        return Scene(NOTHING, subject, event=event, count=one(1, 2, 3, 4, 5) if counted else None)
    if subject in ("other_sound", "other_music", "silence"):
        return Scene(NOTHING, subject)
    background = {"noise": one("clean", "noisy")} if rng.random() < 0.7 else {"event": one(*EVENTS)}
    manner = {"sex": one("man", "woman"), "rate": one("slowly", "quickly")}
    if subject == "other_speech":
        return Scene(NOTHING, subject, sex=manner["sex"], **background)
    length = 1 if rng.random() < 0.2 else int(rng.integers(2, MAX_DIGITS + 1))
    said = {
        "digits": lambda: tuple(DIGITS[int(i)] for i in rng.integers(0, 10, length)),
        "command": lambda: one(*one(*COMMAND_UNITS)),
        "number": lambda: one(*NUMBER_UNITS),
        "word": lambda: (one(*WORDS),),
    }[subject]()
    return Scene(NOTHING, subject, said, **manner, **background)


def token_of(tokenizer: PreTrainedTokenizerFast, text: str) -> int:
    """The token of one word of the toy world."""
    ids = tokenizer.encode(text, add_special_tokens=False)
    if len(ids) != 1:
        raise ValueError(f"the tokenizer splits {text!r} into {len(ids)} tokens")
    return ids[0]


class Describer:
    """Turns facts into embeddings that stand where audio will stand.

    Args:
        tokenizer: of the language model.
    """

    def __init__(self, tokenizer: PreTrainedTokenizerFast) -> None:
        self._token = partial(token_of, tokenizer)
        self._silence = self._token(SILENCE)

    def __call__(self, backbone: LLaDA, scenes: list[Scene], rng: Generator) -> AudioEmbeddings:
        """Embeddings of a batch; noise and weak edges keep the model from trusting exact values."""
        return self.embed(backbone, self.slots(scenes, rng), rng)

    def slots(self, scenes: list[Scene], rng: Generator) -> list[list[int]]:
        """The tokens that describe each clip, the acoustic slots first."""
        return [self._acoustic(scene, rng) + self._semantic(scene, rng) for scene in scenes]

    def embed(self, backbone: LLaDA, slots: list[list[int]], rng: Generator) -> AudioEmbeddings:
        """Their embeddings."""
        lengths = torch.tensor([len(row) for row in slots])
        ids = torch.nn.utils.rnn.pad_sequence(
            [torch.tensor(row) for row in slots], batch_first=True, padding_value=self._silence
        )
        embeds = backbone.embed(ids)
        silence = backbone.embed(torch.tensor(self._silence))
        share = torch.from_numpy(rng.uniform(0.6, 1.0, ids.shape)).float()[..., None]
        embeds = silence + share * (embeds - silence)
        noise = torch.from_numpy(rng.standard_normal(embeds.shape)).float()
        return AudioEmbeddings(embeds + 0.2 * embeds.detach().std() * noise, lengths)

    def _acoustic(self, scene: Scene, rng: Generator) -> list[int]:
        """Token of each slot: the facts in any order, some of them again."""
        values = [value_of(scene, name) for name in FACTS]
        words = [word_of(value) for value in values if value is not None]
        slots = [self._silence] * NUM_QUERIES
        if words:
            for number, place in enumerate(rng.permutation(NUM_QUERIES)):
                if number < len(words) or rng.random() < 0.7:
                    slots[int(place)] = self._token(f" {words[number % len(words)]}")
        return slots

    def _semantic(self, scene: Scene, rng: Generator) -> list[int]:
        """Token of each slot."""
        silence = [self._silence]
        slots = silence * int(rng.integers(0, 6))
        if scene.subject == "other_speech":
            return slots + self._babble(rng)
        before = ""
        for unit in scene.words:
            for number, word in enumerate(content_words(unit)):
                if number or before == word:  # within a unit, or the same word again
                    slots += silence * int(rng.integers(before == word, 3))
                slots += [self._token(f" {word}")] * int(rng.integers(1, 4))
                before = word
            slots += silence * int(rng.integers(0, 7))
        slots += silence * int(rng.integers(0, 6))
        return slots if scene.words else silence * int(rng.integers(6, 45))

    def _babble(self, rng: Generator) -> list[int]:
        """Mostly "unknown" with pauses; now and then a word of this world among it."""
        unknown, slots = self._token(f" {UNKNOWN}"), []
        strays = float(rng.choice([0.0, 0.1, 0.3]))
        for _ in range(int(rng.integers(1, 10))):
            stray = slots and rng.random() < strays
            word = str(rng.choice(CONTENT_WORDS)) if stray else UNKNOWN
            token = self._token(f" {word}") if stray else unknown
            slots += [token] * int(rng.integers(1, 3 if stray else 6))
            slots += [self._silence] * int(rng.integers(0, 3))
        return slots[:48]
