"""Bounds of a response's length from the duration of the audio."""

from __future__ import annotations

import hypothesis.strategies as st
import pytest
import torch
from hypothesis import given, settings

from dllm_audio.errors import InvalidArgumentError, ShapeError
from dllm_audio.samplers.lengths import LengthRule, response_mask


def test_the_bound_is_the_line_rounded_up() -> None:
    rule = LengthRule(4.0, 2.0)
    assert rule([0.0, 0.5, 1.0, 1.01, 100.0], limit=50).tolist() == [2, 4, 6, 7, 50]
    assert LengthRule(0.0, 0.0)([5.0], limit=8).tolist() == [1]
    # 0.1 * 30 is 3.0000000000000004 in binary; it must not become 4.
    assert LengthRule(0.1, 0.0)([30.0], limit=8).tolist() == [3]


@settings(max_examples=40)
@given(
    examples=st.lists(
        st.tuples(st.floats(0.1, 30.0), st.integers(0, 120)), min_size=2, max_size=40
    ),
    coverage=st.sampled_from([0.5, 0.9, 1.0]),
)
def test_a_fitted_rule_covers_the_share_it_was_asked_to(
    examples: list[tuple[float, int]], coverage: float
) -> None:
    seconds, tokens = zip(*examples, strict=True)
    rule = LengthRule.fit(seconds, tokens, coverage)
    bounds = rule(seconds, limit=10**6)
    fits = bounds >= torch.tensor(tokens) + 1  # the end token has room
    assert fits.double().mean() >= coverage - 1e-9


def test_a_fit_finds_the_line() -> None:
    rule = LengthRule.fit([1.0, 2.0, 3.0, 4.0], [5, 8, 11, 14])
    assert rule.tokens_per_second == pytest.approx(3.0)
    assert rule.extra == pytest.approx(3.0)  # 5 = 3 * 1 + 2, and one for the end
    same = LengthRule.fit([2.0, 2.0], [5, 9])
    assert (same.tokens_per_second, same.extra) == (0.0, 10.0)


def test_masks_from_lengths() -> None:
    mask = response_mask(torch.tensor([2, 1, 3]), 4)
    assert mask.tolist() == [
        [True, True, False, False],
        [True, False, False, False],
        [True, True, True, False],
    ]
    assert response_mask(torch.tensor([2, 1])).shape == (2, 2)


def test_errors_name_the_argument() -> None:
    for call, error, message in (
        (lambda: LengthRule(-1.0), InvalidArgumentError, "tokens_per_second"),
        (lambda: LengthRule(1.0, float("inf")), InvalidArgumentError, "extra"),
        (lambda: LengthRule.fit([1.0], [3]), InvalidArgumentError, "tokens"),
        (lambda: LengthRule.fit([1.0, 2.0], [3, 4], 0.0), InvalidArgumentError, "coverage"),
        (lambda: LengthRule(1.0)([float("nan")], 4), InvalidArgumentError, "seconds"),
        (lambda: LengthRule(1.0)([1.0], 0), InvalidArgumentError, "limit"),
        (lambda: LengthRule(1.0)(torch.ones(1, 1), 4), ShapeError, "seconds"),
        (lambda: response_mask(torch.tensor([0, 2])), InvalidArgumentError, "lengths"),
        (lambda: response_mask(torch.tensor([5]), 4), InvalidArgumentError, "lengths"),
        (lambda: response_mask(torch.tensor([1.0])), ShapeError, "lengths"),
    ):
        with pytest.raises(error, match=f"^{message}: "):
            call()
