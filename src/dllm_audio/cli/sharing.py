"""One process among those that ``torchrun`` or ``accelerate launch`` started."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass

from ..errors import InvalidArgumentError


@dataclass(frozen=True, slots=True)
class Share:
    """What this process does of all there is to do; processes need not talk to each other.

    Attributes:
        rank: number of this process, from 0.
        world_size: number of processes.
        local_rank: number of this process on its machine.

    Example:
        >>> Share(rank=1, world_size=2).of(["a", "b", "c", "d", "e"])
        ['b', 'd']
    """

    rank: int = 0
    world_size: int = 1
    local_rank: int = 0

    @classmethod
    def of_environment(cls) -> Share:
        """What the launcher has set; without one, everything.

        Raises:
            InvalidArgumentError: the variables are no numbers that fit.
        """
        world_size = _number("WORLD_SIZE", 1, 1)
        if world_size == 1:
            return cls()
        rank = _number("RANK", None, 0)
        if rank >= world_size:
            raise InvalidArgumentError("RANK", f"a number below WORLD_SIZE ({world_size})", rank)
        return cls(rank, world_size, _number("LOCAL_RANK", rank, 0))

    def of(self, names: Sequence[str]) -> list[str]:
        """Every ``world_size``-th name, so that folders of similar length are shared evenly."""
        return list(names[self.rank :: self.world_size])


def _number(variable: str, default: int | None, low: int) -> int:
    found = os.environ.get(variable)
    if found is None and default is not None:
        return default
    if found is None or not (found.isascii() and found.isdigit()) or not low <= int(found) < 2**31:
        raise InvalidArgumentError(variable, f"a number from {low} on, as launchers set it", found)
    return int(found)
