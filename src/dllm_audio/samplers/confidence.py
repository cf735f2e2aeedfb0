"""How sure the model is of the token it would put at a position.

Every sum of exponentials is taken relative to a nearby logit: its rounding is then relative to the
probability, not to the size of the logits, and near ties keep their order.

Shape letters: B rows, M positions, V vocabulary.
"""

from __future__ import annotations

from torch import Tensor

CONFIDENCES = ("max_probability", "margin", "entropy", "random")


def probability(logits: Tensor, chosen: Tensor) -> Tensor:
    """Probability ``[B, M]`` of the tokens whose logits are ``chosen [B, M, 1]``."""
    return (logits - chosen).exp_().sum(-1).reciprocal_()


def margin(logits: Tensor, mask_id: int) -> Tensor:
    """Probability of the likeliest token minus that of the second, the mask apart, ``[B, M]``."""
    choosable = logits.clone()
    choosable[..., mask_id] = float("-inf")
    top = choosable.topk(2, dim=-1).values
    first, second = top[..., :1], top[..., 1:]
    return probability(logits, first) * (1 - (second - first).exp())[..., 0]


def entropy(logits: Tensor) -> Tensor:
    """Entropy in nats, ``[B, M]``; impossible tokens (``-inf``) add nothing."""
    shifted = logits - logits.amax(-1, keepdim=True)
    weights = shifted.exp()
    total = weights.sum(-1)
    return total.log() - (weights * shifted.masked_fill(weights == 0, 0.0)).sum(-1) / total
