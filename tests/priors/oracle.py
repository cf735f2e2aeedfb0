"""A model that knows what is said, as surely as it is told: an exact oracle behind the real API."""

from __future__ import annotations

from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor, nn

from dllm_audio import CachedParallelSampler, SamplerOutput, Threshold

WORDS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
EOS, MASK = len(WORDS), len(WORDS) + 1
VOCAB = MASK + 1
LENGTH = 12
Said = Sequence[tuple[str, float]]


class WordTokenizer:
    """One token a word; other words have none."""

    def encode(self, text: str, add_special_tokens: bool = False) -> list[int]:
        return [WORDS.index(word) for word in text.split() if word in WORDS]

    def decode(self, token_ids: Sequence[int], skip_special_tokens: bool = True) -> str:
        return " ".join(WORDS[token] for token in token_ids if token < EOS)


class Oracle:
    """Gives what is said at every position the probability it is told, whatever stands around."""

    mask_token_id, eos_token_id = MASK, EOS
    device = torch.device("cpu")

    def __init__(self, rows: Sequence[Said]) -> None:
        self.batch_size = len(rows)
        self.table = torch.zeros(len(rows), LENGTH, VOCAB)
        for row, said in enumerate(rows):
            filled = [*said, *[("", 0.999999)] * (LENGTH - len(said))]
            for place, (word, chance) in enumerate(filled):
                token = WORDS.index(word) if word else EOS
                rest = (1 - chance) / (VOCAB - 2)
                values = torch.full((VOCAB,), rest).scatter(0, torch.tensor(token), chance)
                self.table[row, place] = values.log()
                self.table[row, place, MASK] = -30.0

    def __call__(self, x_t: Tensor) -> Tensor:
        return self.table.clone()


class Listener(nn.Module):
    """Has of ``AudioDiffusionLM`` what a transcriber needs; a clip is what is said in it."""

    def __init__(self) -> None:
        super().__init__()
        self.tokenizer = WordTokenizer()
        self.backbone = SimpleNamespace(config=SimpleNamespace(mask_token_id=MASK))
        self.asked: list[int] = []

    end_token_ids = frozenset({EOS})

    def default_sampler(self) -> CachedParallelSampler:
        return CachedParallelSampler(LENGTH, LENGTH, Threshold(0.9), cache=None)

    def prepare(self, *, audio: Sequence[Said], prompts: Sequence[str]) -> Oracle:
        assert len(audio) == len(prompts)
        self.asked.append(len(audio))
        return Oracle(audio)

    def decode(self, output: SamplerOutput) -> list[str]:
        texts = []
        for row in output.tokens.tolist():
            end = row.index(EOS) if EOS in row else len(row)
            texts.append(self.tokenizer.decode(row[:end]))
        return texts


def said(text: str, chance: float = 0.99) -> list[tuple[str, float]]:
    """A clip in which the model hears every word as surely."""
    return [(word, chance) for word in text.split()]


def words(*places: Any) -> str:
    return " ".join(WORDS[place] for place in places)
