"""Noise schedules of masked diffusion (arXiv 2406.04329, section 2 and table 4).

``alpha(t)`` is the probability that a token is still unmasked at time t: ``alpha(0) = 1`` (clean),
``alpha(1) = 0`` (fully masked), strictly decreasing in between.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass

import torch
from torch import Tensor

from ..errors import InvalidArgumentError


class NoiseSchedule(ABC):
    """Shared by the loss and by whatever samples times, so that they cannot disagree.

    A schedule of your own gives ``alpha``, ``alpha_derivative`` and ``inverse``; all take and
    return tensors of any one shape.
    """

    @abstractmethod
    def alpha(self, t: Tensor) -> Tensor:
        """Probability of staying unmasked at times ``t`` in [0, 1]."""

    @abstractmethod
    def alpha_derivative(self, t: Tensor) -> Tensor:
        """Derivative of ``alpha`` at ``t``; never positive."""

    @abstractmethod
    def inverse(self, alpha: Tensor) -> Tensor:
        """The time at which ``alpha`` is reached."""

    def weight(self, t: Tensor) -> Tensor:
        """Weight ``-alpha'(t) / (1 - alpha(t))`` of a masked token's cross-entropy, for t > 0.

        It makes the loss an upper bound on the negative log-likelihood (arXiv 2406.04329, eq. 4);
        ``1 / t`` for the linear schedule.
        """
        return -self.alpha_derivative(t) / (1 - self.alpha(t))


@dataclass(frozen=True)
class LinearSchedule(NoiseSchedule):
    """``alpha(t) = 1 - t``: LLaDA's and DIFFA's schedule.

    Example:
        >>> LinearSchedule().weight(torch.tensor([0.25, 0.5]))
        tensor([4., 2.])
    """

    def alpha(self, t: Tensor) -> Tensor:
        """Probability of staying unmasked."""
        return 1 - t

    def alpha_derivative(self, t: Tensor) -> Tensor:
        """Derivative, ``-1`` everywhere."""
        return -torch.ones_like(t)

    def inverse(self, alpha: Tensor) -> Tensor:
        """Time at which ``alpha`` is reached."""
        return 1 - alpha

    def weight(self, t: Tensor) -> Tensor:
        """``1 / t``, without the rounding of ``1 - (1 - t)``."""
        return 1 / t


@dataclass(frozen=True)
class PolynomialSchedule(NoiseSchedule):
    """``alpha(t) = 1 - t ** power``; a power above 1 keeps more tokens for longer.

    Args:
        power: exponent, > 0.

    Raises:
        InvalidArgumentError: a power that is not finite and above 0.

    Example:
        >>> schedule = PolynomialSchedule(2.0)
        >>> schedule.alpha(torch.tensor([0.0, 0.5, 1.0]))
        tensor([1.0000, 0.7500, 0.0000])
        >>> schedule.weight(torch.tensor([0.5]))
        tensor([4.])
    """

    power: float

    def __post_init__(self) -> None:
        if not (self.power > 0 and math.isfinite(self.power)):
            raise InvalidArgumentError("power", "a finite number > 0", self.power)

    def alpha(self, t: Tensor) -> Tensor:
        """Probability of staying unmasked."""
        return 1 - t**self.power

    def alpha_derivative(self, t: Tensor) -> Tensor:
        """Derivative ``-power * t ** (power - 1)``."""
        return -self.power * t ** (self.power - 1)

    def inverse(self, alpha: Tensor) -> Tensor:
        """Time at which ``alpha`` is reached."""
        return (1 - alpha) ** (1 / self.power)

    def weight(self, t: Tensor) -> Tensor:
        """``power / t``, without cancellation."""
        return self.power / t


@dataclass(frozen=True)
class CosineSchedule(NoiseSchedule):
    """``alpha(t) = 1 - cos(pi/2 (1 - t))``: more masks at every time than the linear one.

    Each method uses the one of the equal forms ``cos(pi/2 (1 - t)) = sin(pi/2 t)`` that is exact
    where it becomes zero.

    Example:
        >>> schedule = CosineSchedule()
        >>> schedule.alpha(torch.tensor([0.0, 0.5, 1.0]))
        tensor([1.0000, 0.2929, 0.0000])
        >>> schedule.inverse(schedule.alpha(torch.tensor([0.25, 0.5])))
        tensor([0.2500, 0.5000])
    """

    def alpha(self, t: Tensor) -> Tensor:
        """Probability of staying unmasked."""
        return 1 - torch.sin(math.pi / 2 * t)

    def alpha_derivative(self, t: Tensor) -> Tensor:
        """Derivative ``-pi/2 sin(pi/2 (1 - t))``."""
        return -math.pi / 2 * torch.sin(math.pi / 2 * (1 - t))

    def inverse(self, alpha: Tensor) -> Tensor:
        """Time at which ``alpha`` is reached."""
        return 2 / math.pi * torch.arcsin(1 - alpha)

    def weight(self, t: Tensor) -> Tensor:
        """``pi/2 cot(pi/2 t)``, without cancellation and never negative."""
        return -self.alpha_derivative(t) / torch.sin(math.pi / 2 * t)
