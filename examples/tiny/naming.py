"""A second teacher for the acoustic adapter: its embeddings should name the facts of a clip.

The language model learned to read facts from embeddings of words.  Through its frozen layers the
adapter finds them out slowly; here the facts pull at its embeddings themselves.
"""

from __future__ import annotations

import torch
from described import FACT_NAMES
from labels import FACTS, UNKNOWN, fact_labels
from settings import NUM_QUERIES
from torch import Tensor
from torch.nn import functional as F
from transformers import PreTrainedTokenizerFast

from dllm_audio import LLaDA
from dllm_audio.data.toy import DIGITS, Scene

SCALE = 0.1  # of the product of two embeddings as large as the language model's


class Naming:
    """Cross-entropy between the values of each fact, by their likeness to the best slots.

    Args:
        backbone: whose word embeddings are named.
        tokenizer: of the backbone.
    """

    def __init__(self, backbone: LLaDA, tokenizer: PreTrainedTokenizerFast) -> None:
        def embeddings(values: tuple) -> Tensor:
            words = [DIGITS[value] if isinstance(value, int) else value for value in values]
            ids = [tokenizer.encode(f" {word}", add_special_tokens=False) for word in words]
            return backbone.embed(torch.tensor(ids)[:, 0]).detach()

        self._words = {name: embeddings(FACTS[name]) for name in FACT_NAMES}

    def __call__(self, embeds: Tensor, scenes: list[Scene]) -> Tensor:
        """Mean loss over the known facts of a batch.

        Args:
            embeds: ``[B, S, D]`` audio embeddings, the acoustic ones first.
            scenes: the B clips.
        """
        slots, labels = embeds[:, :NUM_QUERIES].float(), fact_labels(scenes)
        losses = []
        for name, words in self._words.items():
            if bool((labels[name] != UNKNOWN).any()):
                likeness = SCALE * torch.einsum("bsd,wd->bsw", slots, words)
                losses.append(F.cross_entropy(likeness.logsumexp(dim=1), labels[name]))
        return torch.stack(losses).mean() if losses else embeds.sum() * 0
