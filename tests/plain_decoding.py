"""An obviously right decoder, as an oracle: one row, one full forward pass a step, plain Python.

It shares no code with the library: rules are written over sorted lists of floats, in float64.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field

import torch
from torch import Tensor


@dataclass
class Step:
    """What a rule sees: confidences and entropies of the block's masked positions."""

    confidence: dict[int, float]
    entropy: dict[int, float]
    masked_at_start: int
    number: int
    steps: int | None

    def order(self) -> list[int]:
        """Masked positions, the most confident first; ties from left to right."""
        return sorted(self.confidence, key=lambda p: (-self.confidence[p], p))


Rule = Callable[[Step], set[int]]


def quota(step: Step) -> set[int]:
    assert step.steps is not None
    share, rest = divmod(step.masked_at_start, step.steps)
    return set(step.order()[: share + (step.number < rest)])


def timesteps(eps: float) -> Rule:
    """Dream's rule; the times are rounded as in the original, which computes them in float32."""

    def rule(step: Step) -> set[int]:
        assert step.steps is not None
        if step.number + 1 == step.steps:
            return set(step.confidence)
        times = torch.linspace(1, eps, step.steps + 1)
        share = 1 - times[step.number + 1] / times[step.number]
        return set(step.order()[: int(len(step.confidence) * share)])

    return rule


def threshold(tau: float, decay: float = 0.0, floor: float = 0.0) -> Rule:
    def rule(step: Step) -> set[int]:
        now = max(floor, tau - decay * step.number) if decay else tau
        return {p for p, c in step.confidence.items() if c >= now}

    return rule


def factor(f: float, commit_last: bool = True) -> Rule:
    def rule(step: Step) -> set[int]:
        order = step.order()
        taken = 1
        while taken < len(order):
            n = taken + 1
            if step.confidence[order[taken]] < 1 - f / (n + 1):
                if commit_last and n == len(order):
                    taken += 1
                break
            taken += 1
        return set(order[:taken])

    return rule


def entropy_bound(gamma: float) -> Rule:
    def rule(step: Step) -> set[int]:
        order = sorted(step.entropy, key=lambda p: (step.entropy[p], p))
        largest = max(
            k
            for k in range(1, len(order) + 1)
            if math.fsum(step.entropy[p] for p in order[: k - 1]) <= gamma
        )
        return set(order[:largest])

    return rule


def local_leap(anchor: float, relaxed: float, radius: int) -> Rule:
    def rule(step: Step) -> set[int]:
        anchors = [p for p, c in step.confidence.items() if c >= anchor]
        near = {
            p
            for p, c in step.confidence.items()
            if c >= relaxed and any(abs(p - a) <= radius for a in anchors)
        }
        return near | set(anchors)

    return rule


def hierarchical(high: float, low: float) -> Rule:
    def rule(step: Step) -> set[int]:
        runs: list[list[int]] = []
        for p in sorted(step.confidence):
            if runs and runs[-1][-1] == p - 1:
                runs[-1].append(p)
            else:
                runs.append([p])
        best = {min(run, key=lambda p: (-step.confidence[p], p)) for run in runs}
        return {p for p, c in step.confidence.items() if c >= high or (p in best and c >= low)}

    return rule


@dataclass
class PlainResult:
    tokens: list[int]
    nfe: int = 0
    step_of: dict[int, int] = field(default_factory=dict)
    confidence_of: dict[int, float] = field(default_factory=dict)


def plain_decode(
    predict: Callable[[Tensor], Tensor],
    start: list[int],
    blocks: list[tuple[int, int, int | None]],
    rule: Rule,
    *,
    mask_id: int,
    eos_id: int | None = None,
    confidence: str = "max_probability",
    eos: str = "allow",
    may_wait: bool = False,
) -> PlainResult:
    """Decode one row.

    Args:
        predict: ``x_t [R]`` to logits ``[R, V]``.
        start: tokens to begin from.
        blocks: ``(start, end, most steps)``.
        rule: what is committed.
        mask_id: stands for "not yet known".
        eos_id: not None ends the row early, and fills it up.
        confidence: ``max_probability``, ``margin`` or ``entropy``.
        eos: ``allow``, ``forbid``, ``delay`` or ``exclude`` (these need ``eos_id``; they do not
            stop).
        may_wait: whether a pass may commit nothing; otherwise the best position is.
    """
    result = PlainResult(list(start))
    tokens = result.tokens
    stops = eos_id if eos == "allow" else None
    for begin, end, steps in blocks:
        masked_at_start = sum(t == mask_id for t in tokens[begin:end])
        number = 0
        while any(t == mask_id for t in tokens[begin:end]) and not _ended(
            tokens[:end], mask_id, stops
        ):
            logits = predict(torch.tensor(tokens)).double()
            guess, step = {}, Step({}, {}, masked_at_start, number, steps)
            for p in range(begin, end):
                if tokens[p] != mask_id:
                    continue
                row = logits[p].clone()
                if eos == "forbid":
                    row[eos_id] = -math.inf
                probability = torch.softmax(row, -1)
                choosable = probability.clone()
                choosable[mask_id] = -1.0
                guess[p] = int(choosable.argmax())
                if eos == "exclude" and guess[p] != eos_id:
                    row[eos_id] = -math.inf
                    probability = torch.softmax(row, -1)
                    choosable = probability.clone()
                    choosable[mask_id] = -1.0
                step.entropy[p] = float(torch.special.entr(probability).sum())
                best, second = choosable.topk(2).values.tolist()
                step.confidence[p] = {
                    "max_probability": best,
                    "margin": best - second,
                    "entropy": -step.entropy[p],
                }[confidence]
                result.confidence_of[p] = step.confidence[p]
                if eos in ("delay", "exclude") and guess[p] == eos_id:
                    own = eos == "delay"  # the excluded have no confidence of their own
                    step.confidence[p] = own * step.confidence[p] - 1000.0
                    step.entropy[p] = own * step.entropy[p] + 1000.0
            commit = rule(step)
            if not commit and not may_wait:
                commit = {step.order()[0]}
            if steps is not None and number + 1 >= steps:
                commit = set(guess)
            for p in commit:
                tokens[p] = guess[p]
                result.step_of[p] = result.nfe
            result.nfe += 1
            number += 1
    if stops is not None:
        result.tokens = [stops if t == mask_id else t for t in tokens]
        end = result.tokens.index(stops) if stops in result.tokens else len(tokens)
        for p in [p for p in result.step_of if p > end]:  # what was committed behind the end
            result.tokens[p] = stops
            del result.step_of[p]
    return result


def _ended(tokens: list[int], mask_id: int, eos_id: int | None) -> bool:
    return eos_id in tokens and mask_id not in tokens[: tokens.index(eos_id)]
