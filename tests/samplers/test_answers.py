"""What an output says of the answer alone: its confidence, its tokens a pass, what is behind it."""

from __future__ import annotations

from typing import Any

import hypothesis.strategies as st
import pytest
import torch
from hypothesis import given, settings

from dllm_audio import CachedParallelSampler, LowConfidenceSampler, Threshold

from .models import EOS, MASK, Batch, TablePredictor, mixed_batch, sure_table, tiny_llada

MODELS = [tiny_llada(0), tiny_llada(1, n_kv_heads=1)]
CACHES: list[dict[str, Any]] = [
    {"cache": None},
    {"cache": "prefix", "refresh_interval": 1},
    {"cache": "dual", "refresh_interval": 1},
]
seeds = st.integers(0, 2**31)


def eager(seed: int) -> Batch:
    """A batch whose answers end somewhere: the likeliest tokens are made end tokens at times."""
    return mixed_batch(MODELS[seed % 2], seed, rows=4)


def answers_of(**options: Any) -> CachedParallelSampler:
    return CachedParallelSampler(12, 5, Threshold(0.6), **options)


@settings(max_examples=40)
@given(
    seed=seeds,
    eos_stop=st.booleans(),
    confidence=st.sampled_from(["max_probability", "margin", "entropy"]),
)
def test_confidence_is_the_mean_of_the_answer_s_trace(
    seed: int, eos_stop: bool, confidence: str
) -> None:
    predictor = eager(seed).together()
    options = {"eos_stop": eos_stop, "confidence": confidence}
    traced = answers_of(trace=True, **options)(predictor)
    assert traced.trace is not None
    for row, length in enumerate(traced.lengths.tolist()):
        sure = traced.trace.confidence[row, :length]
        if length == 0:
            assert traced.confidence[row].isnan()
        else:
            assert float(traced.confidence[row]) == pytest.approx(float(sure.mean()), abs=1e-6)
    untraced = answers_of(**options)(predictor)
    assert untraced.trace is None
    assert untraced.confidence.dtype == torch.float32
    torch.testing.assert_close(
        untraced.confidence, traced.confidence, rtol=0, atol=0, equal_nan=True
    )


@settings(max_examples=25)
@given(seed=seeds, eos_stop=st.booleans(), cache=st.sampled_from(CACHES))
def test_confidence_depends_on_neither_batch_nor_cache(
    seed: int, eos_stop: bool, cache: dict[str, Any]
) -> None:
    batch = eager(seed)
    plain = answers_of(eos_stop=eos_stop, cache=None)(batch.together())
    cached = answers_of(eos_stop=eos_stop, **cache)
    together = cached(batch.together()).confidence
    torch.testing.assert_close(together, plain.confidence, rtol=0, atol=0, equal_nan=True)
    alone = torch.cat([cached(batch.alone(row)).confidence for row in range(4)])
    torch.testing.assert_close(alone, together, rtol=0, atol=0, equal_nan=True)


def test_confidence_counts_what_was_committed_before_the_end() -> None:
    table = sure_table([[0.9, 0.8, 0.7, 0.6], [0.99] * 4], [[3, 4, EOS, 5], [EOS] * 4])
    output = LowConfidenceSampler(4, 4)(TablePredictor(table, MASK, EOS))
    assert output.confidence.tolist() == pytest.approx([0.85, float("nan")], nan_ok=True)
    start = torch.tensor([[3, MASK, MASK, MASK], [3, 4, 5, MASK]])
    output = LowConfidenceSampler(4, 4)(TablePredictor(table, MASK, EOS), start=start)
    assert output.confidence.tolist() == pytest.approx([0.8, float("nan")], nan_ok=True)
    whole = sure_table([[0.9, 0.5]], [[3, 4]])
    assert float(LowConfidenceSampler(2, 2)(TablePredictor(whole, MASK)).confidence) == (
        pytest.approx(0.7)
    )


@pytest.mark.parametrize("eos_stop", [True, False])
def test_tokens_per_forward_counts_the_answer_alone(eos_stop: bool) -> None:
    """Two tokens in two passes are one a pass, however long what is filled behind them."""
    table = sure_table([[0.95, 0.5, *[0.95] * 6]], [[3, 4, *[EOS] * 6]])
    for length in (3, 8):
        sampler = CachedParallelSampler(
            length, length, Threshold(0.9), cache=None, eos_stop=eos_stop
        )
        output = sampler(TablePredictor(table[:, :length], MASK, EOS))
        assert (output.nfe, output.lengths.tolist()) == (2, [2])
        assert output.tokens_per_forward == 1.0


def test_nothing_but_the_end_is_behind_the_end() -> None:
    """What was committed there before the end was known goes; what was given stays."""
    table = sure_table([[0.5, 0.6, 0.99, 0.98, 0.97]], [[3, EOS, 4, 5, 6]])
    start = torch.tensor([[MASK, MASK, MASK, 7, MASK]])
    for given_tokens, expected in (
        (None, [3, EOS, EOS, EOS, EOS]),
        (start, [3, EOS, EOS, 7, EOS]),
    ):
        sampler = CachedParallelSampler(5, 5, Threshold(0.9), cache=None, trace=True)
        output = sampler(TablePredictor(table, MASK, EOS), start=given_tokens)
        assert output.tokens.tolist() == [expected]
        assert output.lengths.tolist() == [1]
        assert output.trace is not None
        assert (output.trace.step[0] >= 0).tolist() == [True, True, False, False, False]
        assert output.confidence.tolist() == pytest.approx([0.5])
    kept = CachedParallelSampler(5, 5, Threshold(0.9), cache=None, eos_stop=False)
    assert kept(TablePredictor(table, MASK, EOS)).tokens.tolist() == [[3, EOS, 4, 5, 6]]


@settings(max_examples=25)
@given(seed=seeds, cache=st.sampled_from([None, "prefix", "dual"]), block=st.integers(1, 12))
def test_the_end_fills_the_rest(seed: int, cache: str | None, block: int) -> None:
    sampler = CachedParallelSampler(12, block, Threshold(0.3), cache=cache)
    output = sampler(eager(seed).together())
    for row, length in zip(output.tokens, output.lengths.tolist(), strict=True):
        assert (row[length:] == EOS).all()


@pytest.mark.parametrize("trace", [False, True])
def test_confidence_costs_no_wait_for_the_device(
    trace: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One read a pass and one a block: what the loop itself needs."""
    reads: list[object] = []
    for name in ("tolist", "item", "__bool__", "__int__", "__float__", "nonzero"):
        read = getattr(torch.Tensor, name)

        def counted(self: torch.Tensor, *args: Any, read: Any = read) -> Any:
            reads.append(read)
            return read(self, *args)

        monkeypatch.setattr(torch.Tensor, name, counted)
    table = sure_table([[0.9, 0.5, 0.4, 0.3], [0.2, 0.3, 0.95, 0.9]], [[3, 4, 5, EOS]] * 2)
    sampler = CachedParallelSampler(4, 2, Threshold(0.8), cache=None, trace=trace)
    predictor = TablePredictor(table, MASK, EOS)
    output = sampler(predictor)
    assert len(reads) <= output.nfe + len(sampler.bounds())
