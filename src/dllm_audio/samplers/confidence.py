"""How sure the model is of the token it would put at a position.

Shape letters: B rows, M positions, V vocabulary.
"""

from __future__ import annotations

import torch
from torch import Tensor

CONFIDENCES = ("max_probability", "margin", "entropy", "random")


def entropy(log_probs: Tensor) -> Tensor:
    """Entropy in nats, ``[..., V]`` to ``[...]``; impossible tokens add nothing."""
    return -(log_probs.exp() * log_probs.clamp(min=torch.finfo(log_probs.dtype).min)).sum(-1)


def margin(logits: Tensor, log_normalizer: Tensor) -> Tensor:
    """Probability of the likeliest token minus that of the second, ``[..., V]`` to ``[...]``."""
    top = (logits.topk(2, dim=-1).values - log_normalizer[..., None]).exp()
    return top[..., 0] - top[..., 1]
