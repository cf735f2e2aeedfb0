"""Perturbations of log-mel features, drawn anew at every step.

They stand for voices, microphones and rooms that the clips do not have.
Shape letters: B clips, M mel bands, T frames.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

DYNAMIC_RANGE = 2.0  # of Whisper's features: nothing lies further below a clip's maximum


def perturb_speech(
    features: Tensor, voices: Tensor, anything: Tensor, generator: torch.Generator
) -> Tensor:
    """Give clips other voices and microphones.

    Args:
        features: ``[B, M, T]``.
        voices: bool ``[B]``, clips in which the speaker's sex is not asked for.
        anything: bool ``[B]``, clips of which only the words are asked for.
        generator: source of randomness.
    """
    extent = torch.where(anything, 0.18, 0.125) * voices
    features = warp_frequencies(features, extent, generator)
    chance = torch.rand(2, len(features), generator=generator)
    features = blur_frequencies(features, anything & (chance[0] < 0.3))
    features = change_contrast(features, anything, generator)
    features = swap_channels(features, anything & (chance[1] < 0.4), generator)
    return spec_augment(features, generator, more=anything)


def spec_augment(
    features: Tensor, generator: torch.Generator, more: Tensor | None = None
) -> Tensor:
    """Hide a few bands and moments, and change level and contrast a little.

    Args:
        features: ``[B, M, T]``.
        generator: source of randomness.
        more: bool ``[B]``, clips of which two wider bands are hidden as well.
    """
    batch, mels, frames = features.shape

    def hidden(size: int, longest: int) -> Tensor:
        width = torch.randint(0, longest + 1, (batch, 1), generator=generator)
        start = (torch.rand(batch, 1, generator=generator) * (size - width)).long()
        steps = torch.arange(size)[None]
        return (steps >= start) & (steps < start + width)

    floor = features.amin(dim=(1, 2), keepdim=True)
    bands = hidden(mels, 12)
    if more is not None:
        bands = bands | (more[:, None] & (hidden(mels, 16) | hidden(mels, 16)))
    masked = bands[:, :, None] | hidden(frames, 12)[:, None, :]
    level = 0.1 * torch.randn(batch, 1, 1, generator=generator)
    return torch.where(masked, floor, features) + level


def warp_frequencies(features: Tensor, extent: Tensor, generator: torch.Generator) -> Tensor:
    """Stretch the mel axis by a factor within ``1 +- extent [B]``, as other throats do."""
    batch, mels, _ = features.shape
    factor = 1 + extent[:, None] * (2 * torch.rand(batch, 1, generator=generator) - 1)
    place = (torch.arange(mels) * factor).clamp(max=mels - 1)
    low = place.floor().long()
    share = (place - low)[..., None]
    index = low[..., None].expand(-1, -1, features.shape[2])
    below = features.gather(1, index)
    above = features.gather(1, (index + 1).clamp(max=mels - 1))
    return below + share * (above - below)


def blur_frequencies(features: Tensor, rows: Tensor) -> Tensor:
    """Smooth the mel axis of ``rows`` (bool ``[B]``), which hides the pitch and keeps formants."""
    kernel = torch.tensor([[[1.0, 2.0, 3.0, 2.0, 1.0]]]) / 9
    flat = features.transpose(1, 2).flatten(0, 1)[:, None]
    smooth = F.conv1d(F.pad(flat, (2, 2), mode="replicate"), kernel)[:, 0]
    smooth = smooth.unflatten(0, (len(features), -1)).transpose(1, 2)
    return torch.where(rows[:, None, None], smooth, features)


def change_contrast(features: Tensor, rows: Tensor, generator: torch.Generator) -> Tensor:
    """Let the soft parts of ``rows`` (bool ``[B]``) fall faster or slower below the loud ones."""
    factor = 1 + 0.25 * (2 * torch.rand(len(features), 1, 1, generator=generator) - 1)
    top = features.amax(dim=(1, 2), keepdim=True)
    changed = top - ((top - features) * factor).clamp(max=DYNAMIC_RANGE)
    return torch.where(rows[:, None, None], changed, features)


def swap_channels(features: Tensor, rows: Tensor, generator: torch.Generator) -> Tensor:
    """Shift the mean spectrum of ``rows`` (bool ``[B]``) toward that of another one of them."""
    chosen = features[rows]
    level = chosen.mean(dim=1, keepdim=True)
    loud = (level > level.mean(dim=2, keepdim=True)).float()
    mean = (chosen * loud).sum(dim=2) / loud.sum(dim=2).clamp(min=1)
    other = mean[torch.randperm(len(mean), generator=generator)]
    shift = torch.rand(len(mean), 1, generator=generator) * (other - mean)
    floor = chosen.amin(dim=(1, 2), keepdim=True)  # silence stays silent
    shifted = torch.where(chosen > floor, chosen + shift[..., None], floor).maximum(floor)
    return features.index_put((rows,), shifted)
