"""How long a response may get: bounds from the duration of the audio.

A transcript cannot hold more words than were said in the time, so the audio bounds its length.
Fewer response positions make every forward pass cheaper and leave less room for invented text.

Shape letters: B batch, R response tokens.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ..errors import InvalidArgumentError, ShapeError
from .checks import check_integer, check_number


@dataclass(frozen=True)
class LengthRule:
    """A bound that grows with duration: ``ceil(extra + tokens_per_second * seconds)`` tokens.

    Both numbers depend on language and tokenizer: measure them with :meth:`fit` on transcripts of
    the kind that is expected.

    Args:
        tokens_per_second: slope, >= 0.
        extra: tokens at duration 0; room for the end token included.

    Raises:
        InvalidArgumentError: a number that is negative or not finite.

    Example:
        >>> LengthRule(tokens_per_second=4.0, extra=2.0)([1.0, 2.6], limit=12).tolist()
        [6, 12]
    """

    tokens_per_second: float
    extra: float = 1.0

    def __post_init__(self) -> None:
        for name in ("tokens_per_second", "extra"):
            check_number(name, getattr(self, name), 0)

    @classmethod
    def fit(
        cls, seconds: Sequence[float], tokens: Sequence[int], coverage: float = 1.0
    ) -> LengthRule:
        """Measure a rule: least-squares slope, lifted until it bounds a share of the examples.

        Args:
            seconds: durations of the examples.
            tokens: tokens of their transcripts, without the end token.
            coverage: share of the examples, in (0, 1], whose transcript fits together with an
                end token.

        Returns:
            The rule.

        Raises:
            InvalidArgumentError: fewer than two examples, or a coverage outside (0, 1].

        Example:
            >>> LengthRule.fit(seconds=[1.0, 2.0, 3.0], tokens=[3, 7, 9])
            LengthRule(tokens_per_second=3.0, extra=2.0)
        """
        if len(seconds) != len(tokens) or len(seconds) < 2:
            expected = f"as many as seconds ({len(seconds)}), at least 2"
            raise InvalidArgumentError("tokens", expected, len(tokens))
        check_number("coverage", coverage, 0, "a number in (0, 1]", high=1)
        if coverage == 0:
            raise InvalidArgumentError("coverage", "a number in (0, 1]", coverage)
        x = torch.tensor(seconds, dtype=torch.float64)
        y = torch.tensor(tokens, dtype=torch.float64) + 1
        centered = x - x.mean()
        spread = centered.square().sum()
        slope = float((centered * (y - y.mean())).sum() / spread) if spread > 0 else 0.0
        slope = max(slope, 0.0)
        above = (y - slope * x).sort().values
        lift = float(above[math.ceil(coverage * len(above)) - 1])
        return cls(slope, max(lift, 0.0))

    def __call__(self, seconds: Sequence[float] | Tensor, limit: int) -> Tensor:
        """The bound of every row.

        Args:
            seconds: ``[B]`` durations.
            limit: no bound is larger, for example the sampler's ``gen_length``.

        Returns:
            ``[B]`` int64 tokens in ``1..limit``.

        Raises:
            ShapeError: ``seconds`` is not ``[B]``.
            InvalidArgumentError: a negative duration, or a limit below 1.
        """
        durations = torch.as_tensor(seconds, dtype=torch.float64)
        if durations.dim() != 1:
            raise ShapeError("seconds", "[B]", list(durations.shape))
        if not bool((durations >= 0).all()):
            raise InvalidArgumentError("seconds", "numbers >= 0", durations.tolist())
        check_integer("limit", limit)
        # A hair below the ceiling: a product that should be whole must not round up.
        bound = (self.extra + self.tokens_per_second * durations - 1e-9).ceil()
        return bound.clamp(1, limit).long()


def response_mask(lengths: Tensor, gen_length: int | None = None) -> Tensor:
    """``[B, R]`` bool, True for a row's first ``lengths [B]`` positions.

    Give it to :func:`dllm_audio.condition` and every row is decoded as in a response of its own
    length; the sampler fills the rest with the end token.

    Args:
        lengths: ``[B]`` int64 >= 1.
        gen_length: R; None takes the longest.

    Returns:
        ``[B, R]`` bool.

    Raises:
        ShapeError: ``lengths`` is not ``[B]`` of integers.
        InvalidArgumentError: a length below 1 or above ``gen_length``.

    Example:
        >>> response_mask(torch.tensor([1, 3])).int().tolist()
        [[1, 0, 0], [1, 1, 1]]
    """
    if lengths.dim() != 1 or lengths.is_floating_point():
        raise ShapeError("lengths", "int64 [B]", f"{lengths.dtype} {list(lengths.shape)}")
    longest = int(lengths.max())
    width = longest if gen_length is None else gen_length
    check_integer("gen_length", width)
    if int(lengths.min()) < 1 or longest > width:
        raise InvalidArgumentError("lengths", f"integers in 1..{width}", lengths.tolist())
    return torch.arange(width, device=lengths.device) < lengths[:, None]
