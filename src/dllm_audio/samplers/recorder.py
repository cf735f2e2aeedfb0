"""Remembers when and how surely each position was committed."""

from __future__ import annotations

import torch
from torch import Tensor

from ..outputs import Trace
from .canvas import ActiveRows


class TraceRecorder:
    """Collects a :class:`dllm_audio.outputs.Trace` on the device.

    Args:
        tokens: ``[B, R]``, for its size and device.
    """

    def __init__(self, tokens: Tensor) -> None:
        self._step = torch.full(tokens.shape, -1, dtype=torch.long, device=tokens.device)
        self._confidence = torch.full(tokens.shape, float("nan"), device=tokens.device)

    def record(
        self, rows: ActiveRows, start: int, commit: Tensor, confidence: Tensor, step: int
    ) -> None:
        """Note the commits ``[N, C]`` of the forward pass number ``step``."""
        index = slice(None) if rows.index is None else rows.index
        columns = slice(start, start + commit.shape[1])
        old = self._step[index, columns], self._confidence[index, columns]
        self._step[index, columns] = torch.where(commit, step, old[0])
        self._confidence[index, columns] = torch.where(commit, confidence.float(), old[1])

    def trace(self) -> Trace:
        """What was recorded."""
        return Trace(self._step.clone(), self._confidence.clone())
