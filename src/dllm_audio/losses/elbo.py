"""Monte-Carlo estimates of a response's log-likelihood under a masked-diffusion model.

A masked-diffusion model has no tractable likelihood; preference objectives use the evidence lower
bound instead (LLaDA 1.5, arXiv 2505.19223, equation 5): draw ``k`` uniformly from ``1..n`` for a
response of ``n`` tokens, mask exactly ``k`` of them, and average the scaled log-likelihoods.

Shape letters: N samples, B batch, R response tokens, V vocabulary.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from ..errors import InvalidArgumentError, ShapeError
from ..protocols import MaskPredictor
from .cross_entropy import masked_cross_entropy


@dataclass(frozen=True, slots=True)
class ElboSampling:
    """How the sample budget of an ELBO estimate is spent.

    Args:
        num_samples: masks per response.
        masks_per_timestep: masks drawn for each number of masked tokens; 1 spends the whole budget
            on different numbers, which gives the least variance (arXiv 2505.19223, section 3).
        shared: policy and reference see the same masks, which cancels most of the noise of their
            difference.

    Raises:
        InvalidArgumentError: a number is not positive, or the budget does not divide.

    Example:
        >>> masks, ratios = ElboSampling(num_samples=4).draw(torch.ones(2, 5, dtype=torch.bool))
        >>> masks.shape, ratios.shape
        (torch.Size([4, 2, 5]), torch.Size([4, 2]))
    """

    num_samples: int = 4
    masks_per_timestep: int = 1
    shared: bool = True

    def __post_init__(self) -> None:
        _check_budget(self.num_samples, self.masks_per_timestep)

    def draw(
        self, response_mask: Tensor, generator: torch.Generator | None = None
    ) -> tuple[Tensor, Tensor]:
        """Masks ``[N, B, R]`` and ratios ``[N, B]``; see :func:`.draw_masks`."""
        return draw_masks(
            response_mask,
            self.num_samples,
            generator,
            masks_per_timestep=self.masks_per_timestep,
        )


def draw_masks(
    response_mask: Tensor,
    num_samples: int,
    generator: torch.Generator | None = None,
    *,
    masks_per_timestep: int = 1,
) -> tuple[Tensor, Tensor]:
    """Draw the random masks of an ELBO estimate.

    Args:
        response_mask: ``[B, R]`` bool, True at the tokens of each response.
        num_samples: masks per response, N.
        generator: source of randomness, on the device of ``response_mask``.
        masks_per_timestep: masks that share one number of masked tokens; divides ``num_samples``.

    Returns:
        masks ``[N, B, R]`` bool, exactly ``k`` True per row among its response tokens, and ratios
        ``[N, B]`` float32, ``k / n``.

    Raises:
        ShapeError: ``response_mask`` is not ``[B, R]``.
        InvalidArgumentError: a row without response tokens, or a budget that does not divide.

    Example:
        >>> masks, ratios = draw_masks(torch.ones(2, 5, dtype=torch.bool), num_samples=4)
        >>> masks.shape, bool((masks.sum(-1) == (ratios * 5).round()).all())
        (torch.Size([4, 2, 5]), True)
    """
    _check_budget(num_samples, masks_per_timestep)
    if response_mask.ndim != 2:
        raise ShapeError("response_mask", "[B, R]", list(response_mask.shape))
    response_mask = response_mask.bool()
    lengths = response_mask.sum(-1)
    if bool((lengths == 0).any()):
        empty = (lengths == 0).nonzero().flatten().tolist()
        raise InvalidArgumentError(
            "response_mask", "at least one response token in every row", f"none in rows {empty}"
        )
    batch, width = response_mask.shape
    device = response_mask.device
    timesteps = num_samples // masks_per_timestep
    # float64: `floor(u * n)` must not round up to n.
    u = torch.rand(timesteps, batch, generator=generator, device=device, dtype=torch.float64)
    counts = (u * lengths).floor().long() + 1
    counts = counts.repeat_interleave(masks_per_timestep, dim=0)
    # The k tokens with the smallest random keys form a uniformly drawn subset of size k.
    keys = torch.rand(num_samples, batch, width, generator=generator, device=device)
    keys = keys.masked_fill(~response_mask, 2.0)
    ranks = keys.argsort(dim=-1).argsort(dim=-1)
    return ranks < counts.unsqueeze(-1), (counts / lengths).float()


def estimate_elbo(
    predictor: MaskPredictor,
    x_0: Tensor,
    masks: Tensor,
    ratios: Tensor,
    *,
    recompute: bool = True,
) -> Tensor:
    """Estimate the ELBO of every response: ``-mean over samples of sum of CE / ratio``.

    One sample runs at a time, so that memory does not grow with N.

    Args:
        predictor: the model, conditioned on prompt and audio.
        x_0: ``[B, R]`` int64 clean responses.
        masks: ``[N, B, R]`` bool, from :func:`.draw_masks`.
        ratios: ``[N, B]`` masked share of each response, in (0, 1].
        recompute: with gradients, recompute each sample's forward pass in the backward pass
            instead of keeping N sets of activations.

    Returns:
        ``[B]`` estimates in nats; differentiable.

    Raises:
        ShapeError: the shapes do not belong together.

    Source: arXiv 2505.19223, equation 5.

    Example:
        A predictor that finds each of 8 tokens as likely as the others: whatever is masked, the
        bound of 4 tokens is -4 log 8 = -8.3178 nats.

        >>> class Uniform:
        ...     batch_size, mask_token_id, eos_token_id = 1, 7, 6
        ...     device = torch.device("cpu")
        ...     def __call__(self, x_t):
        ...         return torch.zeros(*x_t.shape, 8)
        >>> masks, ratios = draw_masks(torch.ones(1, 4, dtype=torch.bool), num_samples=3)
        >>> estimate_elbo(Uniform(), torch.tensor([[1, 2, 3, 6]]), masks, ratios)
        tensor([-8.3178])
    """
    if x_0.ndim != 2 or masks.ndim != 3 or masks.shape[1:] != x_0.shape:
        raise ShapeError(
            "masks", "[N, B, R] for x_0 [B, R]", f"{list(masks.shape)}, {list(x_0.shape)}"
        )
    if ratios.shape != masks.shape[:2]:
        raise ShapeError("ratios", f"{list(masks.shape[:2])}", list(ratios.shape))
    sample = partial(_negative_log_likelihood, predictor, x_0)
    if recompute and len(masks) > 1 and torch.is_grad_enabled():
        sample = partial(checkpoint, sample, use_reentrant=False)
    total: Tensor | None = None
    for mask, ratio in zip(masks, ratios, strict=True):
        value = sample(mask, ratio)
        total = value if total is None else total + value
    if total is None:
        raise ShapeError("masks", "at least one sample", list(masks.shape))
    return -total / len(masks)


def _negative_log_likelihood(
    predictor: MaskPredictor, x_0: Tensor, mask: Tensor, ratio: Tensor
) -> Tensor:
    x_t = x_0.masked_fill(mask, predictor.mask_token_id)
    return masked_cross_entropy(predictor, x_t, x_0, mask).sum(-1) / ratio


def _check_budget(num_samples: int, masks_per_timestep: int) -> None:
    if num_samples < 1:
        raise InvalidArgumentError("num_samples", "an integer >= 1", num_samples)
    if masks_per_timestep < 1 or num_samples % masks_per_timestep:
        raise InvalidArgumentError(
            "masks_per_timestep", f"a divisor of num_samples {num_samples}", masks_per_timestep
        )
