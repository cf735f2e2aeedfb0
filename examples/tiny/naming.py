"""A second teacher for the adapters: their embeddings should name what the language model reads.

The language model learned to read facts and words from embeddings of words.  Through its layers the
adapters find them out slowly; here the words pull at their embeddings themselves: each fact of a
clip at some acoustic slot, each spoken word at the semantic slot in its middle.
"""

from __future__ import annotations

import torch
from described import SILENCE, token_of
from labels import (
    FACTS,
    NOT_ASKED,
    PAUSE,
    SLOT_WORDS,
    fact_labels,
    facts_loss,
    slot_labels,
    word_of,
)
from settings import NUM_QUERIES, SLOT_RATE
from torch import Tensor
from torch.nn import functional as F
from transformers import PreTrainedTokenizerFast

from dllm_audio import AudioEmbeddings, LLaDA
from dllm_audio.toy import Scene

SCALE = 0.1  # of the product of two embeddings as large as the language model's
PAUSE_WEIGHT = 0.3  # most slots hold no word


class Naming:
    """Cross-entropies between the values of each fact, and between the words of each slot.

    Args:
        backbone: whose word embeddings are named.
        tokenizer: of the backbone.
        acoustic: whether there are acoustic slots that name facts.
    """

    def __init__(
        self, backbone: LLaDA, tokenizer: PreTrainedTokenizerFast, *, acoustic: bool
    ) -> None:
        def ids(words: list[str]) -> Tensor:
            return torch.tensor([token_of(tokenizer, word) for word in words])

        self._backbone, self._acoustic = backbone, acoustic
        self._facts = {
            name: ids([f" {word_of(value)}" for value in values]) for name, values in FACTS.items()
        }
        self._words = ids([SILENCE, *(f" {word}" for word in SLOT_WORDS)])
        self._weights = torch.ones(len(self._words))
        self._weights[PAUSE] = PAUSE_WEIGHT

    def __call__(
        self, audio: AudioEmbeddings, scenes: list[Scene], loudness: list[Tensor]
    ) -> tuple[Tensor, Tensor]:
        """Mean losses of the facts and of the words of a batch.

        Args:
            audio: ``[B, S, D]``, the acoustic embeddings (or prompts in their place) first.
            scenes: the B clips.
            loudness: of their semantic slots, in dB.
        """
        embeds = audio.embeds.float()
        words = self._words_loss(embeds[:, NUM_QUERIES:], audio.lengths, scenes, loudness)
        if not self._acoustic:
            return words.new_zeros(()), words
        likeness = {
            name: self._likeness(embeds[:, :NUM_QUERIES], ids).logsumexp(dim=1)
            for name, ids in self._facts.items()
        }
        return facts_loss(likeness, fact_labels(scenes)), words

    def _likeness(self, embeds: Tensor, ids: Tensor) -> Tensor:
        """``[B, S, W]`` logits of words."""
        words = self._backbone.embed(ids).detach().float()
        return SCALE * torch.einsum("bsd,wd->bsw", embeds, words)

    def _words_loss(
        self, embeds: Tensor, lengths: Tensor, scenes: list[Scene], loudness: list[Tensor]
    ) -> Tensor:
        labels = torch.full(embeds.shape[:2], NOT_ASKED)
        for row, (scene, loud) in enumerate(zip(scenes, loudness, strict=True)):
            slots = int(lengths[row]) - NUM_QUERIES
            padded = F.pad(loud, (0, max(slots - len(loud), 0)), value=-100.0)[:slots]
            labels[row, :slots] = slot_labels(scene, slots, SLOT_RATE, padded)
        known = labels != NOT_ASKED
        found, asked = self._likeness(embeds, self._words)[known].log_softmax(-1), labels[known]
        right = found.gather(-1, asked.abs()[:, None])[:, 0]
        either = torch.logaddexp(right, found[:, PAUSE])
        weights = self._weights[asked.abs()]
        return -(weights * torch.where(asked < 0, either, right)).sum() / weights.sum()
