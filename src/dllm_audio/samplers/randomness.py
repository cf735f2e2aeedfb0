"""One stream of random numbers a row, so that a row's samples do not depend on its batch."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from ..errors import InvalidArgumentError

Generators = torch.Generator | Sequence[torch.Generator] | None


class RowStreams:
    """Random numbers for chosen rows of a batch.

    Args:
        batch_size: rows B.
        generator: one generator a row; or one for all, from which every row's own stream is
            seeded; or None, which seeds from torch's global generator.
        device: where the numbers are needed; streams that are made here live there.

    Raises:
        InvalidArgumentError: a number of generators other than B.
    """

    def __init__(
        self, batch_size: int, generator: Generators = None, device: torch.device | str = "cpu"
    ) -> None:
        self.device = torch.device(device)
        if generator is None or isinstance(generator, torch.Generator):
            source = "cpu" if generator is None else generator.device
            seeds = torch.randint(2**62, (batch_size,), generator=generator, device=source)
            self._generators = [torch.Generator(device).manual_seed(s) for s in seeds.tolist()]
        else:
            self._generators = list(generator)
        if len(self._generators) != batch_size:
            expected = f"one generator a row ({batch_size}), one for all, or None"
            raise InvalidArgumentError("generator", expected, len(self._generators))

    def uniform(
        self, rows: Sequence[int | None], shape: tuple[int, ...], dtype: torch.dtype
    ) -> Tensor:
        """Uniform numbers in [0, 1), ``[len(rows), *shape]``, each row from its own stream.

        A row given as None draws nothing and gets zeros, so that a row that waits for others
        does not advance.
        """
        drawn = torch.zeros(len(rows), *shape, dtype=dtype, device=self.device)
        for place, row in enumerate(rows):
            if row is None:
                continue
            stream = self._generators[row]
            if stream.device == self.device:
                torch.rand(shape, generator=stream, dtype=dtype, out=drawn[place])
            else:
                numbers = torch.rand(shape, generator=stream, device=stream.device, dtype=dtype)
                drawn[place].copy_(numbers)
        return drawn
