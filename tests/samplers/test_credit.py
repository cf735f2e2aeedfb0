"""Trace credit against values worked out by hand, and its laws."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from dllm_audio import CachedParallelSampler, Threshold
from dllm_audio.errors import InvalidArgumentError
from dllm_audio.samplers import TraceCredit

from .models import EOS, MASK, VOCAB, TablePredictor, mixed_batch, sure_table, tiny_llada


def surer(p: float, steps: int, rule: TraceCredit) -> float:
    """Probability of a constant best token after so many steps, in closed form."""
    credit = sum(rule.decay**i for i in range(steps)) * p**rule.gamma
    odds = p / (1 - p) * (1 + credit) ** rule.alpha
    return odds / (1 + odds)


def sampler(credit: TraceCredit | None, block: int = 4) -> CachedParallelSampler:
    return CachedParallelSampler(
        4, block, Threshold(0.9), None, eos_stop=False, credit=credit, trace=True
    )


@pytest.mark.parametrize("rule", [TraceCredit(), TraceCredit(alpha=0.4, gamma=1.0, decay=0.5)])
def test_a_constant_guess_is_committed_when_its_credit_suffices(rule: TraceCredit) -> None:
    confidences = [0.95, 0.8, 0.7, 0.6]
    table = sure_table([confidences])
    output = sampler(rule)(TablePredictor(table, MASK))
    expected, step = {0: 1}, 1
    # The rule takes the best one in a step in which nothing reaches the threshold.
    while len(expected) < 4:
        step += 1
        left = [i for i in range(4) if i not in expected]
        sure = [i for i in left if surer(confidences[i], step, rule) >= 0.9] or left[:1]
        expected.update(dict.fromkeys(sure, step))
    assert output.trace is not None
    assert output.trace.step[0].tolist() == [expected[i] - 1 for i in range(4)]
    found = output.trace.confidence[0].tolist()
    for i, confidence in enumerate(confidences):
        assert math.isclose(found[i], surer(confidence, expected[i], rule), rel_tol=1e-5)


def test_a_guess_that_changes_shares_its_credit() -> None:
    """In the second step the old guess has what decay left it, the new one what it just earned."""
    rule = TraceCredit(alpha=1.0, gamma=0.0, decay=0.5)

    class Turns(TablePredictor):
        def __call__(self, x_t: Tensor) -> Tensor:
            self.table = sure_table([[0.99, 0.5]], [[0, 1 + len(self.seen)]])
            return super().__call__(x_t)

    decode = CachedParallelSampler(
        2, 2, Threshold(1.0), None, eos_stop=False, credit=rule, trace=True
    )
    output = decode(Turns(sure_table([[0.99, 0.5]]), MASK))
    other = 0.5 / (VOCAB - 2)  # each of the tokens that are not the best
    expected = 0.5 * 2 / (0.5 * 2 + other * 1.5 + other * (VOCAB - 3))
    assert output.tokens.tolist() == [[0, 2]]
    assert output.trace is not None
    assert math.isclose(float(output.trace.confidence[0, 1]), expected, rel_tol=1e-5)


def test_no_weight_is_no_credit() -> None:
    predictor = mixed_batch(tiny_llada(), 0).together()
    plain, none = (sampler(credit)(predictor) for credit in (None, TraceCredit(alpha=0.0)))
    assert torch.equal(plain.tokens, none.tokens)
    assert plain.nfe == none.nfe


@pytest.mark.parametrize("cache", [None, "prefix", "dual"])
def test_a_row_has_its_own_credit(cache: str | None) -> None:
    batch = mixed_batch(tiny_llada(), 1)
    decode = CachedParallelSampler(
        10, 4, Threshold(0.6), cache, eos_stop=False, credit=TraceCredit()
    )
    together = decode(batch.together())
    for row in range(3):
        alone = decode(batch.alone(row))
        assert torch.equal(together.tokens[row], alone.tokens[0])
        assert together.row_nfe[row] == alone.nfe


def test_credit_starts_anew_in_every_block() -> None:
    """The same table in two blocks: the second takes as many steps as the first."""
    table = sure_table([[0.8, 0.7, 0.8, 0.7]])
    output = sampler(TraceCredit(), block=2)(TablePredictor(table, MASK, EOS))
    assert output.trace is not None
    first, second = output.trace.step[0, :2], output.trace.step[0, 2:]
    assert torch.equal(second - first, torch.full((2,), int(first.max()) + 1))


@pytest.mark.parametrize(
    ("make", "name"),
    [
        (lambda: TraceCredit(alpha=-1), "alpha"),
        (lambda: TraceCredit(gamma=float("inf")), "gamma"),
        (lambda: TraceCredit(decay=1.0), "decay"),
        (lambda: sampler(0.7), "credit"),  # type: ignore[arg-type]
    ],
)
def test_bad_settings_are_named(make: object, name: str) -> None:
    with pytest.raises(InvalidArgumentError, match=name):
        make()  # type: ignore[operator]
