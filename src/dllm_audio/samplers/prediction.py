"""From logits to a token and a confidence at every position.

Shape letters: B rows, M positions, V vocabulary.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from .confidence import entropy, margin, probability


@dataclass(frozen=True, slots=True)
class Prediction:
    """What the model would commit at each position.

    Attributes:
        tokens: ``[B, M]`` int64; never the mask id.
        confidence: ``[B, M]`` float32 (float64 for float64 logits).
        entropy: ``[B, M]`` in nats, or None where nobody asked.
        penalty: ``[B, M]`` by how much commit rules see less confidence (and more entropy), to
            put positions off; or None.
    """

    tokens: Tensor
    confidence: Tensor
    entropy: Tensor | None = None
    penalty: Tensor | None = None


def widen(logits: Tensor) -> Tensor:
    """Half-precision logits as float32; others as they are."""
    return logits.float() if logits.dtype in (torch.float16, torch.bfloat16) else logits


def predict(
    logits: Tensor,
    *,
    mask_id: int,
    forbidden: Tensor | None = None,
    confidence: str = "max_probability",
    with_entropy: bool = False,
    gumbel: Tensor | None = None,
) -> Prediction:
    """Choose tokens and measure confidence, in float32 (float64 stays float64).

    The mask id stays in the normalization, as in the reference implementation, but is never
    chosen.

    Args:
        logits: ``[B, M, V]``; not changed.
        mask_id: never chosen.
        forbidden: ``[n]`` int64 further ids, taken out of the distribution altogether.
        confidence: ``"max_probability"`` (of the chosen token), ``"margin"``, ``"entropy"``
            (negative entropy); ``"random"`` is left to the caller and treated like the first.
        with_entropy: also return the entropy.
        gumbel: ``[B, M, V]`` float64 noise, already scaled by the temperature; None is greedy.
    """
    logits = widen(logits)
    if forbidden is not None:
        logits = logits.index_fill(-1, forbidden, float("-inf"))
    if gumbel is None:
        chosen, tokens = best_token(logits, mask_id)
    else:
        _, tokens = best_token(logits.double() + gumbel, mask_id)
        chosen = logits.gather(-1, tokens)
    spread = entropy(logits) if with_entropy or confidence == "entropy" else None
    if confidence == "margin":
        sureness = margin(logits, mask_id)
    elif confidence == "entropy" and spread is not None:
        sureness = -spread
    else:
        sureness = probability(logits, chosen)
    return Prediction(tokens[..., 0], sureness, spread)


def best_token(logits: Tensor, mask_id: int) -> tuple[Tensor, Tensor]:
    """Largest logit and its id ``[B, M, 1]``, the mask's excepted; the first of equal ones."""
    # The two sides of the mask's column are views: filling the column would copy all logits.
    below, above = logits[..., :mask_id], logits[..., mask_id + 1 :]
    if above.shape[-1] == 0:
        return below.max(-1, keepdim=True)
    values, ids = above.max(-1, keepdim=True)
    ids = ids + mask_id + 1
    if below.shape[-1] == 0:
        return values, ids
    lower_values, lower_ids = below.max(-1, keepdim=True)
    lower = lower_values >= values
    return torch.where(lower, lower_values, values), torch.where(lower, lower_ids, ids)


def gumbel_noise(uniform: Tensor, temperature: float) -> Tensor:
    """Noise that turns an arg-max into a sample of ``softmax(logits / temperature)``.

    ``arg max exp(l) / (-log u)^T`` is ``arg max l - T log(-log u)``; in float64, because float32
    noise makes likely tokens likelier (arXiv 2409.02908).

    Args:
        uniform: float64 in [0, 1).
        temperature: T > 0.
    """
    tiny = torch.finfo(uniform.dtype).tiny
    return -temperature * (-uniform.clamp(min=tiny).log()).clamp(min=tiny).log()
