"""Show an answer while it is being decoded: tokens appear in any order, gaps as underscores."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Collection, Iterator, Sequence
from itertools import groupby
from typing import Any

import torch
from torch import Tensor

from .terminal import say

GAP = "_"


def partial_text(
    tokens: Sequence[int], tokenizer: Any, mask_token_id: int, ends: Collection[int]
) -> str:
    """Text of a partly decoded response: committed tokens as text, each gap as ``_``.

    Everything from the first end token on is left out.
    """
    cut = next((i for i, token in enumerate(tokens) if token in ends), len(tokens))
    pieces = []
    for masked, run in groupby(tokens[:cut], lambda token: token == mask_token_id):
        group = list(run)
        # Gaps stand apart from words; a space in front of a word is part of its token.
        text = GAP * len(group) if masked else tokenizer.decode(group, skip_special_tokens=True)
        pieces.append(f" {text} " if masked else text)
    return " ".join("".join(pieces).split())


def stream_answer(
    model: Any, waveform: Tensor, prompt: str, *, sampler: Any, seed: int = 0
) -> Iterator[tuple[int, str, bool]]:
    """Answer one clip step by step.

    Yields:
        Forward passes so far, the text as it stands, and whether it is final.
    """
    predictor = model.prepare(audio=[waveform], prompts=[prompt])
    ends = {*model.end_token_ids}
    generator = [torch.Generator().manual_seed(seed)]
    for step in sampler.stream(predictor, generator=generator):
        if step.output is not None:
            yield step.nfe, model.decode(step.output)[0], True
        else:
            row = step.tokens[0].tolist()
            text = partial_text(row, model.tokenizer, predictor.mask_token_id, ends)
            yield step.nfe, text, False


def show_progressively(steps: Iterator[tuple[int, str, bool]], prefix: str = "") -> str:
    """Print the steps: over one another on a terminal, below one another elsewhere.

    Returns:
        The final text.
    """
    text, terminal = "", sys.stdout.isatty()
    width = shutil.get_terminal_size().columns - 1
    for nfe, text, final in steps:
        if not terminal:
            say(f"{prefix}{text}" if final else f"{prefix}[{nfe:3d}] {text}")
        else:
            end = "\n" if final else ""
            shown = f"{prefix}{text}"
            say(f"\r\x1b[K{shown if final else shown[:width]}", end=end)
    return text
