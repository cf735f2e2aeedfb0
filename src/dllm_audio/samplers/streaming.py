"""Show a response while it is decoded, through the streamers of transformers."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from itertools import groupby
from typing import Any

import torch
from torch import Tensor

from ..errors import InvalidArgumentError
from ..outputs import SamplerOutput
from ..protocols import MaskPredictor
from .loop import Sampler
from .state import DecodingStep, first_end

GAP = "_"


def decided(
    step: DecodingStep, mask_token_id: int, ends: Collection[int | None]
) -> tuple[int, int]:
    """How far the response of one row is known for good, and where it ends as it stands.

    Args:
        step: of one row.
        mask_token_id: the predictor's.
        ends: tokens that end the text.

    Returns:
        Positions before the first are known and stay; the second is the place of the first end
        token, or R where there is none.

    Example:
        >>> decided(DecodingStep(1, torch.tensor([[5, 9, 6, 0, 9]])), mask_token_id=9, ends={0})
        (1, 3)
    """
    tokens = step.tokens[0].tolist()
    stop = first_end(tokens, ends)
    known = next((i for i, token in enumerate(tokens[:stop]) if token == mask_token_id), stop)
    return (known if step.final is None else min(known, step.final)), stop


def partial_text(
    tokens: Sequence[int], tokenizer: Any, mask_token_id: int, ends: Collection[int]
) -> str:
    """Text of a partly decoded response: committed tokens as text, each gap as ``_``.

    Everything from the first end token on is left out.

    Args:
        tokens: of one row.
        tokenizer: decodes them.
        mask_token_id: the predictor's.
        ends: tokens that end the text.
    """
    known, pieces = tokens[: first_end(tokens, ends)], []
    for masked, run in groupby(known, lambda token: token == mask_token_id):
        group = list(run)
        # Gaps stand apart from words; a space in front of a word is part of its token.
        text = GAP * len(group) if masked else tokenizer.decode(group, skip_special_tokens=True)
        pieces.append(f" {text} " if masked else text)
    return " ".join("".join(pieces).split())


def stream_to(
    streamer: Any,
    sampler: Sampler,
    predictor: MaskPredictor,
    *,
    end_token_ids: Iterable[int] | None = None,
    gap_token_id: int | None = None,
    **options: Any,
) -> SamplerOutput:
    """Decode one response and feed a streamer.

    Tokens are put as soon as everything before them is committed (and final, where the sampler may
    take tokens back), up to the first end token. A streamer that also takes drafts (transformers'
    ``TextDiffusionStreamer``) gets, after every forward pass, what is known beyond them.

    Args:
        streamer: has ``put`` and ``end``, and perhaps ``put_draft``: a ``TextStreamer``, a
            ``TextIteratorStreamer``, a ``TextDiffusionStreamer`` or one of your own.
        sampler: decodes.
        predictor: of one row.
        end_token_ids: what ends the text; None: the predictor's EOS.
        gap_token_id: stands for undecided positions in drafts; None: the mask itself.
        options: passed to the sampler (``start=``, ``generator=``).

    Returns:
        The sampler's output.

    Raises:
        InvalidArgumentError: a predictor of several rows.

    Example:
        >>> from dllm_audio import CachedParallelSampler, toy
        >>> from transformers import TextStreamer
        >>> model, clip = toy.small_model(), toy.clips()[0]
        >>> predictor = model.prepare(audio=clip.path, prompts="What is said?")
        >>> streamer = TextStreamer(model.tokenizer, skip_special_tokens=True)
        >>> output = stream_to(streamer, CachedParallelSampler(16, 16), predictor,
        ...                    end_token_ids=model.end_token_ids)
        three seven five six
    """
    if predictor.batch_size != 1:
        raise InvalidArgumentError("predictor", "one row, to stream it", predictor.batch_size)
    mask = predictor.mask_token_id
    ends = {predictor.eos_token_id} if end_token_ids is None else set(end_token_ids)
    if getattr(streamer, "skip_prompt", False):
        streamer.put(torch.empty(0, dtype=torch.long))  # it drops the first piece
    put_draft = getattr(streamer, "put_draft", None)
    shown = 0
    output: SamplerOutput | None = None
    for step in sampler.stream(predictor, **options):
        tokens = step.tokens[0].tolist()
        known, stop = decided(step, mask, ends)
        if known > shown:
            streamer.put(_ids(tokens[shown:known]))
            shown = known
        draft = tokens[shown:stop]
        while draft and draft[-1] == mask:
            draft.pop()
        if draft and put_draft is not None:
            gap = mask if gap_token_id is None else gap_token_id
            put_draft(_ids([gap if token == mask else token for token in draft]))
        output = step.output
    streamer.end()
    if output is None:
        raise InvalidArgumentError("sampler", "one whose last step carries the output", sampler)
    return output


def _ids(tokens: list[int]) -> Tensor:
    return torch.tensor(tokens, dtype=torch.long)
