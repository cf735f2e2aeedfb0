"""Entropy-bounded unmasking (arXiv 2505.24857, section 4)."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from ...errors import InvalidArgumentError
from .base import CommitRule, CommitState, ranks


@dataclass(frozen=True)
class EntropyBound(CommitRule):
    """Commit the largest set whose entropies, without the largest one, sum to at most ``gamma``.

    Positions are taken in order of rising entropy ``H_1 <= H_2 <= ...``; k of them are committed
    for the largest k with ``(H_1 + ... + H_k) - H_k <= gamma``, so that the first always is.

    Args:
        gamma: bound in nats, >= 0.

    Raises:
        InvalidArgumentError: ``gamma`` below 0.

    Example:
        >>> entropy = torch.tensor([[0.30, 0.02, 0.07]])
        >>> masked = torch.ones(1, 3, dtype=torch.bool)
        >>> state = CommitState(-entropy, masked, entropy, torch.tensor([3]), 0, None)
        >>> EntropyBound(0.1).commit(state)  # 0.02 + 0.07 + 0.30 - 0.30 <= 0.1
        tensor([[True, True, True]])
    """

    gamma: float = 0.1
    needs_entropy = True

    def __post_init__(self) -> None:
        if not self.gamma >= 0:
            raise InvalidArgumentError("gamma", "a number >= 0", self.gamma)

    def commit(self, state: CommitState) -> Tensor:
        """The positions of least entropy."""
        entropy = state.entropy if state.entropy is not None else -state.confidence
        entropy = entropy.masked_fill(~state.candidates, float("inf"))
        ranked = entropy.sort(dim=-1, stable=True).values
        before = torch.cat((torch.zeros_like(ranked[:, :1]), ranked[:, :-1].cumsum(-1)), dim=-1)
        count = (before <= self.gamma).sum(-1)
        return ranks(-entropy) < count[:, None]
