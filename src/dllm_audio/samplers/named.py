"""The three named samplers: thin settings of :class:`.Sampler`."""

from __future__ import annotations

from typing import Any

from ..errors import InvalidArgumentError
from .cache_policy import CachePolicy
from .commit import CommitRule, FixedQuota, Threshold
from .guidance import ClassifierFreeGuidance
from .options import SamplingOptions
from .sampler import Sampler


class LowConfidenceSampler(Sampler):
    """LLaDA's reference decoding (arXiv 2502.09992, algorithm 5) over one block.

    At each step the most confident masked positions are committed, the rest is predicted again.

    Args:
        steps: forward passes.
        gen_length: response positions R.
        temperature: 0 is greedy.
        guidance: classifier-free guidance, or None.
        options: fields of :class:`.SamplingOptions` (``confidence``, ``eos``, ``trace``, ...).

    Example:
        >>> sampler = LowConfidenceSampler(steps=8, gen_length=16)
        >>> sampler.bounds()
        [(0, 16)]
    """

    def __init__(
        self,
        steps: int,
        gen_length: int,
        temperature: float = 0.0,
        guidance: ClassifierFreeGuidance | None = None,
        **options: Any,
    ) -> None:
        settings = _options(temperature=temperature, guidance=guidance, **options)
        super().__init__(gen_length, gen_length, FixedQuota(steps), options=settings)


class BlockSampler(Sampler):
    """Semi-autoregressive decoding: equal blocks from left to right, each with its quota.

    Blocks to come stay visible as masks; attention stays full.

    Args:
        steps: forward passes for the whole response.
        gen_length: response positions R.
        block_length: positions of a block; the last one may be shorter.
        temperature: 0 is greedy.
        guidance: classifier-free guidance, or None.
        options: fields of :class:`.SamplingOptions` (``confidence``, ``eos``, ``trace``, ...).

    Example:
        >>> BlockSampler(steps=16, gen_length=32, block_length=8).bounds()
        [(0, 8), (8, 16), (16, 24), (24, 32)]
    """

    def __init__(
        self,
        steps: int,
        gen_length: int,
        block_length: int,
        temperature: float = 0.0,
        guidance: ClassifierFreeGuidance | None = None,
        **options: Any,
    ) -> None:
        settings = _options(temperature=temperature, guidance=guidance, **options)
        super().__init__(gen_length, block_length, FixedQuota(steps), options=settings)


class CachedParallelSampler(Sampler):
    """Several tokens a step by a commit rule, with reuse of keys and values.

    Args:
        gen_length: response positions R, an upper bound with ``eos_stop``.
        block_length: positions of a block; the last one may be shorter.
        commit: what becomes final in a step; None with ``steps`` is :class:`.FixedQuota`.
        cache: ``"prefix"`` keeps what is before the block, ``"dual"`` what is around it, None
            recomputes everything.
        steps: most forward passes for the whole response; exactly these with ``commit=None``.
        eos_stop: end a row once everything before its first EOS is committed.
        refresh_interval: refresh the cache every so many steps of a block; None only at its start.
        refresh: ``"sequence"``, or ``"response"`` to compute the prompt only once.
        options: fields of :class:`.SamplingOptions` (``temperature``, ``guidance``, ...).

    Example:
        >>> CachedParallelSampler(64, 32, commit=Threshold(0.9), cache="dual").cache
        CachePolicy(kind='dual', refresh_interval=None, refresh='sequence')
    """

    def __init__(
        self,
        gen_length: int,
        block_length: int,
        commit: CommitRule | None = Threshold(0.9),  # noqa: B008 (frozen)
        cache: str | None = "prefix",
        steps: int | None = None,
        eos_stop: bool = True,
        *,
        refresh_interval: int | None = None,
        refresh: str = "sequence",
        **options: Any,
    ) -> None:
        if commit is None:
            if steps is None:
                raise InvalidArgumentError("steps", "an integer, because commit is None", None)
            commit = FixedQuota(steps)
        settings = _options(eos_stop=eos_stop, **options)
        policy = CachePolicy(cache, refresh_interval, refresh)
        super().__init__(gen_length, block_length, commit, policy, settings, steps)


def _options(**fields: Any) -> SamplingOptions:
    unknown = sorted(fields.keys() - SamplingOptions.__dataclass_fields__.keys())
    if unknown:
        known = ", ".join(SamplingOptions.__dataclass_fields__)
        raise InvalidArgumentError("options", f"only the fields {known}", ", ".join(unknown))
    return SamplingOptions(**fields)
