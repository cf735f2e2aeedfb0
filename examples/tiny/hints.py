"""A teacher for the middle of the language model: what it should know of each slot by there.

To write the k-th word at the k-th place, a model must count the words that it reads; to tell
whether a word was said, it must compare.  From the answers alone a small transformer finds both out
very late, because one right answer needs all of it at once.  Here linear heads on a middle layer
ask of every slot: how many words have begun so far, is this the word that the question names, and
which fact does it tell?  The heads are thrown away.
"""

from __future__ import annotations

import torch
from described import SILENCE, token_of
from labels import FACTS, word_of
from settings import HINTED_LAYER, NUM_QUERIES, RESPONSE_LENGTH
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import PreTrainedTokenizerFast

from dllm_audio import LLaDA
from dllm_audio.prompts.template import PromptBatch
from dllm_audio.toy import DIGITS, ToyRecord

MOST_WORDS = 6
NO_HINT = -100
OTHER_WEIGHT = 0.15  # few slots are the word that the question names


class Hints(nn.Module):
    """The heads and their losses.

    Args:
        backbone: whose middle layer is read, from now on.
        tokenizer: of the backbone.
    """

    def __init__(self, backbone: LLaDA, tokenizer: PreTrainedTokenizerFast) -> None:
        super().__init__()
        width = backbone.config.d_model
        self.count = nn.Linear(width, MOST_WORDS + 1)
        self.named = nn.Linear(width, 2)
        self.kind = nn.Linear(width, len(FACTS) + 1)
        self._silence = token_of(tokenizer, SILENCE)
        self._digits = {word: token_of(tokenizer, f" {word}") for word in DIGITS}
        self._kinds = {
            token_of(tokenizer, f" {word_of(value)}"): kind
            for kind, values in enumerate(FACTS.values())
            for value in values
        }
        self._seen: Tensor | None = None
        backbone.blocks[HINTED_LAYER].register_forward_hook(self._keep)

    def _keep(self, block: nn.Module, inputs: object, output: Tensor) -> None:
        self._seen = output

    def forward(
        self, slots: list[list[int]], records: list[ToyRecord], prompts: PromptBatch
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Losses (counts, matches, facts) of the batch that the backbone read last.

        Args:
            slots: tokens that described each clip.
            records: what was asked.
            prompts: their prompts, left-padded.
        """
        if self._seen is None:
            raise RuntimeError("the language model has read nothing yet")
        counts, named, found, kinds, heard = [], [], [], [], []
        for row, (own, record) in enumerate(zip(slots, records, strict=True)):
            tokens = int(prompts.prompt_mask[row].sum())
            # Prompts are padded on the left, the response stands on the right.
            start = self._seen.shape[1] - RESPONSE_LENGTH - tokens - len(own)
            start += int(prompts.audio_start[row])
            found.append(self._seen[row, start + NUM_QUERIES : start + len(own)])
            heard.append(self._seen[row, start : start + NUM_QUERIES])
            kinds += [self._kinds.get(token, len(FACTS)) for token in own[:NUM_QUERIES]]
            counts.append(begun_so_far(own[NUM_QUERIES:], self._silence))
            named.append(self._matches(own[NUM_QUERIES:], record))
        hidden = torch.cat(found)
        return (
            F.cross_entropy(self.count(hidden).float(), torch.cat(counts), ignore_index=NO_HINT),
            _mean(self.named(hidden).float(), torch.cat(named)),
            F.cross_entropy(self.kind(torch.cat(heard)).float(), torch.tensor(kinds)),
        )

    def _matches(self, slots: list[int], record: ToyRecord) -> Tensor:
        """Whether each slot is the digit that is asked for; no hint where none is."""
        asked = [w for w in DIGITS if w in record.question.rstrip("?").split()]
        if record.family not in ("contains", "drill") or len(asked) != 1:
            return torch.full((len(slots),), NO_HINT)
        return torch.tensor([int(slot == self._digits[asked[0]]) for slot in slots])


def begun_so_far(slots: list[int], silence: int) -> Tensor:
    """How many runs of a word have begun up to each slot; no hint beyond the most."""
    count, found, before = 0, [], silence
    for slot in slots:
        count += slot not in (silence, before)
        found.append(count if count <= MOST_WORDS else NO_HINT)
        before = slot
    return torch.tensor(found, dtype=torch.long)


def _mean(logits: Tensor, labels: Tensor) -> Tensor:
    if not bool((labels != NO_HINT).any()):
        return logits.sum() * 0.0
    weight = torch.tensor([OTHER_WEIGHT, 1.0])
    return F.cross_entropy(logits, labels, weight, ignore_index=NO_HINT)
