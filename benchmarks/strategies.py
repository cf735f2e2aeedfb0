"""The decoding strategies under test and the matrix of cases."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import product
from typing import Any

from dllm_audio import (
    BlockSampler,
    CachedParallelSampler,
    EntropyBound,
    Factor,
    LocalLeap,
    LowConfidenceSampler,
    Threshold,
)

from .shapes import Shape

RULES = {
    "fixed": None,
    "threshold": lambda: Threshold(0.9),
    "factor": lambda: Factor(1.0),
    "local_leap": lambda: LocalLeap(),
    "entropy": lambda: EntropyBound(0.1),
}
# "low_confidence" is one block over the whole answer; the others share the block length.
# "kept_prompt" is the dual cache whose refreshes compute the response alone; "exact" is the cache
# of a backbone with block-causal attention, of the same weights.
LAYOUTS = ("low_confidence", "block", "prefix", "dual", "kept_prompt", "exact")
CACHES = {"prefix": "prefix", "dual": "dual", "kept_prompt": "dual", "exact": "exact"}
STRATEGIES = tuple(f"{layout}/{rule}" for layout, rule in product(LAYOUTS, RULES))
# Every strategy runs in one of these: packed on a CPU, eager or graphed on a GPU.
BASE_MODES = ("eager", "packed", "graphed")
EXTRA_MODES = ("compiled", "graphed")


@dataclass(frozen=True)
class Case:
    """One cell of the matrix.

    Attributes:
        strategy: ``layout/rule``.
        batch: rows decoded together.
        prompt: prompt positions, audio included.
        answer: new tokens a row.
        block: block length.
        profile: name of a confidence profile, or None for the bare random weights.
        mode: one of ``BASE_MODES`` and ``EXTRA_MODES``.
    """

    strategy: str
    batch: int
    prompt: int
    answer: int
    block: int
    profile: str | None = None
    mode: str = "eager"

    @property
    def layout(self) -> str:
        """Which positions are active and what is cached."""
        return self.strategy.partition("/")[0]

    @property
    def rule(self) -> str:
        """The commit rule."""
        return self.strategy.partition("/")[2]

    @property
    def label(self) -> str:
        """Name in results, unique within the matrix."""
        parts = [self.strategy, f"b{self.batch}", f"p{self.prompt}", f"r{self.answer}"]
        if self.profile:
            parts.append(self.profile)
        if self.mode != "eager":
            parts.append(self.mode)
        return " ".join(parts)


def sampler(case: Case) -> Any:
    """The library's sampler for a case; the fixed quota is one token a step."""
    if case.rule == "fixed":
        if case.layout == "low_confidence":
            return LowConfidenceSampler(steps=case.answer, gen_length=case.answer)
        if case.layout == "block":
            return BlockSampler(steps=case.answer, gen_length=case.answer, block_length=case.block)
    make_rule = RULES[case.rule]
    return CachedParallelSampler(
        gen_length=case.answer,
        block_length=case.answer if case.layout == "low_confidence" else case.block,
        commit=make_rule() if make_rule else None,
        cache=CACHES.get(case.layout),
        refresh="response" if case.layout == "kept_prompt" else "sequence",
        steps=None if make_rule else case.answer,
        eos_stop=False,  # random weights predict EOS by chance
    )


@dataclass(frozen=True)
class Axes:
    """Values of the matrix; an empty one stands for the shape's own.

    Attributes:
        batches: rows decoded together.
        prompts: prompt positions.
        answers: new tokens.
        full: every combination, instead of one axis at a time.
        mode: one of ``BASE_MODES``, for all cases that do not compare modes.
        extra_modes: those of ``EXTRA_MODES`` to compare with it.
    """

    batches: Sequence[int] = ()
    prompts: Sequence[int] = ()
    answers: Sequence[int] = ()
    full: bool = False
    mode: str = "eager"
    extra_modes: Sequence[str] = ()


def matrix(shape: Shape, axes: Axes, chosen: Sequence[str] = ()) -> list[Case]:
    """The cases of a run.

    Args:
        shape: model size, with the lengths of the anchor case.
        axes: values to try.
        chosen: strategies, as ``layout`` or ``layout/rule``; empty means all.
    """
    anchor = Case("dual/fixed", 1, shape.prompt, shape.answer, shape.block, mode=axes.mode)
    cases = list(_full(anchor, axes) if axes.full else _one_axis_at_a_time(anchor, axes))
    if chosen:
        wanted = set(chosen)
        cases = [c for c in cases if {c.strategy, c.layout} & wanted]
    return list(dict.fromkeys(cases))


def _one_axis_at_a_time(anchor: Case, axes: Axes) -> Iterator[Case]:
    # One token a step is comparable with the plain loop.  Without a cache the block length does
    # not change what a pass costs: one layout shows it.  The eager mode stands beside another for
    # what a user gets who changes nothing but the sampler.
    for layout in LAYOUTS:
        if layout != "block" or anchor.mode == "eager":
            yield replace(anchor, strategy=f"{layout}/fixed")
        if layout in CACHES and anchor.mode != "eager":
            yield replace(anchor, strategy=f"{layout}/fixed", mode="eager")
    for mode in axes.extra_modes:
        yield replace(anchor, mode=mode)
    for profile, strategy in product(("asr", "reasoning"), STRATEGIES):
        layout, _, rule = strategy.partition("/")
        # Without a cache a pass costs the same whatever rule decides, and a kept prompt changes
        # only the refreshes: one rule shows either.
        one_is_enough = layout not in ("prefix", "dual")
        if profile == "reasoning" and layout == "low_confidence":
            continue  # a pass and their number are those of "block", nearly
        if rule == "threshold" or (rule != "fixed" and not one_is_enough):
            yield replace(anchor, strategy=strategy, profile=profile)
    best = replace(anchor, strategy="dual/threshold", profile="asr")
    for mode in axes.extra_modes:
        yield replace(best, mode=mode)
    for batch in axes.batches:
        yield replace(best, batch=batch)
        yield replace(best, strategy="prefix/threshold", batch=batch)
        yield replace(best, strategy="kept_prompt/threshold", batch=batch)
        yield replace(best, strategy="exact/threshold", batch=batch)
    for answer in axes.answers:
        yield replace(best, answer=answer, block=min(best.block, answer))
    for prompt in axes.prompts:
        yield replace(best, prompt=prompt)
        yield replace(best, strategy="exact/threshold", prompt=prompt)


def _full(anchor: Case, axes: Axes) -> Iterator[Case]:
    batches = axes.batches or (anchor.batch,)
    prompts = axes.prompts or (anchor.prompt,)
    answers = axes.answers or (anchor.answer,)
    for strategy, batch, prompt, answer in product(STRATEGIES, batches, prompts, answers):
        case = replace(
            anchor,
            strategy=strategy,
            batch=batch,
            prompt=prompt,
            answer=answer,
            block=min(anchor.block, answer),
        )
        if case.rule == "fixed":
            yield case
        else:
            yield replace(case, profile="asr")
            yield replace(case, profile="reasoning")
