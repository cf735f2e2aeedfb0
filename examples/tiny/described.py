"""Clips that are described in words instead of heard, to teach the language model its task.

A large language model can answer questions about a clip that is described to it; the adapters only
have to speak its language.  The tiny one learns that here: where audio embeddings will be, it reads
the embeddings of words - facts anywhere in the acoustic slots; in the semantic ones the spoken
words with pauses, each numbered, because counting is what a small transformer learns last.
"""

from __future__ import annotations

from functools import partial

import numpy as np
import torch
from labels import FACTS, word_of
from numpy.random import Generator
from settings import NUM_QUERIES
from transformers import PreTrainedTokenizerFast

from dllm_audio import AudioEmbeddings, LLaDA
from dllm_audio.toy import COMMANDS, DIGITS, FAMILIES, Scene, ToyRecord, ask, askable
from dllm_audio.toy.scenes import MAX_DIGITS
from dllm_audio.toy.signals import EVENTS, STROKES, TEXTURES

LAYOUT_SHARES = {None: 0.75, "plain": 0.15, "mmau": 0.1}
SILENCE = " "
NOTHING = np.zeros(0, np.float32)


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


def draw_facts(rng: Generator) -> Scene:
    """Facts of a clip, each value as likely as the others."""

    def one(*options):
        return options[int(rng.integers(len(options)))]

    subject = one("digits", "digits", "command", "sound", "music")
    if subject == "music":
        tones = {"contour": one("rising", "falling"), "mode": one("major", "minor")}
        return Scene(NOTHING, subject, tempo=one("slow", "fast"), **tones)
    if subject == "sound":
        counted = rng.random() < 0.6
        event = one(*STROKES) if counted else one(*TEXTURES)
        return Scene(NOTHING, subject, event=event, count=one(1, 2, 3, 4, 5) if counted else None)
    background = {"noise": one("clean", "noisy")} if rng.random() < 0.7 else {"event": one(*EVENTS)}
    length = 1 if rng.random() < 0.2 else int(rng.integers(2, MAX_DIGITS + 1))
    words = [DIGITS[int(i)] for i in rng.integers(0, 10, length)]
    if subject == "command":
        words = [COMMANDS[int(rng.integers(len(COMMANDS)))]]
    manner = {"sex": one("man", "woman"), "rate": one("slowly", "quickly")}
    return Scene(NOTHING, subject, tuple(words), **manner, **background)


def token_of(tokenizer: PreTrainedTokenizerFast, text: str) -> int:
    """The token of one word of the toy world."""
    ids = tokenizer.encode(text, add_special_tokens=False)
    if len(ids) != 1:
        raise ValueError(f"the tokenizer splits {text!r} into {len(ids)} tokens")
    return ids[0]


class Describer:
    """Turns facts into embeddings that stand where audio will stand."""

    def __init__(self, tokenizer: PreTrainedTokenizerFast) -> None:
        self._token = partial(token_of, tokenizer)
        self._silence = self._token(SILENCE)

    def __call__(self, backbone: LLaDA, scenes: list[Scene], rng: Generator) -> AudioEmbeddings:
        """Embeddings of a batch; noise and weak edges keep the model from trusting exact values."""
        slots = [self._acoustic(s, rng) + self._semantic(s, rng) for s in scenes]
        lengths = torch.tensor([len(row) for row in slots])
        ids = self._padded([[word for word, _ in row] for row in slots])
        numbers = self._padded([[number for _, number in row] for row in slots])
        numbered = (numbers != self._silence)[..., None]
        embeds = backbone.embed(ids) + numbered * backbone.embed(numbers)
        silence = backbone.embed(torch.tensor(self._silence))
        share = torch.from_numpy(rng.uniform(0.6, 1.0, ids.shape)).float()[..., None]
        embeds = silence + share * (embeds - silence)
        noise = torch.from_numpy(rng.standard_normal(embeds.shape)).float()
        return AudioEmbeddings(embeds + 0.2 * embeds.detach().std() * noise, lengths)

    def _padded(self, rows: list[list[int]]) -> torch.Tensor:
        tensors = [torch.tensor(row) for row in rows]
        return torch.nn.utils.rnn.pad_sequence(
            tensors, batch_first=True, padding_value=self._silence
        )

    def _acoustic(self, scene: Scene, rng: Generator) -> list[tuple[int, int]]:
        """Token and (never) number of each slot."""
        values = [getattr(scene, name) for name in FACTS]
        words = [word_of(value) for value in values if value is not None]
        slots = [self._silence] * NUM_QUERIES
        if words:
            for number, place in enumerate(rng.permutation(NUM_QUERIES)):
                if number < len(words) or rng.random() < 0.7:
                    slots[int(place)] = self._token(f" {words[number % len(words)]}")
        return [(slot, self._silence) for slot in slots]

    def _semantic(self, scene: Scene, rng: Generator) -> list[tuple[int, int]]:
        """Token and number of each slot."""
        silence = [(self._silence, self._silence)]
        slots = silence * int(rng.integers(0, 6))
        for index, word in enumerate(scene.words):
            # A command's last word tells it from the others and stands for all of it.
            spoken = (self._token(f" {word.split()[-1]}"), self._token(str(index + 1)))
            slots += [spoken] * int(rng.integers(1, 3))
            slots += silence * int(rng.integers(0, 8))
        slots += silence * int(rng.integers(0, 6))
        return slots if scene.words else silence * int(rng.integers(10, 45))
