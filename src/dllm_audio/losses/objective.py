"""The call that all preference objectives share."""

from __future__ import annotations

from typing import NamedTuple, Protocol

from torch import Tensor

from ..outputs import PreferenceLossOutput
from .elbo import ElboSampling


class PairLengths(NamedTuple):
    """Response tokens ``[B]`` of the chosen and of the rejected answers."""

    chosen: Tensor
    rejected: Tensor


class PreferenceObjective(Protocol):
    """What a trainer needs to know of a preference objective."""

    @property
    def needs_reference(self) -> bool:
        """Whether the two reference estimates are used."""
        ...

    @property
    def sampling(self) -> ElboSampling:
        """How its ELBOs are drawn unless the caller says otherwise."""
        ...

    def __call__(
        self,
        policy_chosen: Tensor,
        policy_rejected: Tensor,
        reference_chosen: Tensor | None = None,
        reference_rejected: Tensor | None = None,
        *,
        lengths: PairLengths | None = None,
    ) -> PreferenceLossOutput:
        """Loss (mean over the pairs) and margin ``[B]``."""
        ...
