"""Which clips a step of the encoder's training sees."""

from __future__ import annotations

import torch
from settings import MEL_RATE
from torch import Tensor

from dllm_audio.toy import MAX_SECONDS

FULL_WINDOW = int(MAX_SECONDS * MEL_RATE)  # mel frames


class Batches:
    """Rows of each step and the window (mel frames) that they are seen in.

    Clips of like length go together; the window is a little longer than the longest, and one time
    in eight it is the whole one, which the trained encoder always sees.
    """

    def __init__(self, frames: Tensor, batch_size: int, pool: int = 8) -> None:
        self._frames, self._batch_size, self._pool = frames, batch_size, pool
        self._pools = len(frames) // (batch_size * pool)

    def __call__(self, step: int) -> tuple[Tensor, int]:
        number, within = divmod(step, self._pool)
        epoch, number = divmod(number, self._pools)
        size = self._batch_size * self._pool
        order = torch.randperm(len(self._frames), generator=torch.Generator().manual_seed(epoch))
        rows = order[number * size :][:size]
        rows = rows[self._frames[rows].argsort()]
        generator = torch.Generator().manual_seed(step)
        chosen = torch.randperm(
            self._pool, generator=torch.Generator().manual_seed(step // self._pool)
        )[within]
        rows = rows[chosen * self._batch_size :][: self._batch_size]
        slack = 4 * int(torch.randint(0, 12, (), generator=generator))
        window = min(-(-int(self._frames[rows].max()) // 4) * 4 + slack, FULL_WINDOW)
        whole = float(torch.rand((), generator=generator)) < 1 / 8
        return rows, FULL_WINDOW if whole else window
