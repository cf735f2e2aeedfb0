"""From questions to the masked-diffusion loss; used wherever something learns to answer."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from settings import RESPONSE_LENGTH
from torch import Tensor
from transformers import PreTrainedTokenizerFast

from dllm_audio import (
    AudioEmbeddings,
    ChatTemplate,
    LLaDA,
    MaskedDiffusionLoss,
    condition,
    mask_tokens,
    sample_times,
)
from dllm_audio.toy import ToyRecord

# Answers are short: at small times hardly one of their tokens is masked, and its weight 1 / t only
# adds variance.
SMALLEST_TIME = 0.25


class Answering:
    """The loss of a batch of questions, given what is heard.

    Args:
        backbone: reads prompts and audio embeddings.
        tokenizer: of the backbone.
    """

    def __init__(self, backbone: LLaDA, tokenizer: PreTrainedTokenizerFast) -> None:
        self.backbone, self.tokenizer = backbone, tokenizer
        self._template = ChatTemplate(tokenizer)
        self._loss = MaskedDiffusionLoss()

    def __call__(
        self, audio: AudioEmbeddings, records: Sequence[ToyRecord], generator: torch.Generator
    ) -> Tensor:
        """Scalar loss; ``audio`` and ``records`` row by row."""
        prompts = self._template([record.prompt for record in records])
        x_0 = self.responses([record.answer for record in records])
        predictor = condition(
            self.backbone,
            prompts.prompt_ids,
            prompt_mask=prompts.prompt_mask,
            audio=audio,
            audio_start=prompts.audio_start,
        )
        t = sample_times(len(records), eps=SMALLEST_TIME, low_discrepancy=True, generator=generator)
        mask = mask_tokens(x_0, t, predictor.mask_token_id, generator=generator).mask
        return self._loss(predictor, x_0, mask, t).loss

    def responses(self, targets: Sequence[str]) -> Tensor:
        """``[B, R]`` the answer, the end of the turn, then padding that is learned as well."""
        rows = torch.full((len(targets), RESPONSE_LENGTH), self._template.pad_token_id)
        for row, target in zip(rows, targets, strict=True):
            ids = self.tokenizer.encode(target, add_special_tokens=False)
            ids = [*ids, self._template.end_of_turn_id]
            if len(ids) > RESPONSE_LENGTH:
                raise ValueError(f"{target!r} has {len(ids)} tokens, more than {RESPONSE_LENGTH}")
            row[: len(ids)] = torch.tensor(ids)
        return rows
