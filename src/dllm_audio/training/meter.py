"""Sums of what is measured, over micro-batches, processes and steps, until they are logged."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import torch
from torch import Tensor

if TYPE_CHECKING:
    from accelerate import Accelerator


class Meter:
    """Sum and count of every value since the meter was made; means when they are wanted.

    Args:
        totals: ``[sum, count]`` by name, as a checkpoint keeps them.

    Example:
        >>> meter = Meter()
        >>> meter.add({"loss": [3.0, 2.0]}), meter.add({"loss": [1.0, 2.0]})
        (None, None)
        >>> meter.means()
        {'loss': 1.0}
    """

    def __init__(self, totals: Mapping[str, list[float]] | None = None) -> None:
        self.totals: dict[str, list[float]] = dict(totals or {})

    def add(self, values: Mapping[str, list[float]]) -> None:
        """Add sums and counts."""
        for name, (total, count) in values.items():
            before = self.totals.get(name, [0.0, 0.0])
            self.totals[name] = [before[0] + total, before[1] + count]

    def means(self) -> dict[str, float]:
        """Sum over count, of what was counted at all."""
        return {name: total / count for name, (total, count) in self.totals.items() if count}


class DeviceMeter:
    """The same on the device: nothing waits for it until :meth:`over_processes`."""

    def __init__(self) -> None:
        self.totals: dict[str, Tensor] = {}

    def add(self, outputs: Mapping[str, Tensor], rows: int, loss_is_mean: bool) -> None:
        """Add a batch.

        Args:
            outputs: of a task: ``loss`` and perhaps ``margin [B]``.
            rows: how many of its rows count; 0 where another process counts them.
            loss_is_mean: the loss is a mean over rows, as in evaluation, and no share of a step's.
        """
        values = {k: v.detach().float() for k, v in outputs.items()}
        if "margin" in values:
            values["preference_accuracy"] = (values["margin"] > 0).float()
        for name, value in values.items():
            total = value[:rows].sum() if value.ndim else value
            if name == "loss" and loss_is_mean:
                total = value * rows
            pair = torch.stack((total, total.new_tensor(float(rows))))
            self.totals[name] = self.totals[name] + pair if name in self.totals else pair

    def over_processes(self, accelerator: Accelerator) -> dict[str, list[float]]:
        """Sum and count over all processes, on the host; every process must call."""
        names = sorted(self.totals)
        pairs = accelerator.reduce(torch.stack([self.totals[n] for n in names]), "sum")
        return dict(zip(names, pairs.tolist(), strict=True))
