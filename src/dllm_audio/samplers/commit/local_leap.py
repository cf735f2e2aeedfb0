"""LocalLeap: relaxed commitment around confident anchors (arXiv 2510.07081)."""

from __future__ import annotations

from dataclasses import dataclass

import torch.nn.functional as F
from torch import Tensor

from ...errors import InvalidArgumentError
from .base import CommitRule, CommitState


@dataclass(frozen=True)
class LocalLeap(CommitRule):
    """Commit confident anchors, and their neighbors at a lower threshold.

    Args:
        anchor: confidence that makes a masked position an anchor.
        relaxed: confidence that suffices within ``radius`` positions of an anchor.
        radius: reach of an anchor in positions, within the block.

    Raises:
        InvalidArgumentError: ``relaxed`` above ``anchor``, or a radius that is no integer >= 0.

    Example:
        >>> import torch
        >>> confidence = torch.tensor([[0.95, 0.80, 0.50, 0.80]])
        >>> state = CommitState(confidence, confidence > 0, None, torch.tensor([4]), 0, None)
        >>> LocalLeap(radius=2).commit(state)  # the last one is too far from the anchor
        tensor([[ True,  True, False, False]])
    """

    anchor: float = 0.9
    relaxed: float = 0.75
    radius: int = 4

    def __post_init__(self) -> None:
        if not self.relaxed <= self.anchor:
            raise InvalidArgumentError("relaxed", f"at most anchor ({self.anchor})", self.relaxed)
        if not isinstance(self.radius, int) or self.radius < 0:
            raise InvalidArgumentError("radius", "an integer >= 0", self.radius)

    def commit(self, state: CommitState) -> Tensor:
        """Anchors and confident neighbors."""
        anchors = state.confidence >= self.anchor
        width = 2 * self.radius + 1
        near = F.max_pool1d(anchors.float()[:, None], width, stride=1, padding=self.radius)[:, 0]
        return anchors | ((near > 0) & (state.confidence >= self.relaxed))
