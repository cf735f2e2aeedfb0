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

    Raises:
        InvalidArgumentError: a number of generators other than B.
    """

    def __init__(self, batch_size: int, generator: Generators = None) -> None:
        if generator is None or isinstance(generator, torch.Generator):
            device = "cpu" if generator is None else generator.device
            seeds = torch.randint(2**62, (batch_size,), generator=generator, device=device)
            self._generators = [torch.Generator(device).manual_seed(s) for s in seeds.tolist()]
        else:
            self._generators = list(generator)
        if len(self._generators) != batch_size:
            expected = f"one generator a row ({batch_size}), one for all, or None"
            raise InvalidArgumentError("generator", expected, len(self._generators))

    def uniform(
        self,
        rows: Sequence[int | None],
        shape: tuple[int, ...],
        device: torch.device,
        dtype: torch.dtype,
    ) -> Tensor:
        """Uniform numbers in [0, 1), ``[len(rows), *shape]``, each row from its own stream.

        A row given as None draws nothing and gets zeros, so that a row that waits for others
        does not advance.
        """
        drawn = []
        for row in rows:
            if row is None:
                drawn.append(torch.zeros(shape, device=device, dtype=dtype))
            else:
                stream = self._generators[row]
                values = torch.rand(shape, generator=stream, device=stream.device, dtype=dtype)
                drawn.append(values.to(device))
        return torch.stack(drawn)
