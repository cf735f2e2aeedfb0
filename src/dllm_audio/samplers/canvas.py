"""The responses as they stand: tokens of all rows, and which rows are done.

Shape letters: B rows of the batch, N rows still decoding, R response positions.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ..errors import InvalidArgumentError, ShapeError

FINISHED = -1


@dataclass(frozen=True, slots=True)
class ActiveRows:
    """Rows that take part in forward passes.

    Attributes:
        numbers: their places in the batch.
        left: masked positions each has left in the active block; 0 for a row that waits.
        index: ``numbers`` as a tensor ``[N]``, or None when they are the whole batch.
    """

    numbers: list[int]
    left: list[int]
    index: Tensor | None

    def deciding(self) -> list[int | None]:
        """``numbers``, with None for rows that wait for the others to finish the block."""
        return [n if left > 0 else None for n, left in zip(self.numbers, self.left, strict=True)]


class Canvas:
    """Tokens ``[B, R]`` under construction.

    Args:
        predictor: gives batch size, device and token ids.
        gen_length: response positions R.
        start: ``[B, R]`` int64 tokens to begin from; None: all masks.
        eos_stop: rows end at their first EOS once everything before it is committed.
    """

    def __init__(
        self, predictor: Any, gen_length: int, start: Tensor | None, eos_stop: bool
    ) -> None:
        self.device = torch.device(getattr(predictor, "device", "cpu"))
        self.mask_id = int(attribute(predictor, "mask_token_id"))
        self.eos_id: int | None = getattr(predictor, "eos_token_id", None)
        if eos_stop and self.eos_id is None:
            raise InvalidArgumentError("eos_stop", "False (the predictor has no EOS id)", True)
        self.eos_stop = eos_stop
        self.finished: set[int] = set()
        self.tokens = self._initial(predictor, gen_length, start)

    def _initial(self, predictor: Any, gen_length: int, start: Tensor | None) -> Tensor:
        if start is None:
            size = (int(attribute(predictor, "batch_size")), gen_length)
            tokens = torch.full(size, self.mask_id, device=self.device)
        else:
            batch = getattr(predictor, "batch_size", start.shape[0])
            if start.shape != (batch, gen_length) or start.is_floating_point():
                expected = f"int64 [{batch}, {gen_length}]"
                raise ShapeError("start", expected, f"{start.dtype} {list(start.shape)}")
            tokens = start.to(device=self.device, dtype=torch.long, copy=True)
            if bool((tokens < 0).any()):
                raise InvalidArgumentError("start", "token ids >= 0", int(tokens.min()))
        real = getattr(predictor, "response_mask", None)
        if real is None:
            return tokens
        if real.shape != tokens.shape:
            raise ShapeError("response_mask", f"{list(tokens.shape)}", list(real.shape))
        if self.eos_id is None:
            raise InvalidArgumentError("eos_token_id", "an id, to fill padded positions", None)
        return torch.where(real, tokens, self.eos_id)

    def rows_in_block(self, start: int, end: int) -> ActiveRows:
        """The unfinished rows that have masks in the block; one host synchronization."""
        everyone = ActiveRows(list(range(self.tokens.shape[0])), [], None)
        self.tokens, status = self.settle(self.tokens, start, end)
        return self.update(everyone, status.tolist())

    def rows_from_block(self, start: int, end: int, among: ActiveRows | None) -> ActiveRows:
        """The unfinished rows that have masks in the block or behind it.

        Args:
            start: first position of the block.
            end: the position after its last.
            among: rows to look at; None: all.
        """
        self.tokens, status = self.settle(self.tokens, start, end)
        waits = (self.tokens[:, start:] == self.mask_id).any(-1)
        left, going = status.tolist(), waits.tolist()
        self.finished.update(n for n, value in enumerate(left) if value == FINISHED)
        numbers = list(range(len(left))) if among is None else among.numbers
        numbers = [n for n in numbers if going[n] and n not in self.finished]
        return self._rows(numbers, [left[n] for n in numbers])

    def update(self, rows: ActiveRows, status: list[int], keep_waiting: float = 0.0) -> ActiveRows:
        """Rows that go on after a step.

        Args:
            rows: those that took part.
            status: see :meth:`settle`, on the host.
            keep_waiting: keep rows that only wait as long as no more than this share of the rows
                waits: leaving costs a move within the cache.
        """
        left = []
        for number, value in zip(rows.numbers, status, strict=True):
            if value == FINISHED:
                self.finished.add(number)
            left.append(0 if number in self.finished else value)
        waiting = left.count(0)
        if waiting == 0 or (waiting < len(left) and waiting <= keep_waiting * len(left)):
            return ActiveRows(rows.numbers, left, rows.index)
        going = [i for i, count in enumerate(left) if count > 0]
        return self._rows([rows.numbers[i] for i in going], [left[i] for i in going])

    def _rows(self, numbers: list[int], left: list[int]) -> ActiveRows:
        index = torch.tensor(numbers, dtype=torch.long, device=self.device)
        return ActiveRows(numbers, left, None if len(numbers) == len(self.tokens) else index)

    def take(self, rows: ActiveRows) -> Tensor:
        """Tokens ``[N, R]`` of some rows."""
        return self.tokens if rows.index is None else self.tokens[rows.index]

    def put(self, rows: ActiveRows, tokens: Tensor) -> None:
        """Replace the tokens of some rows."""
        if rows.index is None:
            self.tokens = tokens
        else:
            self.tokens = self.tokens.index_copy(0, rows.index, tokens)

    def settle(self, tokens: Tensor, start: int, end: int) -> tuple[Tensor, Tensor]:
        """End the rows that the EOS rule ends, and see how far the others are.

        Args:
            tokens: ``[N, R]``.
            start: first position of the active block.
            end: the position after its last.

        Returns:
            tokens ``[N, R]`` with EOS in place of every mask of an ended row, which has nothing
            left to decide then; and ``[N]`` masks left in the block, ``FINISHED`` for ended rows.
        """
        masked = tokens == self.mask_id
        left = masked[:, start:end].sum(-1)
        if not self.eos_stop or self.eos_id is None:
            return tokens, left
        # Only once everything before the first EOS is decided: cutting earlier would lose text.
        is_eos = tokens[:, :end] == self.eos_id
        before_eos = is_eos.int().cumsum(-1) == 0
        done = is_eos.any(-1) & ~(masked[:, :end] & before_eos).any(-1)
        tokens = tokens.masked_fill(masked & done[:, None], self.eos_id)
        return tokens, left.masked_fill(done, FINISHED)

    def lengths(self) -> Tensor:
        """Tokens before the first EOS, ``[B]``."""
        batch, length = self.tokens.shape
        if self.eos_id is None:
            return torch.full((batch,), length, device=self.device)
        return (self.tokens == self.eos_id).int().cumsum(-1).eq(0).sum(-1)


def attribute(predictor: Any, name: str) -> Any:
    """An attribute that every predictor needs, or an error that names it."""
    value = getattr(predictor, name, None)
    if value is None:
        expected = f"a MaskPredictor with the attribute {name}"
        raise InvalidArgumentError("predictor", expected, type(predictor).__name__)
    return value
