"""Noise schedules: boundary values, inverse, derivative and weight."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from dllm_audio import CosineSchedule, LinearSchedule, NoiseSchedule, PolynomialSchedule
from dllm_audio.errors import InvalidArgumentError

SCHEDULES = [
    *(LinearSchedule(), CosineSchedule()),
    *(PolynomialSchedule(0.5), PolynomialSchedule(1.0), PolynomialSchedule(3.0)),
]
every_schedule = pytest.mark.parametrize("schedule", SCHEDULES, ids=repr)
TIMES = torch.linspace(0, 1, 101, dtype=torch.float64)


@pytest.mark.parametrize(
    ("schedule", "halfway"),
    [
        (LinearSchedule(), 0.5),
        (CosineSchedule(), 1 - math.sqrt(0.5)),
        (PolynomialSchedule(3.0), 0.875),
        (PolynomialSchedule(0.5), 1 - math.sqrt(0.5)),
    ],
    ids=repr,
)
def test_values_by_hand(schedule: NoiseSchedule, halfway: float) -> None:
    assert schedule.alpha(torch.tensor(0.5, dtype=torch.float64)).item() == pytest.approx(halfway)


@every_schedule
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_clean_at_zero_and_fully_masked_at_one(schedule: NoiseSchedule, dtype: torch.dtype) -> None:
    ends = torch.tensor([0.0, 1.0], dtype=dtype)
    assert schedule.alpha(ends).tolist() == [1.0, 0.0]
    assert schedule.inverse(schedule.alpha(ends)).tolist() == pytest.approx([0.0, 1.0], abs=1e-7)
    assert schedule.alpha(ends).dtype == dtype


@every_schedule
def test_it_falls_strictly(schedule: NoiseSchedule) -> None:
    assert (schedule.alpha(TIMES).diff() < 0).all()


@every_schedule
def test_the_inverse_undoes_alpha(schedule: NoiseSchedule) -> None:
    torch.testing.assert_close(schedule.inverse(schedule.alpha(TIMES)), TIMES)
    torch.testing.assert_close(schedule.alpha(schedule.inverse(TIMES)), TIMES)


@every_schedule
def test_the_derivative_is_that_of_autograd(schedule: NoiseSchedule) -> None:
    t = TIMES[1:].clone().requires_grad_()
    (expected,) = torch.autograd.grad(schedule.alpha(t).sum(), t)
    torch.testing.assert_close(schedule.alpha_derivative(t.detach()), expected)


@every_schedule
def test_the_weight_is_minus_the_derivative_over_what_is_masked(schedule: NoiseSchedule) -> None:
    t = TIMES[1:]
    expected = -schedule.alpha_derivative(t) / (1 - schedule.alpha(t))
    torch.testing.assert_close(schedule.weight(t), expected)
    torch.testing.assert_close(NoiseSchedule.weight(schedule, t), expected)


@every_schedule
@settings(max_examples=50)
@given(t=st.floats(2.0**-126, 1.0, width=32))
def test_in_single_precision_the_weight_is_exact_down_to_the_smallest_time(
    schedule: NoiseSchedule, t: float
) -> None:
    single = schedule.weight(torch.tensor(t, dtype=torch.float32)).double()
    exact = schedule.weight(torch.tensor(t, dtype=torch.float64))
    assert single >= 0
    if exact < 3e38:
        assert single.item() == pytest.approx(exact.item(), rel=1e-5, abs=1e-6)


@every_schedule
def test_the_derivative_is_never_positive_in_single_precision(schedule: NoiseSchedule) -> None:
    assert (schedule.alpha_derivative(TIMES[1:].float()) <= 0).all()


def test_the_schedules_order_as_their_pages_say() -> None:
    t = TIMES[1:-1]
    linear = LinearSchedule().alpha(t)
    assert (CosineSchedule().alpha(t) < linear).all()
    assert (PolynomialSchedule(2.0).alpha(t) > linear).all()


@pytest.mark.parametrize("power", [0, -1.0, math.nan, math.inf])
def test_a_power_that_is_none_is_refused(power: float) -> None:
    with pytest.raises(InvalidArgumentError, match="power"):
        PolynomialSchedule(power)
