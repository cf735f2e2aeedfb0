"""Rows of tokens: stacked with padding, or split where a prompt ends."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from ..errors import InvalidArgumentError


def split_target(
    token_ids: Sequence[int], prompt_ids: Sequence[int]
) -> tuple[list[int], list[int]]:
    """Split tokens into the prompt and what follows it.

    Raises:
        InvalidArgumentError: ``token_ids`` does not start with ``prompt_ids``.
    """
    length = len(prompt_ids)
    if list(token_ids[:length]) != list(prompt_ids):
        raise InvalidArgumentError("token_ids", "tokens that start with the prompt's", token_ids)
    return list(token_ids[:length]), list(token_ids[length:])


def left_pad(rows: Sequence[Sequence[int]], pad_token_id: int) -> tuple[Tensor, Tensor]:
    """Stack rows of tokens, padded on the left.

    Returns:
        Tokens ``[B, P]`` int64 and mask ``[B, P]`` bool, True where a token is real.
    """
    longest = max(map(len, rows), default=0)
    token_ids = torch.full((len(rows), longest), pad_token_id, dtype=torch.int64)
    mask = torch.zeros(len(rows), longest, dtype=torch.bool)
    for i, row in enumerate(rows):
        token_ids[i, longest - len(row) :] = torch.tensor(row, dtype=torch.int64)
        mask[i, longest - len(row) :] = True
    return token_ids, mask
