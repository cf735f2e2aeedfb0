"""Samplers by use: plain functions with the settings that measurements recommend.

``docs/decoding.md`` has the tables. Every returned sampler is an ordinary one: read its settings,
or build your own from the same parts.
"""

from __future__ import annotations

from typing import Any

from ..errors import InvalidArgumentError
from .commit import CommitRule, Factor, LocalLeap, Threshold
from .named import BlockSampler, CachedParallelSampler
from .sampler import Sampler


def multiple_choice(gen_length: int = 16, **options: Any) -> CachedParallelSampler:
    """For answers of a few words: one block, threshold 0.9, EOS stop; decode many rows at once.

    With one block the first forward pass fills the cache and also decodes; the cache holds all of
    the prompt and its audio, so later passes recompute the answer's positions only. Threshold 0.9
    keeps about the accuracy of one token a step: ``docs/decoding.md`` for the small model; for
    LLaDA-8B with a prefix cache 78.5 % against 79.3 % on GSM8K (5-shot, 256 tokens; Fast-dLLM,
    arXiv 2505.22618).

    Args:
        gen_length: most tokens of an answer.
        options: passed to :class:`.CachedParallelSampler`.

    Example:
        >>> multiple_choice().bounds()
        [(0, 16)]
    """
    return CachedParallelSampler(gen_length, gen_length, Threshold(0.9), "prefix", **options)


def answers(gen_length: int = 128, *, fast: bool = False, **options: Any) -> CachedParallelSampler:
    """For answers of about 128 tokens: blocks of 32, prefix cache refreshed per block, EOS stop.

    Args:
        gen_length: most tokens of an answer.
        fast: LocalLeap 0.9/0.75/4 (arXiv 2510.07081) instead of threshold 0.9 (arXiv
            2505.22618): about a third faster for about one point of accuracy. In a comparison
            by neither of the two papers, LLaDA-8B on GSM8K without a cache (H100, batch 1,
            blocks of 32, 256 tokens) reaches 77.3 % at 4.28 times the speed of one token a step,
            against 78.4 % at 3.24 times; one token a step reaches 77.9 %.
        options: passed to :class:`.CachedParallelSampler`.

    Example:
        >>> answers(100).bounds()
        [(0, 32), (32, 64), (64, 96), (96, 100)]
    """
    rule: CommitRule = LocalLeap() if fast else Threshold(0.9)
    return CachedParallelSampler(gen_length, min(32, gen_length), rule, "prefix", **options)


def transcription(
    gen_length: int = 128, *, accurate: bool = False, **options: Any
) -> CachedParallelSampler:
    """For transcripts: threshold 0.9 in blocks of 32, prefix cache, EOS stop.

    94 % of a transcript's tokens have a confidence of 0.9 or more at once (arXiv 2605.29613), so
    a block takes few passes. Bound the length by the duration of the audio with
    :class:`.LengthRule`.

    Args:
        gen_length: most tokens of a transcript.
        accurate: blocks of 4 and threshold 0.95: word error rate 2.81 on LibriSpeech test-clean,
            within 0.03 of the autoregressive model (arXiv 2605.29613).
        options: passed to :class:`.CachedParallelSampler`.

    Example:
        >>> transcription(64, accurate=True).commit
        Threshold(tau=0.95, decay=0.0, floor=0.0)
    """
    block, tau = (4, 0.95) if accurate else (32, 0.9)
    return CachedParallelSampler(
        gen_length, min(block, gen_length), Threshold(tau), "prefix", **options
    )


def published_scores(
    gen_length: int,
    *,
    steps: int | None = None,
    block_length: int | None = None,
    factor: float | None = None,
    **options: Any,
) -> Sampler:
    """For comparing with published numbers: the originals' rules, and nothing approximate.

    Args:
        gen_length: response positions.
        steps: forward passes of low-confidence decoding (LLaDA, DIFFA); give these or ``factor``.
        block_length: positions of a block; None: one block.
        factor: DIFFA-2's parallel decoding with EOS stop; its published factor is 1.0.
        options: passed to the sampler.

    Raises:
        InvalidArgumentError: both or neither of ``steps`` and ``factor``.

    Example:
        >>> published_scores(16, steps=16).commit
        FixedQuota(steps=16)
        >>> published_scores(128, factor=1.0, block_length=32).commit
        Factor(factor=1.0, commit_last=True)
    """
    block = gen_length if block_length is None else block_length
    if factor is not None and steps is None:
        return CachedParallelSampler(gen_length, block, Factor(factor), cache=None, **options)
    if steps is not None and factor is None:
        return BlockSampler(steps, gen_length, block, **options)
    got = "neither" if steps is None else "both"
    raise InvalidArgumentError("steps", "either it or factor", got)
