"""A hypothesis as a response with gaps: what a sampler starts from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ..errors import InvalidArgumentError
from ..protocols import Tokenizer
from .spelling import spell


@dataclass(frozen=True, slots=True)
class DraftedHypothesis:
    """A response in which some words are open.

    Attributes:
        tokens: ``[R]`` int64: words that stay, the mask id in place of the others, the end.
        spans: of every word, the positions ``[start, end)`` of its tokens.
    """

    tokens: Tensor
    spans: tuple[tuple[int, int], ...]


def draft_from(
    words: Sequence[str],
    masked: Sequence[bool],
    tokenizer: Tokenizer,
    gen_length: int,
    *,
    mask_token_id: int,
    end_token_ids: Sequence[int],
) -> DraftedHypothesis:
    """A ``start`` for samplers from a hypothesis some of whose words are in doubt.

    Args:
        words: of the hypothesis; a word that is put in where none was, as a free slot, has the
            length of the word given for it.
        masked: which of them are open: as many masks stand there as the word has tokens.
        tokenizer: of the model.
        gen_length: R.
        mask_token_id: the predictor's.
        end_token_ids: what follows the text; the last one fills the response up.

    Returns:
        Tokens ``[R]``, and where every word lies.

    Raises:
        InvalidArgumentError: another number of flags than of words, no end, or a text that with
            its end does not fit into ``gen_length``.

    Example:
        >>> from dllm_audio.toy import small_model
        >>> draft = draft_from(["three", "nine"], [False, True], small_model().tokenizer, 4,
        ...                    mask_token_id=5, end_token_ids=[4, 1])
        >>> draft.tokens[1:], draft.spans
        (tensor([5, 4, 1]), ((0, 1), (1, 2)))
    """
    if len(masked) != len(words):
        raise InvalidArgumentError("masked", f"one flag a word ({len(words)})", len(masked))
    if not end_token_ids:
        raise InvalidArgumentError("end_token_ids", "at least one id", list(end_token_ids))
    spelled = spell(tokenizer, words)
    length = sum(map(len, spelled))
    if length >= gen_length:
        expected = f"a text that with its end fits into gen_length ({gen_length} tokens)"
        raise InvalidArgumentError("words", expected, f"{length} tokens and the end")
    tokens = torch.full((gen_length,), end_token_ids[-1])
    spans, place = [], 0
    for ids, hidden in zip(spelled, masked, strict=True):
        spans.append((place, place + len(ids)))
        tokens[place : place + len(ids)] = (
            mask_token_id if hidden else torch.tensor(ids, dtype=torch.long)
        )
        place += len(ids)
    ends = torch.tensor(list(end_token_ids)[: gen_length - place], dtype=torch.long)
    tokens[place : place + len(ends)] = ends
    return DraftedHypothesis(tokens, tuple(spans))
