"""Work that one process does for all, however long it takes."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any, TypeVar

import torch

from ..errors import DataError

T = TypeVar("T")
# Decoding the audio of a large data set takes hours; waiting for it is no hang.
_PATIENCE = timedelta(days=7)


def from_main_process(compute: Callable[[], T], timeout: timedelta, cpu: bool = False) -> T:
    """The result of ``compute``, which the main process alone calls; every process must come here.

    Args:
        compute: gives something that can be pickled.
        timeout: of the training's own collective calls; the first call that starts the processes'
            communication decides on it.
        cpu: train without a GPU even where there is one.

    Raises:
        DataError: in the other processes, where ``compute`` raised anything in the main one.
    """
    from accelerate import PartialState

    state = PartialState(cpu=cpu, timeout=timeout)
    if state.num_processes == 1:
        return compute()
    # A group of its own, because the others wait here: with a timeout of days for all groups, a
    # hang in training would go unnoticed for as long.
    group = torch.distributed.new_group(backend="gloo", timeout=_PATIENCE)
    outcome: list[Any] = [None, None]
    problem: Exception | None = None
    if state.is_main_process:
        try:
            outcome[0] = compute()
        except Exception as error:  # whatever it is, the others must not wait for a result
            problem, outcome[1] = error, f"{type(error).__name__}: {error}"
    torch.distributed.broadcast_object_list(outcome, src=0, group=group)
    if problem is not None:
        raise problem
    if outcome[1] is not None:
        raise DataError(f"in the main process: {outcome[1]}")
    return outcome[0]
