"""What the adapters are asked for while they learn: facts of a clip, and the words of its slots."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from dllm_audio.toy import DIGITS, UNKNOWN, Scene
from dllm_audio.toy.sounds import EVENTS
from dllm_audio.toy.vocabulary import CONTENT_WORDS, content_words

FAMILIAR = {"sound": "known", "music": "known"} | dict.fromkeys(
    ("other_sound", "other_music", "silence"), UNKNOWN
)
FACTS: dict[str, tuple] = {
    "sex": ("man", "woman"),
    "rate": ("slowly", "quickly"),
    "noise": ("clean", "noisy"),
    "event": EVENTS,
    "count": (1, 2, 3, 4, 5),
    "contour": ("rising", "falling"),
    "mode": ("major", "minor"),
    "tempo": ("slow", "fast"),
    "familiar": ("known", UNKNOWN),
}
HARD_FACTS = {"count": 3.0, "mode": 2.0, "rate": 1.5}  # learned last: weights, the others' is 1
NOT_ASKED = -100
PAUSE = 0  # no word
SLOT_WORDS = (*CONTENT_WORDS, UNKNOWN)  # from label 1 on
LOUD_DB = -22.0  # below the loudest slot: speech


def value_of(scene: Scene, name: str) -> str | int | None:
    """A fact of a clip; ``familiar``: whether a sound, or music, is one of this world."""
    return FAMILIAR.get(scene.subject) if name == "familiar" else getattr(scene, name)


def fact_labels(scenes: list[Scene]) -> dict[str, Tensor]:
    """Index of each fact's value, or ``NOT_ASKED``."""

    def index(scene: Scene, name: str) -> int:
        value = value_of(scene, name)
        return NOT_ASKED if value is None else FACTS[name].index(value)

    return {name: torch.tensor([index(scene, name) for scene in scenes]) for name in FACTS}


def slot_labels(scene: Scene, slots: int, rate: float, loudness: Tensor | None = None) -> Tensor:
    """Labels ``[slots]`` of the semantic slots of a clip.

    The slot in the middle of each word is that word, the first and last quarter of a word is a
    pause, and what lies between may be either: there stands the word's label with a minus.  Speech
    of other words is ``UNKNOWN`` wherever it is loud.

    Args:
        scene: with the spans of its words.
        slots: how many there are.
        rate: slots per second.
        loudness: ``[slots]`` in dB, for speech of other words.
    """
    labels = torch.full((slots,), PAUSE)
    if scene.subject == "other_speech":
        if loudness is None:
            raise ValueError("speech of other words is told by its loudness")
        loud = loudness > loudness.max() + LOUD_DB
        labels[loud] = 1 + SLOT_WORDS.index(UNKNOWN)
        return labels
    for span in scene.spans:
        words = content_words(span.text)
        letters = sum(map(len, words))
        start = span.start
        for word in words:
            end = start + (span.end - span.start) * len(word) / letters
            quarter = (end - start) / 4
            inner = slice(int((start + quarter) * rate), int((end - quarter) * rate) + 1)
            label = 1 + SLOT_WORDS.index(word)
            labels[inner] = -label
            labels[min(int((start + end) / 2 * rate), slots - 1)] = label
            start = end
    return labels


def facts_loss(logits: dict[str, Tensor], labels: dict[str, Tensor]) -> Tensor:
    """Weighted mean of the cross-entropies of the facts that are known of some clip; else 0."""
    known = [name for name in logits if bool((labels[name] != NOT_ASKED).any())]
    weights = {name: HARD_FACTS.get(name, 1.0) for name in known}
    losses = [weights[name] * F.cross_entropy(logits[name], labels[name]) for name in known]
    return torch.stack(losses).sum() / sum(weights.values()) if known else torch.zeros(())


def word_of(value: str | int) -> str:
    """The word for a fact's value; a count is a digit."""
    return DIGITS[value] if isinstance(value, int) else value
