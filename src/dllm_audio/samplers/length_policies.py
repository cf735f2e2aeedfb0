"""How a response changes its length: what a pass sees, rows on a canvas, and two published rules.

A row's response is the first part of a canvas.  What is behind it means nothing, and the model does
not see it.

Shape letters: B rows of the batch, N rows in work, W canvas positions.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from ..errors import InvalidArgumentError
from .checks import check_choice, check_flag, check_integer, check_number


@dataclass(frozen=True, slots=True)
class Seen:
    """What one pass expects at every position of the canvas.

    Attributes:
        best: ``[N, W]`` int64 the likeliest token, the mask apart.
        confidence: ``[N, W]`` its probability; below 0 where the mask is likelier still.
        ends: ``[N, W]`` bool, within the response, and EOS is the likeliest.
        open: ``[N, W]`` bool, within the response, and masked before the pass.
    """

    best: Tensor
    confidence: Tensor
    ends: Tensor
    open: Tensor

    def end_confidence(self, count: int) -> Tensor:
        """Probabilities of the last ``count`` expected ends, over ``count``: ``[N]``."""
        from_the_end = self.ends.flip(-1).cumsum(-1).flip(-1)
        taken = self.ends & (from_the_end <= count)
        return self.confidence.masked_fill(~taken, 0.0).sum(-1) / count

    def end_density(self) -> Tensor:
        """Share ``[N]`` of the open positions that expect an end; 0 where nothing is open."""
        return (self.ends & self.open).sum(-1) / self.open.sum(-1).clamp(min=1)


@dataclass(slots=True)
class Rows:
    """Rows of a batch as they stand; what is behind a row's length means nothing.

    Attributes:
        tokens: ``[B, W]`` int64 on the whole canvas.
        sureness: ``[B, W]`` confidence at commit; NaN where nothing was committed.
        committed_in: ``[B, W]`` int64 pass of the commit, -1 where there was none.
        length: ``[B]`` int64 of the response.
        at: ``[B]`` int64 where the active block begins.
        frozen: ``[B]`` bool, the length stays.
        growing: ``[B]`` bool, nothing is decoded before a first length is found.
        passes: ``[B]`` int64 that each row took part in.
    """

    tokens: Tensor
    sureness: Tensor
    committed_in: Tensor
    length: Tensor
    at: Tensor
    frozen: Tensor
    growing: Tensor
    passes: Tensor

    def take(self, rows: Tensor) -> Rows:
        """A copy of the chosen rows ``[N]``."""
        return Rows(*(getattr(self, name)[rows] for name in self.__slots__))

    def put(self, rows: Tensor, changed: Rows) -> None:
        """Write them back."""
        for name in self.__slots__:
            getattr(self, name)[rows] = getattr(changed, name)

    @property
    def columns(self) -> Tensor:
        """``[W]``: 0, 1, 2, ..."""
        return torch.arange(self.tokens.shape[1], device=self.tokens.device)

    @property
    def within(self) -> Tensor:
        """``[N, W]`` bool, positions of the response."""
        return self.columns < self.length[:, None]

    def block(self, length: int) -> Tensor:
        """``[N, W]`` bool, positions of the active block."""
        columns = self.columns
        inside = (columns >= self.at[:, None]) & (columns < self.at[:, None] + length)
        return inside & self.within

    def insert(self, place: Tensor, count: Tensor) -> None:
        """Repeat position ``place [N]`` ``count [N]`` times more; the rest moves to the right."""
        columns, place, count = self.columns, place[:, None], count[:, None]
        source = torch.where(columns <= place + count, columns.minimum(place), columns - count)
        for name in ("tokens", "sureness", "committed_in"):
            setattr(self, name, getattr(self, name).gather(1, source))


POLICIES: dict[str, type[LengthPolicy]] = {}  # by name, those of others too


class LengthPolicy(ABC):
    """How a response changes its length.

    A subclass with a ``name`` of its own, a dataclass of settings, is found under that name by
    :func:`.from_dict`.

    Attributes:
        initial_gen_length: first length.
        max_gen_length: bound.
        finds_first: whether a first length is looked for before anything is decoded.
        low_conf_threshold: confidence below which a position asks for room.
    """

    def __init_subclass__(cls, **options: object) -> None:
        super().__init_subclass__(**options)
        if "name" not in vars(cls):
            return
        known = POLICIES.setdefault(cls.name, cls)
        if (known.__module__, known.__qualname__) != (cls.__module__, cls.__qualname__):
            expected = f"a name that is not taken by {known.__qualname__}"
            raise InvalidArgumentError("name", expected, cls.name)
        POLICIES[cls.name] = cls

    name: ClassVar[str]
    finds_first: ClassVar[bool] = False
    initial_gen_length: int
    max_gen_length: int
    low_conf_threshold: float = -1.0

    def grow_first(self, rows: Rows, seen: Seen, eos_id: int) -> None:
        """For rows that are ``growing``: a longer canvas, or an end of it."""
        rows.growing = torch.zeros_like(rows.growing)

    @abstractmethod
    def insert(self, rows: Rows, seen: Seen, weak: Tensor) -> tuple[Tensor, Tensor]:
        """Where a block becomes longer: ``place [N]`` and ``count [N]``, 0 for not at all."""

    @abstractmethod
    def resize(self, rows: Rows, seen: Seen, eos_id: int) -> None:
        """Change the lengths at the tail, after the block was filled."""

    @property
    @abstractmethod
    def most_passes(self) -> int:
        """Bound on the passes of a row."""


@dataclass(frozen=True)
class DAEDAL(LengthPolicy):
    """First length by the confidence in an end, then masks inserted where the model is unsure.

    DAEDAL (arXiv 2508.00819). The confidence in an end is the mean probability of the last
    ``eos_check_tokens`` positions that expect EOS. While it is low, the canvas of masks grows; then
    half as many EOS tokens close it. Later, the least sure position of a block becomes
    ``expansion_factor`` masks while the end is not expected surely.

    Args:
        initial_gen_length: first length.
        max_gen_length: bound.
        expansion_factor: masks that the canvas grows by.
        low_conf_threshold: confidence below which a position asks for room.
        eos_confidence_threshold: confidence in an end that the first length must reach.
        expand_eos_confidence_threshold: confidence in an end from which on nothing is inserted.
        eos_check_tokens: expected ends that are looked at.
        protect: never drop committed text where the bound cuts an insertion; False: as published.

    Raises:
        InvalidArgumentError: a value out of range.
    """

    name = "daedal"
    finds_first = True
    initial_gen_length: int = 64
    max_gen_length: int = 2048
    expansion_factor: int = 8
    low_conf_threshold: float = 0.1
    eos_confidence_threshold: float = 0.5
    expand_eos_confidence_threshold: float = 0.9
    eos_check_tokens: int = 32
    protect: bool = True

    def __post_init__(self) -> None:
        _check_lengths(self)
        for name in ("low_conf_threshold", "eos_confidence_threshold"):
            check_number(name, getattr(self, name))
        check_number("expand_eos_confidence_threshold", self.expand_eos_confidence_threshold)

    def grow_first(self, rows: Rows, seen: Seen, eos_id: int) -> None:
        """A longer canvas while no end is in sight, else EOS tokens behind it."""
        unsure = seen.end_confidence(self.eos_check_tokens) < self.eos_confidence_threshold
        more = rows.growing & unsure & (rows.length < self.max_gen_length)
        done = rows.growing & ~more
        longer = torch.where(more, self.expansion_factor, self.eos_check_tokens // 2)
        grown = (rows.length + longer).clamp(max=self.max_gen_length)
        ends = done[:, None] & ~rows.within & (rows.columns < grown[:, None])
        rows.tokens = rows.tokens.masked_fill(ends, eos_id)
        rows.length = torch.where(rows.growing, grown, rows.length)
        rows.growing = more

    def insert(self, rows: Rows, seen: Seen, weak: Tensor) -> tuple[Tensor, Tensor]:
        """At the least sure position of the block, if any is unsure and no end is expected."""
        confidence = seen.end_confidence(self.eos_check_tokens)
        rows.frozen = rows.frozen | (rows.length >= self.max_gen_length)
        asks = weak.any(-1) & ~rows.frozen & (confidence < self.expand_eos_confidence_threshold)
        place = seen.confidence.masked_fill(~weak, float("inf")).argmin(-1)
        count = torch.full_like(rows.length, self.expansion_factor - 1)
        if self.protect:
            count = count.minimum(self.max_gen_length - rows.length)
        return place, torch.where(asks, count, 0)

    def resize(self, rows: Rows, seen: Seen, eos_id: int) -> None:
        """Nothing happens at the tail."""

    @property
    def most_passes(self) -> int:
        """Every pass makes the canvas longer or commits something."""
        return 2 * self.max_gen_length


@dataclass(frozen=True)
class RhoEOS(LengthPolicy):
    """Grow and shrink at the tail by how much of what is open expects an end.

    rho-EOS (arXiv 2601.22527). Below ``low_density_threshold`` masks are appended, above
    ``high_density_threshold`` the tail is cut, by ``expansion_factor`` positions times a multiplier
    that grows with the distance to the threshold; after 64 passes, or once the bound is reached,
    the length stays.

    Args:
        initial_gen_length: first length.
        max_gen_length: bound.
        expansion_factor: positions of a change.
        low_density_threshold: share below which the response grows.
        high_density_threshold: share above which it shrinks.
        scheduler: multiplier of the change: ``"const"``, ``"linear"`` or ``"exp"``.
        measure: ``"density"``, the share of the open positions that expect EOS (the paper's), or
            ``"confidence"``, DAEDAL's confidence in an end (the released code's).
        eos_check_tokens: expected ends that are looked at, for ``"confidence"``.
        protect: never cut committed text; False: as published.

    Raises:
        InvalidArgumentError: a value out of range.
    """

    name = "rho-eos"
    initial_gen_length: int = 64
    max_gen_length: int = 2048
    expansion_factor: int = 8
    low_density_threshold: float = 0.4
    high_density_threshold: float = 0.6
    scheduler: str = "exp"
    measure: str = "density"
    eos_check_tokens: int = 32
    protect: bool = True
    _distance: ClassVar[float] = 0.1  # of a step of the scheduler
    _most: ClassVar[int] = 8
    _passes: ClassVar[int] = 64

    def __post_init__(self) -> None:
        _check_lengths(self)
        check_number("low_density_threshold", self.low_density_threshold)
        check_number("high_density_threshold", self.high_density_threshold)
        check_choice("scheduler", self.scheduler, ("const", "linear", "exp"))
        check_choice("measure", self.measure, ("density", "confidence"))

    def insert(self, rows: Rows, seen: Seen, weak: Tensor) -> tuple[Tensor, Tensor]:
        """Nothing is inserted."""
        rows.frozen = rows.frozen | (rows.length >= self.max_gen_length)
        rows.frozen = rows.frozen | (rows.passes >= self._passes)
        return rows.at, torch.zeros_like(rows.length)

    @property
    def most_passes(self) -> int:
        """As published."""
        return self.max_gen_length

    def resize(self, rows: Rows, seen: Seen, eos_id: int) -> None:
        """Append masks, or cut."""
        if self.measure == "density":
            share = seen.end_density()
        else:
            share = seen.end_confidence(self.eos_check_tokens)
        low, high = self.low_density_threshold - share, share - self.high_density_threshold
        change = self._multiplier(low.maximum(high)) * self.expansion_factor
        room = self.max_gen_length - rows.length
        spare = rows.length
        if self.protect:  # what is behind the last committed position that is no end
            text = rows.within & ~rows.sureness.isnan() & (rows.tokens != eos_id)
            spare = rows.length - (text * (rows.columns + 1)).amax(-1)
        delta = torch.where(low > 0, change.minimum(room), 0)
        delta = torch.where(high > 0, -change.minimum(spare), delta)
        rows.length = rows.length + torch.where(rows.frozen, 0, delta)
        rows.at = rows.at.minimum(rows.length)

    def _multiplier(self, distance: Tensor) -> Tensor:
        steps = (distance / self._distance).ceil().clamp(min=1).long()
        if self.scheduler == "const":
            steps = torch.ones_like(steps)
        elif self.scheduler == "exp":
            steps = 2 ** (steps - 1).clamp(max=self._most)
        return steps.clamp(max=self._most)


def _check_lengths(policy: DAEDAL | RhoEOS) -> None:
    check_integer("initial_gen_length", policy.initial_gen_length)
    check_integer("max_gen_length", policy.max_gen_length, policy.initial_gen_length)
    check_integer("expansion_factor", policy.expansion_factor)
    check_integer("eos_check_tokens", policy.eos_check_tokens)
    check_flag("protect", policy.protect)
