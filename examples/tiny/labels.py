"""What the encoder is asked for while it learns: words, where they lie, and facts of a clip."""

from __future__ import annotations

import torch
from settings import HIDDEN_RATE
from torch import Tensor
from torch.nn import functional as F

from dllm_audio.toy import COMMANDS, DIGITS, Scene
from dllm_audio.toy.signals import EVENTS

WORDS = (*DIGITS, *COMMANDS)
BLANK = 0
FACTS: dict[str, tuple] = {
    "sex": ("man", "woman"),
    "rate": ("slowly", "quickly"),
    "noise": ("clean", "noisy"),
    "event": EVENTS,
    "count": (1, 2, 3, 4, 5),
    "contour": ("rising", "falling"),
    "mode": ("major", "minor"),
    "tempo": ("slow", "fast"),
}
UNKNOWN = -100
SPIKE = 3  # frames on either side of a word's middle that carry its label


def frame_labels(scenes: list[Scene], positions: int) -> dict[str, Tensor]:
    """Labels ``[B, S]`` of frames.

    Returns:
        ``words``: the word in whose middle a frame lies, else blank; ``places``: how many words
        come before that one, else ``UNKNOWN``; ``spans``: the word in whose span a frame lies.
    """
    words = torch.full((len(scenes), positions), BLANK)
    places, spans = torch.full_like(words, UNKNOWN), words.clone()
    for row, scene in enumerate(scenes):
        for place, span in enumerate(scene.spans):
            word = 1 + WORDS.index(span.text)
            middle = int((span.start + span.end) / 2 * HIDDEN_RATE)
            core = slice(max(middle - SPIKE, 0), middle + SPIKE + 1)
            words[row, core], places[row, core] = word, place
            start, end = int(span.start * HIDDEN_RATE), int(span.end * HIDDEN_RATE)
            spans[row, start:end] = word
    return {"words": words, "places": places, "spans": spans}


def fact_labels(scenes: list[Scene]) -> dict[str, Tensor]:
    """Index of each fact's value, or ``UNKNOWN``."""

    def index(scene: Scene, name: str) -> int:
        value = getattr(scene, name)
        return UNKNOWN if value is None else FACTS[name].index(value)

    return {name: torch.tensor([index(scene, name) for scene in scenes]) for name in FACTS}


def fact_losses(logits: dict[str, Tensor], labels: dict[str, Tensor]) -> Tensor:
    """Cross-entropy of every fact that is known of some clip of the batch, one value each."""
    losses = [
        F.cross_entropy(scores, labels[name])
        for name, scores in logits.items()
        if bool((labels[name] != UNKNOWN).any())
    ]
    return torch.stack(losses) if losses else torch.zeros(0)


def word_of(value: str | int) -> str:
    """The word for a fact's value; a count is a digit."""
    return DIGITS[value] if isinstance(value, int) else value


def word_targets(scenes: list[Scene]) -> list[list[int]]:
    """CTC targets."""
    return [[1 + WORDS.index(word) for word in scene.words] for scene in scenes]
