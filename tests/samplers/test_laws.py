"""Laws of decoding, on random small models, against a plain decoder and against itself."""

from __future__ import annotations

from typing import Any

import hypothesis.strategies as st
import pytest
import torch
from hypothesis import example, given, settings

import plain_decoding as plain
from dllm_audio import (
    CachedParallelSampler,
    EntropyBound,
    Factor,
    FixedQuota,
    LocalLeap,
    LowConfidenceSampler,
    Threshold,
)
from dllm_audio.outputs import SamplerOutput
from dllm_audio.samplers import Hierarchical, TimestepQuota
from plain_decoding import plain_decode

from .models import EOS, MASK, mixed_batch, tiny_llada

MODELS = [tiny_llada(0), tiny_llada(1, n_kv_heads=1)]
# Each rule of the library beside the one of the plain decoder.
RULES: dict[str, tuple[Any, Any]] = {
    "quota": (FixedQuota(5), plain.quota),
    "time steps": (TimestepQuota(5), plain.timesteps(1e-3)),
    "threshold": (Threshold(0.5), plain.threshold(0.5)),
    "decay": (Threshold(0.8, 0.15, 0.2), plain.threshold(0.8, 0.15, 0.2)),
    "factor": (Factor(1.5), plain.factor(1.5)),
    "factor, no quirk": (Factor(1.5, commit_last=False), plain.factor(1.5, False)),
    "entropy": (EntropyBound(1.0), plain.entropy_bound(1.0)),
    "local leap": (LocalLeap(0.6, 0.3, 2), plain.local_leap(0.6, 0.3, 2)),
    "hierarchical": (Hierarchical(0.6, 0.3), plain.hierarchical(0.6, 0.3)),
}
PLANNED = ("quota", "time steps")
CACHES = (None, "prefix", "dual")
CONFIDENCES = ("max_probability", "margin", "entropy")
seeds = st.integers(0, 2**31)


def sampler_of(rule: str, gen_length: int, block: int, **options: Any) -> CachedParallelSampler:
    options.setdefault("eos_stop", False)
    commit = RULES[rule][0]
    if rule in PLANNED:  # at least one step a block
        commit = type(commit)(max(5, -(-gen_length // block)))
    return CachedParallelSampler(gen_length, block, commit, **options)


def same(a: SamplerOutput, b: SamplerOutput) -> None:
    assert torch.equal(a.tokens, b.tokens)
    assert torch.equal(a.lengths, b.lengths)
    assert a.nfe == b.nfe
    assert torch.equal(a.row_nfe, b.row_nfe)


@settings(max_examples=30)
@given(
    seed=seeds,
    rule=st.sampled_from(sorted(RULES)),
    confidence=st.sampled_from(CONFIDENCES),
    eos=st.sampled_from(["stop", "allow", "forbid", "delay", "exclude"]),
    block=st.integers(1, 12),
    given_tokens=st.integers(0, 4),
)
def test_it_decodes_as_the_plain_decoder_does(
    seed: int, rule: str, confidence: str, eos: str, block: int, given_tokens: int
) -> None:
    length, batch = 12, mixed_batch(MODELS[seed % 2], seed)
    options: dict[str, Any] = {"confidence": confidence, "cache": None, "trace": True}
    options |= {"eos_stop": True} if eos == "stop" else {"eos": eos}
    sampler = sampler_of(rule, length, block, **options)
    g = torch.Generator().manual_seed(seed)
    start = torch.full((3, length), MASK)
    for row in range(3):
        where = torch.randperm(length, generator=g)[:given_tokens]
        start[row, where] = torch.randint(0, EOS + 1, (given_tokens,), generator=g)
    output = sampler(batch.together(), start=start)
    assert output.trace is not None
    blocks = [
        (*bound, steps) for bound, steps in zip(sampler.bounds(), sampler.plan(), strict=True)
    ]
    for row in range(3):
        predictor = batch.alone(row)
        expected = plain_decode(
            lambda x, predictor=predictor: predictor(x[None])[0],
            start[row].tolist(),
            blocks,
            RULES[rule][1],
            mask_id=MASK,
            eos_id=None if eos == "allow" else EOS,
            confidence=confidence,
            eos="allow" if eos == "stop" else eos,
            may_wait=rule == "time steps",
        )
        assert output.tokens[row].tolist() == expected.tokens
        assert output.row_nfe[row] == expected.nfe
        steps, sure = output.trace.step[row], output.trace.confidence[row]
        for position in range(length):
            if position in expected.step_of:
                assert sure[position] == pytest.approx(expected.confidence_of[position], abs=1e-5)
            else:
                assert steps[position] == -1
                assert sure[position].isnan()
        # Steps are numbered in passes of the batch, so a row alone tells only their order.
        order = sorted(expected.step_of, key=lambda p: (expected.step_of[p], p))
        assert sorted(order, key=lambda p: (int(steps[p]), p)) == order


@settings(max_examples=25)
@given(
    seed=seeds,
    rule=st.sampled_from(sorted(RULES)),
    cache=st.sampled_from(["prefix", "dual"]),
    block=st.integers(1, 10),
    eos_stop=st.booleans(),
)
def test_a_cache_refreshed_at_every_step_is_no_cache(
    seed: int, rule: str, cache: str, block: int, eos_stop: bool
) -> None:
    predictor = mixed_batch(MODELS[seed % 2], seed).together()
    settings = {"gen_length": 10, "block": block, "eos_stop": eos_stop}
    cached = sampler_of(rule, cache=cache, refresh_interval=1, **settings)
    same(cached(predictor), sampler_of(rule, cache=None, **settings)(predictor))


@pytest.mark.parametrize("cache", ["prefix", "dual"])
def test_a_cache_that_is_not_refreshed_is_an_approximation(cache: str) -> None:
    """Or else the law above says nothing."""
    outputs = [
        [
            sampler_of("quota", 10, 10, cache=kind, refresh_interval=every)(
                mixed_batch(MODELS[0], seed).together()
            ).tokens
            for seed in range(4)
        ]
        for kind, every in ((cache, 1), (cache, 3), (cache, None))
    ]
    exact, sometimes, never = (torch.cat(tokens) for tokens in outputs)
    assert not torch.equal(exact, never)
    assert not torch.equal(exact, sometimes)
    assert not torch.equal(sometimes, never)


@pytest.mark.parametrize("cache", CACHES)
@pytest.mark.parametrize("confidence", CONFIDENCES)
@pytest.mark.parametrize("rule", sorted(RULES))
def test_a_row_does_not_depend_on_its_batch(rule: str, confidence: str, cache: str | None) -> None:
    for seed in range(2):
        batch = mixed_batch(MODELS[seed], seed, rows=5)
        sampler = sampler_of(rule, 9, 4, cache=cache, confidence=confidence, eos_stop=bool(seed))
        together = sampler(batch.together())
        assert together.nfe >= int(together.row_nfe.max())
        for row in range(5):
            alone = sampler(batch.alone(row))
            assert torch.equal(together.tokens[row], alone.tokens[0])
            assert together.lengths[row] == alone.lengths[0]
            assert together.row_nfe[row] == alone.nfe


@settings(max_examples=40)
@given(
    seed=seeds,
    steps=st.integers(1, 20),
    block=st.integers(1, 11),
    cache=st.sampled_from(CACHES),
    rule=st.sampled_from([None, *sorted(RULES)]),
    eos=st.sampled_from(["allow", "forbid", "delay", "exclude"]),
    eos_stop=st.booleans(),
)
@example(seed=0, steps=1, block=11, cache="dual", rule=None, eos="allow", eos_stop=True)
def test_no_mask_is_left_whatever_the_steps(
    seed: int, steps: int, block: int, cache: str | None, rule: str | None, eos: str, eos_stop: bool
) -> None:
    blocks = -(-11 // block)
    steps = max(steps, blocks)
    commit = None if rule is None or rule in PLANNED else RULES[rule][0]
    sampler = CachedParallelSampler(
        11, block, commit, cache=cache, steps=steps, eos=eos, eos_stop=eos_stop
    )
    output = sampler(mixed_batch(MODELS[seed % 2], seed, rows=2).together())
    assert not (output.tokens == MASK).any()
    assert output.nfe <= steps
    assert (output.row_nfe <= output.nfe).all()
    if eos == "forbid":
        assert not (output.tokens == EOS).any()


@settings(max_examples=20)
@given(seed=seeds, steps=st.integers(1, 15), masked=st.integers(0, 11))
def test_every_pass_commits_its_quota(seed: int, steps: int, masked: int) -> None:
    g = torch.Generator().manual_seed(seed)
    start = torch.randint(0, EOS, (1, 11), generator=g)
    start[0, torch.randperm(11, generator=g)[:masked]] = MASK
    sampler = LowConfidenceSampler(steps, 11, trace=True)
    output = sampler(mixed_batch(MODELS[0], seed, rows=1).together(), start=start)
    assert output.trace is not None
    counts = [int((output.trace.step == n).sum()) for n in range(output.nfe)]
    share, rest = divmod(masked, steps)
    expected = [share + (n < rest) for n in range(steps)]
    assert counts == [count for count in expected if count]
    kept = start != MASK
    assert torch.equal(output.tokens[kept], start[kept])


@settings(max_examples=30)
@given(
    seed=seeds,
    rule=st.sampled_from(sorted(RULES)),
    cache=st.sampled_from(CACHES),
    block=st.integers(1, 12),
)
def test_the_end_of_text_stop_loses_nothing_before_it(
    seed: int, rule: str, cache: str | None, block: int
) -> None:
    """Up to the first EOS the answer is the one without the stop; after it, only EOS is filled."""
    predictor = mixed_batch(MODELS[seed % 2], seed).together()
    stopped, full = (
        sampler_of(rule, 12, block, cache=cache, eos_stop=stop, trace=True)(predictor)
        for stop in (True, False)
    )
    assert stopped.trace is not None
    assert stopped.nfe <= full.nfe
    assert torch.equal(stopped.lengths, full.lengths)
    for row in range(3):
        end = int(stopped.lengths[row]) + 1
        assert torch.equal(stopped.tokens[row, :end], full.tokens[row, :end])
        committed = stopped.trace.step[row] >= 0
        assert torch.equal(stopped.tokens[row, committed], full.tokens[row, committed])
        assert (stopped.tokens[row, ~committed] == EOS).all()
        assert committed[:end].all()


def test_the_stop_saves_passes() -> None:
    """With every token an EOS, one pass on the first block decides everything."""
    from .models import TablePredictor, sure_table

    table = sure_table([[0.95] * 12], [[EOS] * 12])
    for stop, passes in ((True, 1), (False, 3)):
        sampler = CachedParallelSampler(12, 4, Threshold(0.9), cache=None, eos_stop=stop)
        output = sampler(TablePredictor(table, MASK, EOS))
        assert output.nfe == passes
        assert output.tokens.tolist() == [[EOS] * 12]
        assert output.lengths.tolist() == [0]


def test_an_end_of_text_after_undecided_positions_does_not_stop() -> None:
    from .models import TablePredictor, sure_table

    # The EOS is sure from the first pass on; the word before it becomes the best one only later.
    table = sure_table([[0.5, 0.6, 0.99, 0.4]], [[3, 4, EOS, 5]])
    sampler = CachedParallelSampler(4, 4, Threshold(0.9), cache=None, trace=True)
    output = sampler(TablePredictor(table, MASK, EOS))
    assert output.tokens.tolist() == [[3, 4, EOS, EOS]]
    assert output.nfe == 3  # EOS; position 1; position 0: stop, so position 3 is never predicted
    assert output.trace is not None
    assert output.trace.step.tolist() == [[2, 1, 0, -1]]


def test_finished_rows_leave_the_batch() -> None:
    seen: list[int] = []
    batch = mixed_batch(MODELS[0], 5, rows=4)
    predictor = batch.together()
    hidden = MODELS[0].hidden

    def counting(embeds: torch.Tensor, **options: Any) -> torch.Tensor:
        seen.append(len(embeds))
        return hidden(embeds, **options)

    sampler = sampler_of("threshold", 12, 4, cache=None, eos_stop=True)
    MODELS[0].hidden = counting  # type: ignore[method-assign]
    try:
        output = sampler(predictor)
    finally:
        del MODELS[0].hidden
    assert len(seen) == output.nfe
    assert sum(seen) == int(output.row_nfe.sum())
    assert len(set(seen)) > 1
