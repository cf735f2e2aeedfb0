"""Preference objectives on ELBOs: VRPO, DPO, IPO, SimPO, each optionally with an SFT term.

All share one call, ``objective(policy_chosen, policy_rejected, reference_chosen,
reference_rejected, lengths=...)``, with log-likelihood estimates ``[B]`` in nats, and return the
loss and the margin it pushes up.  How the estimates are drawn is a matter of ``ElboSampling``:
VRPO is DPO on ELBOs whose masks are spent and shared so that the variance is least, and the two
objectives differ in nothing but that default.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from torch import Tensor
from torch.nn import functional as F

from ..errors import InvalidArgumentError, ShapeError
from ..outputs import PreferenceLossOutput
from .elbo import ElboSampling
from .objective import PairLengths, PreferenceObjective


@dataclass(frozen=True, slots=True)
class DPOLoss:
    """Direct preference optimization on ELBOs (arXiv 2305.18290, equation 7).

    ``-log sigmoid(beta * margin of the policy over the reference)``.

    Args:
        beta: strength of the pull towards the reference, > 0.
        label_smoothing: assumed share of swapped pairs, in [0, 0.5).
        sampling: how the ELBOs are drawn; by default naively, independent for policy and
            reference.

    Raises:
        InvalidArgumentError: a setting out of range; in a call, a missing reference estimate.
        ShapeError: in a call, estimates that are not all ``[B]``.

    Example:
        >>> import torch
        >>> better, worse = torch.tensor([-10.0]), torch.tensor([-12.0])  # ELBOs in nats
        >>> output = DPOLoss(beta=0.1)(better, worse, worse, worse)
        >>> output.margin, output.loss  # 0.1 * 2, -log sigmoid(0.2)
        (tensor([0.2000]), tensor(0.5981))
    """

    beta: float = 0.1
    label_smoothing: float = 0.0
    sampling: ElboSampling = field(default_factory=lambda: ElboSampling(shared=False))
    needs_reference: bool = field(default=True, init=False)

    def __post_init__(self) -> None:
        _check_positive("beta", self.beta)
        if not 0.0 <= self.label_smoothing < 0.5:
            raise InvalidArgumentError("label_smoothing", "in [0, 0.5)", self.label_smoothing)

    def __call__(
        self,
        policy_chosen: Tensor,
        policy_rejected: Tensor,
        reference_chosen: Tensor | None = None,
        reference_rejected: Tensor | None = None,
        *,
        lengths: PairLengths | None = None,
    ) -> PreferenceLossOutput:
        """Loss and ``margin = beta * log-ratio difference`` ``[B]``."""
        margin = self.beta * log_ratio_difference(
            policy_chosen, policy_rejected, reference_chosen, reference_rejected
        )
        # logsigmoid, not log(sigmoid(.)): the latter underflows to -inf for a margin of -100.
        loss = -F.logsigmoid(margin) * (1.0 - self.label_smoothing)
        if self.label_smoothing:
            loss = loss - F.logsigmoid(-margin) * self.label_smoothing
        return PreferenceLossOutput(loss.mean(), margin)


@dataclass(frozen=True, slots=True)
class VRPOLoss(DPOLoss):
    """Variance-reduced preference optimization (LLaDA 1.5, arXiv 2505.19223, equation 4).

    DPO on ELBOs; the variance reduction lies in the sampling: one mask per timestep, and the same
    masks for policy and reference.

    Args:
        beta: strength of the pull towards the reference, > 0.
        label_smoothing: assumed share of swapped pairs, in [0, 0.5).
        sampling: how the ELBOs are drawn.

    Example:
        >>> import torch
        >>> zero, one = torch.zeros(2), torch.ones(2)
        >>> VRPOLoss(beta=0.2)(one, zero, zero, zero).margin
        tensor([0.2000, 0.2000])
    """

    beta: float = 0.2
    sampling: ElboSampling = field(default_factory=ElboSampling)


@dataclass(frozen=True, slots=True)
class IPOLoss:
    """Identity preference optimization (arXiv 2310.12036, equation 17).

    The log-ratio difference is regressed to ``1 / (2 beta)`` instead of pushed up without bound.

    Args:
        beta: the regularization (tau in the paper), > 0.
        sampling: how the ELBOs are drawn.

    Raises:
        InvalidArgumentError: ``beta`` not above 0; in a call, a missing reference estimate.
        ShapeError: in a call, estimates that are not all ``[B]``.

    Example:
        >>> import torch
        >>> better, worse = torch.tensor([-10.0]), torch.tensor([-12.0])
        >>> IPOLoss(beta=0.1)(better, worse, worse, worse).loss  # (2 - 1 / (2 * 0.1)) ** 2
        tensor(9.)
    """

    beta: float = 0.1
    sampling: ElboSampling = field(default_factory=ElboSampling)
    needs_reference: bool = field(default=True, init=False)

    def __post_init__(self) -> None:
        _check_positive("beta", self.beta)

    def __call__(
        self,
        policy_chosen: Tensor,
        policy_rejected: Tensor,
        reference_chosen: Tensor | None = None,
        reference_rejected: Tensor | None = None,
        *,
        lengths: PairLengths | None = None,
    ) -> PreferenceLossOutput:
        """Loss and ``margin = log-ratio difference`` ``[B]``."""
        margin = log_ratio_difference(
            policy_chosen, policy_rejected, reference_chosen, reference_rejected
        )
        return PreferenceLossOutput((margin - 0.5 / self.beta).square().mean(), margin)


@dataclass(frozen=True, slots=True)
class SimPOLoss:
    """Simple preference optimization: no reference, length-normalized (arXiv 2405.14734, eq. 6).

    Args:
        beta: scale of the mean log-likelihood per token, > 0.
        gamma: margin that the chosen answer must win by, >= 0.
        sampling: how the ELBOs are drawn.

    Raises:
        InvalidArgumentError: a setting out of range; in a call, ``lengths`` missing.
        ShapeError: in a call, estimates or lengths that are not all ``[B]``.

    Example:
        >>> import torch
        >>> better, worse = torch.tensor([-10.0]), torch.tensor([-12.0])
        >>> lengths = PairLengths(chosen=torch.tensor([5]), rejected=torch.tensor([4]))
        >>> SimPOLoss(beta=2.0)(better, worse, lengths=lengths).margin  # 2 * (-2 - -3)
        tensor([2.])
    """

    beta: float = 2.0
    gamma: float = 0.5
    sampling: ElboSampling = field(default_factory=ElboSampling)
    needs_reference: bool = field(default=False, init=False)

    def __post_init__(self) -> None:
        _check_positive("beta", self.beta)
        if self.gamma < 0:
            raise InvalidArgumentError("gamma", "a number >= 0", self.gamma)

    def __call__(
        self,
        policy_chosen: Tensor,
        policy_rejected: Tensor,
        reference_chosen: Tensor | None = None,
        reference_rejected: Tensor | None = None,
        *,
        lengths: PairLengths | None = None,
    ) -> PreferenceLossOutput:
        """Loss and ``margin = beta * (mean log-likelihood difference)`` ``[B]``."""
        if lengths is None:
            raise InvalidArgumentError("lengths", "the response lengths of the pairs", None)
        _check_shapes(policy_chosen, policy_rejected, *lengths)
        chosen, rejected = policy_chosen / lengths.chosen, policy_rejected / lengths.rejected
        margin = self.beta * (chosen - rejected)
        return PreferenceLossOutput(-F.logsigmoid(margin - self.gamma).mean(), margin)


@dataclass(frozen=True, slots=True)
class WithSFT:
    """A preference objective plus ``weight`` times the chosen answer's loss per token.

    The extra term keeps the chosen answer likely, where a preference objective alone is content
    when it falls more slowly than the rejected one.

    Args:
        objective: any preference objective.
        weight: of the supervised term, >= 0.

    Raises:
        InvalidArgumentError: a negative weight; in a call, ``lengths`` missing.

    Example:
        >>> import torch
        >>> better, worse = torch.tensor([-10.0]), torch.tensor([-12.0])
        >>> lengths = PairLengths(chosen=torch.tensor([5]), rejected=torch.tensor([4]))
        >>> objective = WithSFT(IPOLoss(beta=0.1), weight=0.5)
        >>> objective(better, worse, worse, worse, lengths=lengths).loss  # 9 + 0.5 * 10 / 5
        tensor(10.)
    """

    objective: PreferenceObjective
    weight: float

    def __post_init__(self) -> None:
        if self.weight < 0:
            raise InvalidArgumentError("weight", "a number >= 0", self.weight)

    @property
    def needs_reference(self) -> bool:
        """As the objective inside."""
        return self.objective.needs_reference

    @property
    def sampling(self) -> ElboSampling:
        """As the objective inside."""
        return self.objective.sampling

    def __call__(
        self,
        policy_chosen: Tensor,
        policy_rejected: Tensor,
        reference_chosen: Tensor | None = None,
        reference_rejected: Tensor | None = None,
        *,
        lengths: PairLengths | None = None,
    ) -> PreferenceLossOutput:
        """The objective's loss plus the supervised term, and the objective's margin."""
        if lengths is None:
            raise InvalidArgumentError("lengths", "the response lengths of the pairs", None)
        inner = self.objective(
            policy_chosen, policy_rejected, reference_chosen, reference_rejected, lengths=lengths
        )
        supervised = -(policy_chosen / lengths.chosen).mean()
        return PreferenceLossOutput(inner.loss + self.weight * supervised, inner.margin)


def log_ratio_difference(
    policy_chosen: Tensor,
    policy_rejected: Tensor,
    reference_chosen: Tensor | None,
    reference_rejected: Tensor | None,
) -> Tensor:
    """``(policy - reference)(chosen) - (policy - reference)(rejected)``, ``[B]``.

    Raises:
        InvalidArgumentError: a reference estimate is missing.
        ShapeError: the four are not all ``[B]``.
    """
    if reference_chosen is None or reference_rejected is None:
        raise InvalidArgumentError("reference_chosen, reference_rejected", "both estimates", None)
    _check_shapes(policy_chosen, policy_rejected, reference_chosen, reference_rejected)
    return (policy_chosen - reference_chosen) - (policy_rejected - reference_rejected)


def _check_shapes(*estimates: Tensor) -> None:
    shapes = [list(e.shape) for e in estimates]
    if estimates[0].ndim != 1 or any(shape != shapes[0] for shape in shapes):
        raise ShapeError("estimates", "tensors of one shape [B]", shapes)


def _check_positive(argument: str, value: float) -> None:
    if not value > 0:
        raise InvalidArgumentError(argument, "a number > 0", value)
