"""A second teacher for the acoustic adapter: its embeddings should name the facts of a clip.

The language model learned to read facts from embeddings of words.  Through its frozen layers the
adapter finds them out slowly; here the facts pull at its embeddings themselves.
"""

from __future__ import annotations

import torch
from described import token_of
from labels import FACTS, fact_labels, fact_losses, word_of
from settings import NUM_QUERIES
from torch import Tensor
from transformers import PreTrainedTokenizerFast

from dllm_audio import LLaDA
from dllm_audio.toy import Scene

SCALE = 0.1  # of the product of two embeddings as large as the language model's


class Naming:
    """Cross-entropy between the values of each fact, by their likeness to the best slots.

    Args:
        backbone: whose word embeddings are named.
        tokenizer: of the backbone.
    """

    def __init__(self, backbone: LLaDA, tokenizer: PreTrainedTokenizerFast) -> None:
        def embeddings(values: tuple) -> Tensor:
            ids = [token_of(tokenizer, f" {word_of(value)}") for value in values]
            return backbone.embed(torch.tensor(ids)).detach()

        self._words = {name: embeddings(values) for name, values in FACTS.items()}

    def __call__(self, embeds: Tensor, scenes: list[Scene]) -> Tensor:
        """Mean loss over the known facts of a batch.

        Args:
            embeds: ``[B, S, D]`` audio embeddings, the acoustic ones first.
            scenes: the B clips.
        """
        slots = embeds[:, :NUM_QUERIES].float()
        likeness = {
            name: (SCALE * torch.einsum("bsd,wd->bsw", slots, words)).logsumexp(dim=1)
            for name, words in self._words.items()
        }
        losses = fact_losses(likeness, fact_labels(scenes))
        return losses.sum() / max(len(losses), 1)
