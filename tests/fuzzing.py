"""Everything that must hold of what is decoded, whatever the model, the batch and the sampler.

``check(case)`` lists what does not hold; ``describe(case)`` tells what the case was.

Two runs that must agree may differ at near ties: products of another number of rows are rounded
otherwise. A difference counts as a near tie only where it is gone in float64, and where the logits
of the two runs differ by no more than a few times what tells float32 from float64 in this very
case; or, where the logits are equal to the bit, the confidences measured from them by a few units
in the last place.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any
from unittest.mock import patch

import torch
from torch import Tensor

from dllm_audio.outputs import SamplerOutput
from dllm_audio.samplers.choosing import Chooser, Guess
from fuzz_cases import Case, Record, Run

# Rounding adds up over passes on a cache, and differs between positions.
_ROUNDINGS = 8.0


def check(case: Case) -> list[str]:
    """What does not hold of a case; nothing, if all is well."""
    own = Run(case.cache, case.interval)
    output = case.decode(own)
    bad = [
        *_check_output(case, output),
        *_check_trace(case, output),
        *_check_stream(case, output),
    ]
    for one, two in _pairs(case):
        found = difference(case, one, two)
        if found and not is_near_tie(case, one, two):
            bad.append(f"{one} and {two}: {found}")
    return bad


def _pairs(case: Case) -> Iterator[tuple[Run, Run]]:
    """Runs that must agree."""
    own, plain = Run(case.cache, case.interval), Run(None, None)
    for row in range(case.rows):  # a row alone is the row in its batch
        yield replace(own, row=row), own
    for cache in ("prefix", "dual"):  # refreshed at every step, a cache changes nothing
        yield Run(cache, 1), plain
    yield Run("prefix-response", 1), Run("dual-response", 1)
    if case.block == case.gen_length:  # over one block the kinds are the same
        yield Run("prefix", None), Run("prefix-response", None)
        yield Run("prefix", None), Run("dual", None)


def difference(case: Case, one: Run, two: Run) -> str:
    """Where two runs of a case differ, for the rows that both have; empty where they agree."""
    first, second = case.decode(one), case.decode(two)
    assert first.trace is not None
    assert second.trace is not None
    for row in range(case.rows) if one.row is None else [one.row]:
        a, b = 0 if one.row is not None else row, row
        if not torch.equal(first.tokens[a], second.tokens[b]):
            return f"row {row}: {first.tokens[a].tolist()}, not {second.tokens[b].tolist()}"
        if int(first.row_nfe[a]) != int(second.row_nfe[b]):
            return f"row {row}: {int(first.row_nfe[a])} passes, not {int(second.row_nfe[b])}"
        if order(first.trace.step[a]) != order(second.trace.step[b]):
            return f"row {row}: another order"
        sure = first.trace.confidence[a], second.trace.confidence[b]
        if not torch.allclose(*sure, atol=2e-3, rtol=2e-3, equal_nan=True):
            return f"row {row}: other confidences"
    if one.row is None and first.nfe != second.nfe:
        return f"{first.nfe} passes, not {second.nfe}"
    return ""


def is_near_tie(case: Case, one: Run, two: Run) -> bool:
    """Whether rounding alone tells two runs apart."""
    exact = case.in_float64()
    if difference(exact, one, two):
        return False
    records: tuple[list[Record], list[Record]] = ([], [])
    for run, found in zip((one, two), records, strict=True):
        case.decode(run, found)
    between = 0.0
    for row in {each.row for found in records for each in found}:
        mine, other = ([each for each in found if each.row == row] for found in records)
        for seen in mine:
            twin = next((each for each in other if torch.equal(each.x_t, seen.x_t)), None)
            if twin is None:
                break  # they went apart in the pass before
            apart = (seen.logits - twin.logits).abs().nan_to_num()
            between = max(between, float(apart.max()))
    if between == 0:
        return 0 < between_confidences(case, one, two) <= _ROUNDINGS
    return between <= _ROUNDINGS * rounding(case, exact)


def between_confidences(case: Case, one: Run, two: Run) -> float:
    """The most by which equal logits gave unequal confidences, in units in the last place.

    Sums and exponentials of a tensor of another shape may be rounded otherwise.  What is compared
    is the first pass of every row in which the runs disagree: later ones see other responses.
    """
    measured: list[dict[int, list[Tensor]]] = []
    choose = Chooser.__call__
    for run in (one, two):
        of_rows: dict[int, list[Tensor]] = {}

        def remember(self: Chooser, *arguments: Any, run: Run = run, found: Any = of_rows) -> Guess:
            guess = choose(self, *arguments)
            for place, row in enumerate(arguments[-1]):  # None for a row that waits
                if row is not None:
                    name = row if run.row is None else run.row
                    found.setdefault(name, []).append(guess.sureness[place])
            return guess

        with patch.object(Chooser, "__call__", remember):
            case.decode(run)
        measured.append(of_rows)
    largest = 0.0
    for row in measured[0].keys() & measured[1].keys():
        for a, b in zip(measured[0][row], measured[1][row], strict=False):
            if torch.equal(a, b):
                continue
            known = a.isfinite() & b.isfinite()
            if not torch.equal(a.isfinite(), b.isfinite()):
                return float("inf")  # not the same masks: they went apart without a reason
            place = torch.finfo(a.dtype).eps * a[known].abs().clamp(min=1e-30)
            largest = max(largest, float(((a - b)[known].abs() / place).max()))
            break
    return largest


def rounding(case: Case, exact: Case) -> float:
    """How far logits in float32 are from those in float64, at most."""
    x_t, guidance = case.first_tokens(), case.options.guidance
    predictors: list[Any] = [case.together(), exact.together()]
    if guidance is not None:
        predictors = [guidance.wrap(each) for each in predictors]
    with torch.inference_mode():
        found, expected = (each(x_t) for each in predictors)
    return float((found - expected).abs().nan_to_num().max())


def _check_output(case: Case, output: SamplerOutput) -> list[str]:
    bad, config = [], case.model.config
    sampler, first = case.sampler(case.cache, case.interval), case.first_tokens()
    masked = first == config.mask_token_id
    if (output.tokens == config.mask_token_id).any():
        bad.append("a mask is left")
    if not torch.equal(output.tokens[~masked], first[~masked]):
        bad.append("a given token changed")
    most = sum(int(masked[:, a:b].sum(-1).max()) for a, b in sampler.bounds())
    if not case.commit.may_wait and output.nfe > most:
        bad.append("more passes than masks")
    planned = sampler.plan()
    if None not in planned and output.nfe > sum(steps or 0 for steps in planned):
        bad.append("more passes than planned")
    if case.steps is not None and output.nfe > case.steps:
        bad.append("more passes than steps")
    if int(output.row_nfe.max()) > output.nfe:
        bad.append("a row took more passes than the batch")
    for row in range(case.rows):
        tokens = output.tokens[row].tolist()
        end = tokens.index(config.eos_token_id) if config.eos_token_id in tokens else len(tokens)
        if int(output.lengths[row]) != end:
            bad.append(f"row {row}: length")
        behind = masked[row, end:]
        if (
            case.options.eos_stop
            and not (output.tokens[row, end:][behind] == config.eos_token_id).all()
        ):
            bad.append(f"row {row}: something else behind the end")
    return bad


def _check_trace(case: Case, output: SamplerOutput) -> list[str]:
    bad, trace, config = [], output.trace, case.model.config
    assert trace is not None
    given = case.first_tokens() != config.mask_token_id
    committed = trace.step >= 0
    if (committed & given).any():
        bad.append("a given token was committed")
    if not torch.equal(trace.confidence.isnan(), ~committed):
        bad.append("confidence without commit, or the other way round")
    rest = ~committed & ~given
    if rest.any() and not case.options.eos_stop:
        bad.append("uncommitted without an early stop")
    if not (output.tokens[rest] == config.eos_token_id).all():
        bad.append("filled with something else than the end")
    for row in range(case.rows):
        steps = trace.step[row][committed[row]]
        passes = steps.unique().numel()
        if passes > int(output.row_nfe[row]) or (steps >= output.nfe).any():
            bad.append(
                f"row {row}: {passes} passes that committed, {int(output.row_nfe[row])} in all"
            )
        sure = trace.confidence[row, : int(output.lengths[row])]
        expected = sure[~sure.isnan()].mean()
        if not torch.allclose(output.confidence[row], expected, atol=1e-5, equal_nan=True):
            bad.append(f"row {row}: confidence of the answer")
    if case.options.eos == "forbid":
        ends = case.options.end_token_ids or (config.eos_token_id,)
        if set(output.tokens[committed].tolist()) & set(ends):
            bad.append("a forbidden end was committed")
    return bad


def _check_stream(case: Case, output: SamplerOutput) -> list[str]:
    bad, mask = [], case.model.config.mask_token_id
    assert output.trace is not None
    sampler = case.sampler(case.cache, case.interval)
    seen, last = None, None
    for passes, last in enumerate(sampler.stream(case.together(), **case.arguments()), 1):
        if last.output is not None:
            break
        if last.nfe != passes:
            bad.append("the stream counts otherwise")
        if seen is not None and not torch.equal(last.tokens[seen != mask], seen[seen != mask]):
            bad.append("a committed token changed")
        seen = last.tokens
        known = (output.trace.step >= 0) & (output.trace.step < last.nfe)
        if not torch.equal(last.tokens[known], output.tokens[known]):
            bad.append("the stream and the trace disagree")
    if last is None or last.output is None or not same(last.output, output):
        bad.append("the stream ends otherwise")
    return bad


def same(one: SamplerOutput, two: SamplerOutput) -> bool:
    """Equal tokens, passes and order."""
    assert one.trace is not None
    assert two.trace is not None
    return (
        torch.equal(one.tokens, two.tokens)
        and one.nfe == two.nfe
        and torch.equal(one.trace.step, two.trace.step)
    )


def order(steps: Tensor) -> list[int]:
    """The steps of a row counted in its own passes."""
    own = sorted({step for step in steps.tolist() if step >= 0})
    return [own.index(step) if step >= 0 else -1 for step in steps.tolist()]


def describe(case: Case) -> str:
    config = {
        name: getattr(case.model.config, name)
        for name in ("d_model", "n_layers", "n_heads", "n_kv_heads", "vocab_size", "init_std")
    }
    batch = f"prompts {case.prompts}, clips {case.clips}, start {case.start is not None}"
    return f"case {case.number}: {config}, {batch}, {case.sampler(case.cache, case.interval)}"
