"""Drawing times and masks."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from dllm_audio import CosineSchedule, LinearSchedule, PolynomialSchedule, mask_tokens, sample_times
from dllm_audio.errors import InvalidArgumentError, ShapeError

MASK = 50


def generator(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@given(seed=st.integers(0, 99), masked=st.lists(st.floats(0, 1, width=32), min_size=1, max_size=4))
@settings(max_examples=30)
def test_masked_positions_hold_the_mask_and_no_others_change(seed: int, masked: list) -> None:
    x_0 = torch.randint(MASK, (len(masked), 9), generator=generator(seed))
    before = x_0.clone()
    maskable = torch.rand(x_0.shape, generator=generator(seed)) < 0.7
    t = torch.tensor(masked)
    out = mask_tokens(x_0, t, MASK, maskable, generator(seed + 1))
    assert torch.equal(x_0, before)
    assert torch.equal(out.x_t == MASK, out.mask)
    assert torch.equal(out.x_t[~out.mask], x_0[~out.mask])
    assert not (out.mask & ~maskable).any()
    assert not out.mask[t == 0].any()
    assert torch.equal(out.mask[t == 1], maskable[t == 1])


@pytest.mark.parametrize(
    "schedule", [LinearSchedule(), CosineSchedule(), PolynomialSchedule(2.0)], ids=repr
)
def test_tokens_are_masked_with_the_probability_of_the_schedule(schedule: object) -> None:
    t, count = torch.tensor([0.1, 0.5, 0.9]), 20_000
    x_0 = torch.zeros(3, count, dtype=torch.long)
    mask = mask_tokens(x_0, t, MASK, generator=generator(0), schedule=schedule).mask
    expected = 1 - schedule.alpha(t)
    deviation = (expected * (1 - expected) / count).sqrt()
    assert ((mask.float().mean(-1) - expected).abs() < 4 * deviation).all()
    # Independently: neighbors agree as often as independent ones would.
    both = (mask[:, 1:] & mask[:, :-1]).float().mean(-1)
    assert ((both - expected**2).abs() < 4 * (expected / count).sqrt()).all()


def test_without_a_schedule_the_probability_is_the_time() -> None:
    x_0, t = torch.zeros(2, 500, dtype=torch.long), torch.tensor([0.2, 0.8])
    plain = mask_tokens(x_0, t, MASK, generator=generator(3)).mask
    linear = mask_tokens(x_0, t, MASK, generator=generator(3), schedule=LinearSchedule()).mask
    assert torch.equal(plain, linear)


def test_with_a_generator_a_row_its_mask_does_not_depend_on_the_batch() -> None:
    x_0 = torch.zeros(4, 30, dtype=torch.long)
    t = torch.full((4,), 0.5)
    batch = mask_tokens(x_0, t, MASK, generator=[generator(i) for i in range(4)]).mask
    for i in range(4):
        alone = mask_tokens(x_0[:1], t[:1], MASK, generator=[generator(i)]).mask
        assert torch.equal(batch[i], alone[0])
    assert not torch.equal(batch[0], batch[1])
    again = mask_tokens(x_0, t, MASK, generator=[generator(i) for i in range(4)]).mask
    assert torch.equal(batch, again)


@given(batch=st.integers(1, 40), seed=st.integers(0, 99))
@settings(max_examples=30)
def test_low_discrepancy_times_are_evenly_spread(batch: int, seed: int) -> None:
    eps = 1e-3
    t = sample_times(batch, eps=eps, low_discrepancy=True, generator=generator(seed))
    assert ((t >= eps) & (t <= 1)).all()
    gaps = t.sort().values.diff()
    torch.testing.assert_close(gaps, torch.full_like(gaps, (1 - eps) / batch), atol=1e-5, rtol=0)


@pytest.mark.parametrize("low_discrepancy", [False, True])
def test_each_time_is_uniform(low_discrepancy: bool) -> None:
    draws = torch.stack(
        [
            sample_times(3, low_discrepancy=low_discrepancy, generator=generator(seed))
            for seed in range(1500)
        ]
    )
    shares = torch.stack([(draws < edge).float().mean(0) for edge in (0.25, 0.5, 0.75)], 1)
    expected = torch.tensor([0.25, 0.5, 0.75]).expand(3, -1)
    # Each column is uniform on its own, the first as much as the last (4 standard deviations).
    torch.testing.assert_close(shares, expected, atol=0.046, rtol=0)


def test_low_discrepancy_steadies_the_mean() -> None:
    def spread(low_discrepancy: bool) -> Tensor:
        means = [
            sample_times(16, low_discrepancy=low_discrepancy, generator=generator(seed)).mean()
            for seed in range(100)
        ]
        return torch.stack(means).std()

    assert spread(True) < 0.5 * spread(False)


X, T = torch.zeros(2, 3, dtype=torch.long), torch.tensor([0.5, 0.5])


@pytest.mark.parametrize(
    ("name", "call"),
    [
        ("eps", lambda: sample_times(2, eps=0.0)),
        ("eps", lambda: sample_times(2, eps=1.0)),
        ("batch_size", lambda: sample_times(-1)),
        ("mask_token_id", lambda: mask_tokens(X, T, None)),
        ("x_0", lambda: mask_tokens(X[0], T, MASK)),
        ("t", lambda: mask_tokens(X, T[:1], MASK)),
        ("t", lambda: mask_tokens(X, torch.tensor([0.5, 1.1]), MASK)),
        ("t", lambda: mask_tokens(X, torch.tensor([-0.1, 1.0]), MASK)),
        ("t", lambda: mask_tokens(X, torch.tensor([float("nan"), 1.0]), MASK)),
        ("maskable", lambda: mask_tokens(X, T, MASK, torch.ones(2, 2).bool())),
        ("generator", lambda: mask_tokens(X, T, MASK, generator=[generator(0)])),
    ],
)
def test_misuse_is_named(name: str, call: object) -> None:
    with pytest.raises((InvalidArgumentError, ShapeError)) as caught:
        call()
    assert caught.value.argument == name
