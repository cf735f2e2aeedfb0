"""Every commit rule on known confidences, with sets worked out by hand."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from dllm_audio import CachedParallelSampler, EntropyBound, Factor, FixedQuota, LocalLeap, Threshold
from dllm_audio.errors import InvalidArgumentError
from dllm_audio.samplers import CommitRule, CommitState, Hierarchical, Sampler, TimestepQuota

from .models import EOS, MASK, TablePredictor, sure_table


def state(
    confidence: list[float | None],
    *,
    entropy: list[float] | None = None,
    step: int = 0,
    steps: int | None = None,
    num_masked: int | None = None,
) -> CommitState:
    """One row; None where nothing is masked."""
    candidates = torch.tensor([[c is not None for c in confidence]])
    values = torch.tensor([[-torch.inf if c is None else c for c in confidence]])
    masked = int(candidates.sum()) if num_masked is None else num_masked
    spread = None if entropy is None else torch.tensor([entropy])
    return CommitState(values, candidates, spread, torch.tensor([masked]), step, steps)


def committed(rule: CommitRule, seen: CommitState) -> list[int]:
    return (rule.commit(seen) & seen.candidates)[0].nonzero().flatten().tolist()


@pytest.mark.parametrize(
    ("tau", "step", "expected"),
    [
        (Threshold(0.9), 0, [0, 3]),
        (Threshold(0.8), 0, [0, 1, 3]),
        (Threshold(1.1), 0, []),  # the loop then takes the best one
        (Threshold(0.9, decay=0.2), 0, [0, 3]),
        (Threshold(0.9, decay=0.2), 1, [0, 1, 3]),  # 0.7
        (Threshold(0.9, decay=0.2), 2, [0, 1, 3, 4]),  # 0.5
        (Threshold(0.9, decay=0.2, floor=0.65), 2, [0, 1, 3]),
        (Threshold(0.9, decay=0.2, floor=2.0), 2, [0, 3]),  # a floor above tau changes nothing
    ],
)
def test_threshold(tau: Threshold, step: int, expected: list[int]) -> None:
    seen = state([0.95, 0.8, None, 0.9, 0.6, 0.3], step=step)
    assert committed(tau, seen) == expected


@pytest.mark.parametrize(
    ("confidence", "factor", "commit_last", "expected"),
    [
        # Bounds 1 - f/(n+1) for n = 2, 3, 4: 2/3, 3/4, 4/5 with f = 1.
        ([0.1, 0.2, 0.3, 0.05], 1.0, True, [2]),
        ([0.7, 0.2, 0.9, 0.1], 1.0, True, [0, 2]),  # third: 0.2 < 3/4
        ([0.7, 0.76, 0.9, 0.1], 1.0, True, [1, 2]),  # third: 0.7 < 3/4, one before the last
        ([0.8, 0.9, 0.85, 0.1], 1.0, False, [0, 1, 2]),
        ([0.8, 0.9, 0.85, 0.1], 1.0, True, [0, 1, 2, 3]),  # stopped at the last one: the quirk
        ([0.8, 0.9, 0.85, 0.81], 1.0, False, [0, 1, 2, 3]),
        ([0.1, 0.2], 1.0, True, [0, 1]),
        ([0.1, 0.2], 1.0, False, [1]),
        ([0.1], 1.0, True, [0]),
        ([None, 0.1, None, 0.2, None], 1.0, True, [1, 3]),  # committed positions do not count
        ([0.3, 0.2, 0.1], 100.0, True, [0, 1, 2]),
        ([0.999, 0.9999, 1.0], 0.0, False, [2]),
    ],
)
def test_factor(
    confidence: list[float | None], factor: float, commit_last: bool, expected: list[int]
) -> None:
    assert committed(Factor(factor, commit_last), state(confidence)) == expected


@pytest.mark.parametrize(
    ("gamma", "expected"),
    [
        # Sorted entropies 0.02, 0.05, 0.06, 0.5: sums before each are 0, 0.02, 0.07, 0.13.
        (0.0, [1]),
        (0.02, [1, 3]),
        (0.1, [0, 1, 3]),
        (0.2, [0, 1, 2, 3]),
    ],
)
def test_entropy_bound(gamma: float, expected: list[int]) -> None:
    seen = state([0.1, 0.2, 0.3, 0.4], entropy=[0.06, 0.02, 0.5, 0.05])
    assert committed(EntropyBound(gamma), seen) == expected


@pytest.mark.parametrize(
    ("confidence", "radius", "expected"),
    [
        ([0.8, 0.1, 0.95, 0.8, 0.7, 0.8], 2, [0, 2, 3]),
        ([0.8, 0.1, 0.95, 0.8, 0.7, 0.8], 3, [0, 2, 3, 5]),
        ([0.8, 0.1, 0.95, 0.8, 0.7, 0.8], 0, [2]),
        ([0.8, 0.85, None, 0.8, 0.7, 0.8], 4, []),  # no anchor
        ([0.95, None, None, None, 0.75, 0.75], 4, [0, 4]),  # distance, not count of masks
    ],
)
def test_local_leap(confidence: list[float | None], radius: int, expected: list[int]) -> None:
    assert committed(LocalLeap(0.9, 0.75, radius), state(confidence)) == expected


@pytest.mark.parametrize(
    ("confidence", "expected"),
    [
        ([0.7, 0.8, None, 0.65, 0.1], [1, 3]),
        ([0.7, 0.7, None, 0.95, 0.93], [0, 3, 4]),
        ([0.61, 0.5, None, 0.2, 0.61], []),
        ([None, 0.7, None, 0.7, None, 0.7], [1, 3, 5]),
        ([0.92, 0.1, 0.92], [0, 2]),
    ],
)
def test_hierarchical(confidence: list[float | None], expected: list[int]) -> None:
    assert committed(Hierarchical(high=0.92, low=0.62), state(confidence)) == expected


def test_rows_do_not_mix() -> None:
    g = torch.Generator().manual_seed(3)
    confidence, candidates = torch.rand(6, 9, generator=g), torch.rand(6, 9, generator=g) < 0.7
    candidates[:, 4] = True
    confidence = confidence.masked_fill(~candidates, -torch.inf)
    entropy = torch.rand(6, 9, generator=g).masked_fill(~candidates, torch.inf)
    counts = candidates.sum(-1)
    for rule in (
        FixedQuota(4), Threshold(0.6), Factor(3.0), EntropyBound(0.3), LocalLeap(0.8, 0.4, 2),
        Hierarchical(0.8, 0.3), TimestepQuota(4),
    ):  # fmt: skip
        together = rule.commit(CommitState(confidence, candidates, entropy, counts, 1, 4))
        for r in range(6):
            rows = slice(r, r + 1)
            one = CommitState(confidence[rows], candidates[rows], entropy[rows], counts[rows], 1, 4)
            assert torch.equal(rule.commit(one)[0], together[r]), rule


def decoded_in(sampler: CachedParallelSampler, table: Tensor) -> list[list[int]]:
    """Positions in the order of the passes that committed them."""
    output = sampler(TablePredictor(table, MASK, EOS))
    assert output.trace is not None
    steps = output.trace.step[0].tolist()
    return [[p for p, s in enumerate(steps) if s == n] for n in range(output.nfe)]


def sampler_of(rule: CommitRule | None, length: int, **options: object) -> CachedParallelSampler:
    block = options.pop("block", length)
    return CachedParallelSampler(
        length, block, rule, cache=None, eos_stop=False, trace=True, **options
    )  # fmt: skip


SURE = [[0.95, 0.801, 0.5, 0.92, 0.6, 0.3, 0.85]]  # none on a bound, where rounding decides


@pytest.mark.parametrize(
    ("rule", "expected"),
    [
        (FixedQuota(7), [[0], [3], [6], [1], [4], [2], [5]]),
        (FixedQuota(3), [[0, 3, 6], [1, 4], [2, 5]]),  # 7 = 3 + 2 + 2
        (FixedQuota(4), [[0, 3], [1, 6], [2, 4], [5]]),  # 7 = 2 + 2 + 2 + 1
        (FixedQuota(5), [[0, 3], [1, 6], [4], [2], [5]]),  # 7 = 2 + 2 + 1 + 1 + 1
        (FixedQuota(1), [[0, 1, 2, 3, 4, 5, 6]]),
        (FixedQuota(20), [[0], [3], [6], [1], [4], [2], [5]]),  # never an empty pass
        (Threshold(0.9), [[0, 3], [6], [1], [4], [2], [5]]),
        (Threshold(0.9, decay=0.1), [[0, 3], [1, 6], [4], [2], [5]]),  # 0.9, 0.8, 0.7, 0.6, 0.5
        (Threshold(2.0), [[0], [3], [6], [1], [4], [2], [5]]),
        # 0.95; 0.92 >= 2/3; 0.85 >= 3/4; 0.801 >= 4/5; 0.6 < 5/6.
        # Then 0.6; 0.5 < 2/3 stops. Then 0.5 and the last one.
        (Factor(1.0), [[0, 1, 3, 6], [4], [2, 5]]),
        (Factor(1.0, commit_last=False), [[0, 1, 3, 6], [4], [2], [5]]),
        (LocalLeap(0.9, 0.75, 2), [[0, 1, 3], [6], [4], [2], [5]]),
        # Anchors 0 and 3; 6 is three away from 3.
        (LocalLeap(0.9, 0.75, 3), [[0, 1, 3, 6], [4], [2], [5]]),
        # 0, 3 high; then runs 1-2 and 4-6: best 1 and 6; then 2 and 4 alone are too low.
        (Hierarchical(0.9, 0.7), [[0, 3], [1, 6], [4], [2], [5]]),
    ],
)
def test_the_loop_commits_the_sets_of_the_rule(rule: CommitRule, expected: list) -> None:
    assert decoded_in(sampler_of(rule, 7), sure_table(SURE).float()) == expected


def test_entropy_bound_in_the_loop() -> None:
    # A table of confidence c has entropy -c log c - (1 - c) log((1 - c) / 22): 0.999 -> 0.0110,
    # 0.99 -> 0.0869, 0.98 -> 0.1599, 0.9 -> 0.634. Before the third: 0.0979, the fourth: 0.2578.
    table = sure_table([[0.9, 0.99, 0.999, 0.98]])
    assert decoded_in(sampler_of(EntropyBound(0.1), 4), table) == [[1, 2, 3], [0]]
    assert decoded_in(sampler_of(EntropyBound(0.3), 4), table) == [[0, 1, 2, 3]]
    assert decoded_in(sampler_of(EntropyBound(0.05), 4), table) == [[1, 2], [3], [0]]


def test_entropy_bound_orders_by_entropy_and_not_by_confidence() -> None:
    table = sure_table([[0.6, 0.65]])  # entropies 1.91 and 1.73 ...
    table[0, 0] = -torch.inf
    table[0, 0, :2] = torch.tensor([0.6, 0.4], dtype=torch.float64).log()  # ... now 0.67
    assert decoded_in(sampler_of(EntropyBound(0.0), 2), table) == [[0], [1]]


def test_blocks_go_from_left_to_right_and_the_last_may_be_shorter() -> None:
    sampler = sampler_of(Threshold(0.9), 7, block=3)
    assert decoded_in(sampler, sure_table(SURE)) == [[0], [1], [2], [3], [4], [5], [6]]
    sampler = sampler_of(Threshold(0.8), 7, block=4)
    assert decoded_in(sampler, sure_table(SURE).float()) == [[0, 1, 3], [2], [6], [4], [5]]


def test_steps_bound_any_rule() -> None:
    sampler = sampler_of(Threshold(0.9), 7, steps=3)
    assert decoded_in(sampler, sure_table(SURE)) == [[0, 3], [6], [1, 2, 4, 5]]


@pytest.mark.parametrize(("own", "steps", "passes"), [(13, 14, 13), (13, 8, 8), (13, None, 13)])
@pytest.mark.parametrize("block", [16, 5])
def test_the_smaller_bound_counts(own: int, steps: int | None, passes: int, block: int) -> None:
    table = sure_table([[0.5] * 16])
    sampler = sampler_of(FixedQuota(own), 16, steps=steps, block=block)
    assert sampler(TablePredictor(table, MASK, EOS)).nfe == passes
    sampler = sampler_of(TimestepQuota(own), 16, steps=steps, block=block)
    assert sampler(TablePredictor(table, MASK, EOS)).nfe == passes


@pytest.mark.parametrize(
    ("length", "steps", "expected"),
    [
        # Worked out from the definition: t = 1, 0.75025, 0.5005, 0.25075, 0.001.
        (8, 4, [1, 2, 2, 3]),  # 8 * 0.24975; 7 * 0.33289; 5 * 0.49900; the rest
        (3, 4, [0, 0, 1, 2]),  # 0.749; 0.999; 1.497: two passes that commit nothing
        (24, 2, [11, 13]),  # 24 * 0.4995
        (5, 1, [5]),
        (4, 8, [0, 0, 0, 0, 0, 1, 1, 2]),
    ],
)
def test_time_steps(length: int, steps: int, expected: list[int]) -> None:
    rule, eps = TimestepQuota(steps), 1e-3
    left, counts = length, []
    for i in range(steps):
        now, after = (1 - (1 - eps) * k / steps for k in (i, i + 1))
        counts.append(left if i == steps - 1 else int(left * (1 - after / now)))
        left -= counts[-1]
    assert counts == expected
    table = sure_table([[0.95 - 0.01 * n for n in range(length)]])
    order = decoded_in(sampler_of(rule, length), table)
    assert [len(positions) for positions in order] == expected
    assert [p for positions in order for p in positions] == list(range(length))


def test_a_rule_that_may_wait_plans_its_passes() -> None:
    class Never(CommitRule):
        may_wait = True

        def commit(self, state: CommitState) -> Tensor:
            return torch.zeros_like(state.candidates)

    with pytest.raises(InvalidArgumentError, match="steps: expected a bound"):
        Sampler(4, 4, Never())
    assert decoded_in(sampler_of(Never(), 4, steps=3), sure_table([[0.5] * 4])) == [
        [],
        [],
        [0, 1, 2, 3],
    ]


@pytest.mark.parametrize(
    ("steps", "lengths", "expected"),
    [
        (16, [8, 8], [8, 8]),
        (3, [8, 8, 8], [1, 1, 1]),
        (7, [8, 8, 8], [2, 3, 2]),
        (10, [8, 8, 4], [4, 4, 2]),
        (4, [32, 1, 1], [2, 1, 1]),
    ],
)
def test_steps_are_shared_out_in_proportion(
    steps: int, lengths: list[int], expected: list[int]
) -> None:
    assert FixedQuota(steps).plan(lengths) == expected


@pytest.mark.parametrize(
    ("make", "argument"),
    [
        (lambda: FixedQuota(0), "steps"),
        (lambda: FixedQuota(2.5), "steps"),
        (lambda: FixedQuota(True), "steps"),
        (lambda: FixedQuota(2).plan([4, 4, 4]), "steps"),
        (lambda: TimestepQuota(0), "steps"),
        (lambda: TimestepQuota(4, 0.0), "eps"),
        (lambda: TimestepQuota(4, 1.0), "eps"),
        (lambda: Threshold("high"), "tau"),
        (lambda: Threshold(float("nan")), "tau"),
        (lambda: Threshold(0.9, decay=-0.1), "decay"),
        (lambda: Factor(-1.0), "factor"),
        (lambda: Factor(float("inf")), "factor"),
        (lambda: EntropyBound(-0.1), "gamma"),
        (lambda: LocalLeap(anchor=0.5, relaxed=0.6), "relaxed"),
        (lambda: LocalLeap(radius=-1), "radius"),
        (lambda: Hierarchical(high=0.5, low=0.6), "low"),
    ],
)
def test_bad_settings_are_named(make: object, argument: str) -> None:
    with pytest.raises(InvalidArgumentError, match=f"^{argument}: "):
        make()  # type: ignore[operator]
