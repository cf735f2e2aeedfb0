"""Randomness of training as a function of seed, step and row.

A row's mask depends neither on the process that draws it nor on the batch around it, and drawing
it again after an interruption gives the same one.
"""

from __future__ import annotations

import hashlib

import torch
from torch import Tensor

from ..data import IGNORED
from ..diffusion import NoiseSchedule, mask_tokens, sample_times
from ..losses import ElboSampling

# Stands for the step in evaluation, where the masks stay the same.
EVALUATION = -1


def derive_seed(*parts: object) -> int:
    """A seed of 63 bits from any values.

    Example:
        >>> derive_seed(0, "step", 3) == derive_seed(0, "step", 3) != derive_seed(0, "step", 4)
        True
    """
    digest = hashlib.blake2b("\0".join(map(str, parts)).encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big") >> 1


def row_seeds(seed: int, step: int, rows: Tensor) -> Tensor:
    """One seed ``[B]`` int64 per row of a step."""
    return torch.tensor([derive_seed(seed, step, row) for row in rows.tolist()], dtype=torch.int64)


def generators(seeds: Tensor, purpose: str) -> list[torch.Generator]:
    """One generator per row, on the CPU, so that every device draws the same."""
    return [torch.Generator().manual_seed(derive_seed(seed, purpose)) for seed in seeds.tolist()]


def draw_noise(
    labels: Tensor, seeds: Tensor, schedule: NoiseSchedule, eps: float = 1e-3
) -> tuple[Tensor, Tensor]:
    """Time ``[B]`` and mask ``[B, R]`` of a training batch.

    Args:
        labels: ``[B, R]`` int64, -100 where nothing is to be learned.
        seeds: ``[B]`` one per row.
        schedule: tells how likely a token is masked at a time.
        eps: smallest time.
    """
    streams = generators(seeds, "forward process")
    t = torch.cat([sample_times(1, eps=eps, generator=stream) for stream in streams])
    learned = (labels != IGNORED).cpu()
    x_0 = torch.zeros_like(learned, dtype=torch.int64)
    drawn = mask_tokens(x_0, t, 1, maskable=learned, generator=streams, schedule=schedule)
    return t.to(labels.device), drawn.mask.to(labels.device)


def draw_elbo_masks(
    labels: Tensor, seeds: Tensor, sampling: ElboSampling, purpose: str
) -> tuple[Tensor, Tensor]:
    """Masks ``[N, B, R]`` and ratios ``[N, B]`` of an ELBO estimate, one stream per row.

    Args:
        labels: ``[B, R]`` int64, -100 where nothing counts.
        seeds: ``[B]`` one per row.
        sampling: the budget and how it is spent.
        purpose: tells draws apart that must be independent.
    """
    learned = (labels != IGNORED).cpu()
    masks = torch.zeros(sampling.num_samples, *labels.shape, dtype=torch.bool)
    ratios = []
    for row, stream in enumerate(generators(seeds, purpose)):
        # Drawn over the row's own tokens, so that the batch's padding does not enter.
        count = int(learned[row].sum())
        drawn, ratio = sampling.draw(learned[row : row + 1, :count], stream)
        masks[:, row, :count] = drawn[:, 0]
        ratios.append(ratio)
    return masks.to(labels.device), torch.cat(ratios, dim=1).to(labels.device)


def seed_step(seed: int, step: int, micro_step: int, rank: int) -> None:
    """Seed torch's global generators (dropout draws from them) for one micro-step."""
    torch.manual_seed(derive_seed(seed, "dropout", step, micro_step, rank))
