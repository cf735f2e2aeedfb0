"""Decode settings: which sampler, with which steps, as plain values that a report can record."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from ..errors import InvalidArgumentError

SAMPLERS = ("low-confidence", "block", "cached")


@dataclass(frozen=True, slots=True)
class DecodeSettings:
    """How a response is decoded.

    Attributes:
        steps: forward passes; None with ``sampler="cached"`` and a threshold or factor.
        gen_length: response tokens.
        block_length: tokens of a block; None: one block.
        sampler: ``"low-confidence"`` (one block), ``"block"`` or ``"cached"``.
        temperature: 0 is greedy.
        threshold: commit every token at least this sure (``"cached"`` only).
        factor: commit by the factor rule (``"cached"`` only).
        cache: ``"prefix"``, ``"dual"`` or None (``"cached"`` only).
    """

    steps: int | None
    gen_length: int
    block_length: int | None = None
    sampler: str = "block"
    temperature: float = 0.0
    threshold: float | None = None
    factor: float | None = None
    cache: str | None = None

    def __post_init__(self) -> None:
        if self.sampler not in SAMPLERS:
            raise InvalidArgumentError("sampler", f"one of {', '.join(SAMPLERS)}", self.sampler)
        parallel = self.threshold is not None or self.factor is not None
        if self.sampler != "cached" and (parallel or self.cache is not None):
            raise InvalidArgumentError(
                "sampler", '"cached" with threshold, factor or cache', self.sampler
            )
        if self.threshold is not None and self.factor is not None:
            raise InvalidArgumentError("factor", "None beside a threshold", self.factor)
        if not parallel and self.steps is None:
            raise InvalidArgumentError("steps", "a number without threshold and factor", None)

    def build(self) -> Any:
        """The sampler that these settings describe.

        Raises:
            InvalidArgumentError: a value that the sampler refuses.
        """
        from ..samplers import (
            BlockSampler,
            CachedParallelSampler,
            Factor,
            LowConfidenceSampler,
            Threshold,
        )

        block = self.block_length or self.gen_length
        if self.sampler == "cached":
            commit: Any = None
            if self.threshold is not None:
                commit = Threshold(self.threshold)
            elif self.factor is not None:
                commit = Factor(self.factor)
            return CachedParallelSampler(
                gen_length=self.gen_length,
                block_length=block,
                commit=commit,
                cache=self.cache,
                steps=self.steps if commit is None else None,
                temperature=self.temperature,
            )
        if self.steps is None:
            raise InvalidArgumentError("steps", "a number", None)
        if self.sampler == "low-confidence":
            return LowConfidenceSampler(self.steps, self.gen_length, temperature=self.temperature)
        return BlockSampler(self.steps, self.gen_length, block, temperature=self.temperature)

    def to_json(self) -> dict[str, Any]:
        """All settings by name."""
        return asdict(self)


def published(steps: int) -> DecodeSettings:
    """Settings with as many steps as tokens in one block, as the published scores used.

    Example:
        >>> published(16).gen_length
        16
    """
    return DecodeSettings(steps=steps, gen_length=steps, block_length=steps)
