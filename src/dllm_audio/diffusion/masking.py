"""Drawing times and masks for training."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from ..errors import InvalidArgumentError, ShapeError
from ..outputs import MaskedTokens
from .schedules import LinearSchedule, NoiseSchedule

Generators = torch.Generator | Sequence[torch.Generator] | None


def sample_times(
    batch_size: int,
    *,
    eps: float = 1e-3,
    low_discrepancy: bool = False,
    generator: torch.Generator | None = None,
    device: torch.device | str = "cpu",
) -> Tensor:
    """Draw ``t ~ U(eps, 1)`` for a batch.

    Args:
        batch_size: rows B.
        eps: smallest time; ``t' = (1 - eps) t + eps`` keeps the weight ``1 / t'`` finite.
        low_discrepancy: spread the batch evenly over [eps, 1] from one random offset
            (arXiv 2107.00630, appendix I.1): each t is still uniform, the mean varies less.
        generator: source of randomness.
        device: where the result lives; the generator's device must agree.

    Returns:
        ``[B]`` float32 in [eps, 1].

    Raises:
        InvalidArgumentError: a negative ``batch_size``, or ``eps`` outside (0, 1).

    Example:
        >>> t = sample_times(4, low_discrepancy=True)  # one time in every quarter of [eps, 1]
        >>> ((t.sort().values - 1e-3) / (1 - 1e-3) * 4).floor()
        tensor([0., 1., 2., 3.])
    """
    if batch_size < 0:
        raise InvalidArgumentError("batch_size", "an integer >= 0", batch_size)
    if not 0 < eps < 1:
        raise InvalidArgumentError("eps", "a number in (0, 1)", eps)
    count = 1 if low_discrepancy else batch_size
    t = torch.rand(count, generator=generator, device=device)
    if low_discrepancy:
        t = (t + torch.arange(batch_size, device=device) / batch_size) % 1
    return (1 - eps) * t + eps


def mask_tokens(
    x_0: Tensor,
    t: Tensor,
    mask_token_id: int | None,
    maskable: Tensor | None = None,
    generator: Generators = None,
    schedule: NoiseSchedule | None = None,
) -> MaskedTokens:
    """Replace each token by the mask id with probability ``1 - alpha(t)``, independently.

    Args:
        x_0: ``[B, R]`` int64 clean tokens.
        t: ``[B]`` times in [0, 1].
        mask_token_id: what a masked token becomes; a config that has none gives an error.
        maskable: ``[B, R]`` bool, True = may be masked; None: all.
        generator: one for the batch, or one a row (then a row does not depend on its batch).
        schedule: None is :class:`.LinearSchedule`: masked with probability t.

    Returns:
        The masked tokens ``x_t [B, R]`` int64, and ``mask [B, R]`` bool, True where masked.

    Raises:
        ShapeError: sizes that disagree.
        InvalidArgumentError: no mask id, a time outside [0, 1], or generators that do not match
            the rows.

    Example:
        >>> out = mask_tokens(torch.arange(6).view(1, 6), torch.tensor([1.0]), mask_token_id=9)
        >>> out.x_t
        tensor([[9, 9, 9, 9, 9, 9]])
        >>> maskable = torch.tensor([[False, False, True, True, True, True]])
        >>> mask_tokens(torch.arange(6).view(1, 6), torch.tensor([1.0]), 9, maskable).x_t
        tensor([[0, 1, 9, 9, 9, 9]])
    """
    if x_0.dim() != 2:
        raise ShapeError("x_0", "[B, R]", list(x_0.shape))
    if t.shape != x_0.shape[:1]:
        raise ShapeError("t", f"[{x_0.shape[0]}]", list(t.shape))
    if maskable is not None and maskable.shape != x_0.shape:
        raise ShapeError("maskable", f"{list(x_0.shape)}", list(maskable.shape))
    if not bool(((t >= 0) & (t <= 1)).all()):
        raise InvalidArgumentError("t", "times in [0, 1]", t.tolist())
    if mask_token_id is None:
        raise InvalidArgumentError("mask_token_id", "the id of the mask", None)
    schedule = LinearSchedule() if schedule is None else schedule
    uniform = _uniform(x_0, generator)
    mask = uniform < (1 - schedule.alpha(t))[:, None].to(uniform)
    if maskable is not None:
        mask &= maskable.bool()
    return MaskedTokens(x_0.masked_fill(mask, mask_token_id), mask)


def _uniform(x_0: Tensor, generator: Generators) -> Tensor:
    if generator is None or isinstance(generator, torch.Generator):
        return torch.rand(x_0.shape, generator=generator, device=x_0.device)
    if len(generator) != x_0.shape[0]:
        raise InvalidArgumentError("generator", f"one a row ({x_0.shape[0]})", len(generator))
    rows = [torch.rand(x_0.shape[1], generator=g, device=x_0.device) for g in generator]
    return torch.stack(rows)
