"""The order in which training visits the rows: a function of seed and epoch, and of nothing else.

It does not depend on the number of processes, on the micro-batch size or on where a run was
interrupted, so that all of these give the same run.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from torch.utils.data import Sampler

from ..errors import InvalidArgumentError

# Rows are sorted by length inside pools of so many batches: enough for batches of even length, few
# enough for the order to stay random.
_BATCHES_PER_POOL = 50


class EpochOrder(Sampler[int]):
    """Shuffled rows in whole global batches, anew in every epoch, optionally grouped by length.

    Rows that do not fill a last global batch are left out; they are others in each epoch.

    Args:
        size: rows of the data set.
        global_batch: rows of one optimizer step, over all processes and accumulation.
        seed: of the order.
        lengths: one number per row; batches then hold rows of similar length.

    Raises:
        InvalidArgumentError: fewer rows than one global batch, or other numbers of lengths.

    Example:
        >>> order = EpochOrder(size=10, global_batch=4, seed=0)
        >>> len(list(order)), list(order) == list(order)
        (8, True)
    """

    def __init__(
        self, size: int, global_batch: int, seed: int = 0, lengths: Sequence[float] | None = None
    ) -> None:
        if not 1 <= global_batch <= size:
            raise InvalidArgumentError(
                "global_batch", f"1 to {size}, the rows of the data set", global_batch
            )
        if lengths is not None and len(lengths) != size:
            raise InvalidArgumentError("lengths", f"{size} numbers", len(lengths))
        self.size, self.global_batch, self.seed, self.lengths = size, global_batch, seed, lengths
        self.epoch = 0

    def set_epoch(self, epoch: int) -> None:
        """Choose the epoch whose order the next iteration gives."""
        self.epoch = epoch

    def __len__(self) -> int:
        return self.size // self.global_batch * self.global_batch

    def __iter__(self) -> Iterator[int]:
        generator = torch.Generator().manual_seed(self.seed * 1_000_003 + self.epoch)
        rows = torch.randperm(self.size, generator=generator).tolist()
        if self.lengths is not None:
            rows = self._grouped(rows, self.lengths, generator)
        return iter(rows[: len(self)])

    def _grouped(
        self, rows: list[int], lengths: Sequence[float], generator: torch.Generator
    ) -> list[int]:
        width = self.global_batch
        pool = width * _BATCHES_PER_POOL
        batches = []
        for start in range(0, len(self), pool):
            chosen = rows[start : min(start + pool, len(self))]
            chosen.sort(key=lambda row: lengths[row], reverse=True)
            batches += [chosen[i : i + width] for i in range(0, len(chosen), width)]
        shuffled = torch.randperm(len(batches), generator=generator).tolist()
        return [row for batch in shuffled for row in batches[batch]]
