"""How sure the model is of the token it would put at a position, and how it grows surer.

Every sum of exponentials is taken relative to a nearby logit: its rounding is then relative to the
probability, not to the size of the logits, and near ties keep their order.

Shape letters: B rows of the batch, N rows in work, C positions of the active block, M positions
whose logits were computed, V vocabulary.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ..errors import InvalidArgumentError
from .checks import check_number

_TINY = 1e-12  # keeps the logarithm of an impossible token finite

CONFIDENCES = ("max_probability", "margin", "entropy", "random")


def widen(logits: Tensor) -> Tensor:
    """Half-precision logits as float32; others as they are."""
    return logits.float() if logits.dtype in (torch.float16, torch.bfloat16) else logits


def best_token(logits: Tensor, mask_id: int) -> tuple[Tensor, Tensor]:
    """Largest logit and its id ``[N, M, 1]``, the mask's excepted; the first of equal ones."""
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


def probability(logits: Tensor, chosen: Tensor) -> Tensor:
    """Probability ``[N, M]`` of the tokens whose logits are ``chosen [N, M, 1]``."""
    return (logits - chosen).exp_().sum(-1).reciprocal_()


def fine_probability(logits: Tensor, chosen: Tensor, tokens: Tensor) -> Tensor:
    """The same for the tokens ``[N, M, 1]``, told apart however close they are to 1: ``[N, M]``.

    What the other tokens have is summed without the chosen one, and only then is 1 added, in
    float64 (where the device has it): sure positions keep the order that the original systems'
    float64 softmax gives them.
    """
    rest = (logits - chosen).exp_().scatter_(-1, tokens, 0.0).sum(-1)
    return rest.to(fine_dtype(rest.device)).add_(1.0).reciprocal_()


def fine_dtype(device: torch.device) -> torch.dtype:
    """Float64, or the finest that the device has."""
    return torch.float32 if device.type == "mps" else torch.float64


def margin(logits: Tensor, mask_id: int) -> Tensor:
    """Probability of the likeliest token minus that of the second, the mask apart, ``[N, M]``."""
    choosable = logits.clone()
    choosable[..., mask_id] = float("-inf")
    top = choosable.topk(2, dim=-1).values
    first, second = top[..., :1], top[..., 1:]
    return probability(logits, first) * (1 - (second - first).exp())[..., 0]


def entropy(logits: Tensor) -> Tensor:
    """Entropy in nats, ``[N, M]``; impossible tokens (``-inf``) add nothing."""
    shifted = logits - logits.amax(-1, keepdim=True)
    weights = shifted.exp()
    total = weights.sum(-1)
    return total.log() - (weights * shifted.masked_fill(weights == 0, 0.0)).sum(-1) / total


@dataclass(frozen=True)
class TraceCredit:
    """Credit decoding: tokens that stay the best guess step after step become surer.

    Every step multiplies a token's credit by ``decay`` and adds ``p ** gamma`` to that of the most
    likely one; ``alpha * log(1 + credit)`` is added to the logits (CreditDecoding, arXiv
    2510.06133; defaults of dInfer).  Credit is per block: it starts from zero in the next one.  It
    takes ``4 C V`` bytes a row.

    Args:
        alpha: weight of the credit in the logits, >= 0.
        gamma: exponent of the probability, >= 0.
        decay: share of the credit that is left after a step, in [0, 1).

    Raises:
        InvalidArgumentError: a value out of range.

    Example:
        >>> from dllm_audio import CachedParallelSampler
        >>> CachedParallelSampler(64, 32, credit=TraceCredit()).options.credit
        TraceCredit(alpha=0.7, gamma=0.2, decay=0.8)
    """

    alpha: float = 0.7
    gamma: float = 0.2
    decay: float = 0.8

    def __post_init__(self) -> None:
        for name in ("alpha", "gamma", "decay"):
            check_number(name, getattr(self, name), 0)
        if not self.decay < 1:
            raise InvalidArgumentError("decay", "a number in [0, 1)", self.decay)


class CreditAccount:
    """The credit of every row, position and token of the active block.

    Args:
        rule: how credit grows and counts.
        batch_size: rows B.
        mask_id: never credited.
    """

    def __init__(self, rule: TraceCredit, batch_size: int, mask_id: int) -> None:
        self._rule, self._batch_size, self._mask_id = rule, batch_size, mask_id
        self._credit: Tensor | None = None

    def clear(self) -> None:
        """A new block begins."""
        self._credit = None

    def __call__(
        self, logits: Tensor, where: Tensor | None, width: int, rows: Tensor | None
    ) -> Tensor:
        """Logits with their credit added.

        Args:
            logits: ``[N, M, V]``.
            where: ``[N, M]`` block positions of the logits; None: all C in order.
            width: positions C of the block.
            rows: ``[N]`` which rows of the batch these are; None: all.
        """
        logits = widen(logits)
        if self._credit is None:
            shape = (self._batch_size, width, logits.shape[-1])
            self._credit = torch.zeros(shape, dtype=logits.dtype, device=logits.device)
        if rows is None:
            rows = torch.arange(self._batch_size, device=logits.device)
        if where is None:
            where = torch.arange(width, device=logits.device).expand(len(logits), -1)
        account = rows[:, None], where
        chosen, tokens = best_token(logits, self._mask_id)
        grown = self._credit[account] * self._rule.decay
        earned = probability(logits, chosen).to(grown.dtype).pow(self._rule.gamma)
        grown.scatter_add_(-1, tokens, earned[..., None])
        self._credit[account] = grown
        return logits + self._rule.alpha * grown.log1p()


def gap(logits: Tensor) -> Tensor:
    """Largest logit minus the second largest, ``[N, M]``."""
    top = logits.topk(2, dim=-1).values
    return top[..., 0] - top[..., 1]


class DriftAccount:
    """How far every watched position's distribution moved from one pass to the next.

    The divergence is ``sum p (log(p + 1e-12) - log(q + 1e-12))`` with q from the row's pass before;
    where there was none q is zero, and the divergence near 27 (arXiv 2511.05664). Takes ``4 W V``
    bytes a row for W watched positions.

    Args:
        history: passes H of the block that are kept.
        batch_size: rows B.
    """

    def __init__(self, history: int, batch_size: int) -> None:
        self._batch_size, self._low, self._high = batch_size, 0, 0
        self._before: Tensor | None = None
        self._moved: deque[Tensor] = deque(maxlen=history)

    def begin_block(self, low: int, high: int) -> None:
        """Watch response positions ``[low, high)``; what is known of them is kept."""
        self._moved.clear()
        if self._before is not None:
            old, shape = self._before, (self._batch_size, high - low, self._before.shape[-1])
            self._before = old.new_zeros(shape)
            kept = max(low, self._low), min(high, self._high)
            if kept[0] < kept[1]:
                self._before[:, kept[0] - low : kept[1] - low] = old[
                    :, kept[0] - self._low : kept[1] - self._low
                ]
        self._low, self._high = low, high

    def __call__(
        self, logits: Tensor, rows: Tensor | None, deciding: Sequence[int | None]
    ) -> Tensor:
        """Divergences ``[H, N, W]`` of the block's last passes, the newest last.

        Args:
            logits: ``[N, W, V]`` of this pass.
            rows: ``[N]`` which rows of the batch these are; None: all.
            deciding: the same on the host, with None for rows that wait and so take no part.
        """
        now = logits.softmax(-1)
        if self._before is None:
            self._before = now.new_zeros(self._batch_size, *now.shape[1:])
        before = self._before if rows is None else self._before[rows]
        moved = (now * ((now + _TINY).log() - (before + _TINY).log())).sum(-1)
        places = [place for place, row in enumerate(deciding) if row is not None]
        numbers = [row for row in deciding if row is not None]
        self._before[numbers] = now[places]
        every_row = moved.new_full((self._batch_size, moved.shape[1]), float("inf"))
        every_row[slice(None) if rows is None else rows] = moved
        self._moved.append(every_row)
        recent = torch.stack(tuple(self._moved))
        return recent if rows is None else recent[:, rows]
