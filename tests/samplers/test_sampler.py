"""Starting texts, padded responses, streaming, traces, precision, and errors."""

from __future__ import annotations

import copy
import re
from itertools import pairwise
from typing import Any

import pytest
import torch

from dllm_audio import (
    BlockSampler,
    CachedParallelSampler,
    ClassifierFreeGuidance,
    Factor,
    FixedQuota,
    LowConfidenceSampler,
    MaskPredictor,
    Threshold,
    condition,
)
from dllm_audio.errors import InvalidArgumentError, NonFiniteLogitsError, ShapeError
from dllm_audio.samplers import CachePolicy, Sampler, SamplingOptions

from .models import EOS, MASK, VOCAB, TablePredictor, mixed_batch, sure_table, tiny_llada

CACHES = (None, "prefix", "dual")


def sampler_of(cache: str | None = "prefix", **options: Any) -> CachedParallelSampler:
    return CachedParallelSampler(10, 4, Threshold(0.6), cache=cache, **options)


@pytest.mark.parametrize("cache", CACHES)
def test_given_tokens_stay(cache: str | None) -> None:
    predictor = mixed_batch(tiny_llada(), 0).together()
    start = torch.full((3, 10), MASK)
    start[0, [0, 5]] = torch.tensor([4, 7])
    start[1] = 3  # nothing to do
    before = start.clone()
    output = sampler_of(cache, eos_stop=False, trace=True)(predictor, start=start)
    kept = start != MASK
    assert torch.equal(output.tokens[kept], start[kept])
    assert torch.equal(start, before)
    assert not (output.tokens == MASK).any()
    assert output.row_nfe[1] == 0
    assert output.trace is not None
    assert (output.trace.step[kept] == -1).all()
    assert (output.trace.step[~kept] >= 0).all()


def test_a_start_without_masks_costs_no_pass() -> None:
    predictor = TablePredictor(torch.zeros(2, 10, VOCAB), MASK, EOS)
    start = torch.arange(20).reshape(2, 10)
    output = sampler_of(None)(predictor, start=start)
    assert torch.equal(output.tokens, start)
    assert output.nfe == 0
    assert predictor.seen == []


@pytest.mark.parametrize("cache", CACHES)
def test_padded_response_positions_hold_end_tokens(cache: str | None) -> None:
    """Per-row bounds of the length: a row decodes as in a response of its own length."""
    llada = tiny_llada(1)
    prompt = torch.randint(0, EOS, (3, 4))
    lengths = [10, 7, 3]
    mask = torch.arange(10) < torch.tensor(lengths)[:, None]
    predictor = condition(llada, prompt, response_mask=mask)
    for stop in (True, False):
        together = CachedParallelSampler(10, 10, Threshold(0.6), cache=cache, eos_stop=stop)(
            predictor
        )
        for row, length in enumerate(lengths):
            alone = CachedParallelSampler(
                length, length, Threshold(0.6), cache=cache, eos_stop=stop
            )(condition(llada, prompt[row : row + 1]))
            assert torch.equal(together.tokens[row, :length], alone.tokens[0])
            assert (together.tokens[row, length:] == EOS).all()
            assert together.lengths[row] == alone.lengths[0]
            assert together.row_nfe[row] == alone.nfe


@pytest.mark.parametrize("cache", CACHES)
@pytest.mark.parametrize("eos_stop", [False, True])
def test_streaming_yields_exactly_the_final_tokens(cache: str | None, eos_stop: bool) -> None:
    predictor = mixed_batch(tiny_llada(2), 3).together()
    sampler = sampler_of(cache, eos_stop=eos_stop)
    expected = sampler(predictor)
    steps = list(sampler.stream(predictor))
    assert [step.nfe for step in steps] == [*range(1, expected.nfe + 1), expected.nfe]
    assert all(step.output is None for step in steps[:-1])
    final = steps[-1].output
    assert final is not None
    assert torch.equal(final.tokens, expected.tokens)
    assert torch.equal(steps[-1].tokens, expected.tokens)
    assert torch.equal(final.row_nfe, expected.row_nfe)
    for before, after in pairwise(steps):
        known = before.tokens != MASK
        assert torch.equal(before.tokens[known], after.tokens[known])
        assert known.sum() < (after.tokens != MASK).sum() or after is steps[-1]


def test_gradients_stay_switched_on_between_steps_of_a_stream() -> None:
    predictor = mixed_batch(tiny_llada(), 0).together()
    for _ in sampler_of().stream(predictor):
        assert torch.is_grad_enabled()
        assert not torch.is_inference_mode_enabled()


def test_a_trace_tells_when_and_how_surely() -> None:
    table = sure_table([[0.95, 0.8, 0.5, 0.92]])
    sampler = CachedParallelSampler(4, 4, Threshold(0.9), cache=None, trace=True)
    trace = sampler(TablePredictor(table, MASK, EOS)).trace
    assert trace is not None
    assert trace.step.tolist() == [[0, 1, 2, 0]]
    torch.testing.assert_close(trace.confidence, torch.tensor([[0.95, 0.8, 0.5, 0.92]]))
    assert CachedParallelSampler(4, 4, cache=None)(TablePredictor(table, MASK, EOS)).trace is None


def test_delayed_end_tokens_keep_their_confidence_in_the_trace() -> None:
    table = sure_table([[0.95, 0.8, 0.5, 0.6]], [[EOS, 2, EOS, 3]])
    for rule in (FixedQuota(4), Threshold(0.1), Factor(0.0, commit_last=False)):
        sampler = CachedParallelSampler(
            4, 4, rule, cache=None, trace=True, eos="delay", eos_stop=False
        )
        output = sampler(TablePredictor(table, MASK, EOS))
        assert output.tokens.tolist() == [[EOS, 2, EOS, 3]]
        assert output.trace is not None
        torch.testing.assert_close(output.trace.confidence, torch.tensor([[0.95, 0.8, 0.5, 0.6]]))
        steps = output.trace.step[0].tolist()
        assert max(steps[1], steps[3]) < steps[0] < steps[2]


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("cache", CACHES)
def test_half_precision(dtype: torch.dtype, cache: str | None) -> None:
    llada = tiny_llada(0, dtype=dtype)
    batch = mixed_batch(llada, 0)
    for guidance in (None, ClassifierFreeGuidance(1.0, "text")):
        output = sampler_of(cache, guidance=guidance, trace=True, eos_stop=False)(batch.together())
        assert output.trace is not None
        assert output.trace.confidence.dtype == torch.float32
        assert ((output.trace.confidence > 0) & (output.trace.confidence <= 1.0001)).all()
        assert not (output.tokens == MASK).any()


def test_confidence_of_half_precision_logits_is_measured_in_float32() -> None:
    g = torch.Generator().manual_seed(0)
    logits = (4 * torch.randn(2, 6, VOCAB, generator=g)).to(torch.bfloat16)
    logits[..., MASK] = -torch.inf
    for name in ("max_probability", "margin", "entropy"):
        sampler = LowConfidenceSampler(6, 6, confidence=name, trace=True)
        half, full = (
            sampler(TablePredictor(table, MASK, EOS)) for table in (logits, logits.float())
        )
        assert half.trace is not None
        assert full.trace is not None
        assert torch.equal(half.trace.confidence, full.trace.confidence)


def test_the_mask_is_never_chosen_but_counts_in_the_normalization() -> None:
    table = torch.full((1, 3, VOCAB), -torch.inf)
    table[..., 5], table[..., MASK] = 0.0, torch.tensor(3.0).log()
    output = LowConfidenceSampler(1, 3, trace=True)(TablePredictor(table, MASK, EOS))
    assert output.tokens.tolist() == [[5, 5, 5]]
    assert output.trace is not None
    torch.testing.assert_close(output.trace.confidence, torch.full((1, 3), 0.25))


@pytest.mark.parametrize("mask_id", [0, 3, 9])
def test_the_mask_may_be_any_id(mask_id: int) -> None:
    g = torch.Generator().manual_seed(mask_id)
    table = torch.randn(4, 6, 10, generator=g).round()  # with ties
    predictor = TablePredictor(table, mask_id)
    expected = table.index_fill(-1, torch.tensor([mask_id]), -torch.inf).argmax(-1)
    assert torch.equal(LowConfidenceSampler(6, 6)(predictor).tokens, expected)


def test_the_predictor_is_not_changed() -> None:
    table = sure_table([[0.9, 0.8, 0.7]])
    before = table.clone()
    for options in ({}, {"eos": "forbid"}, {"confidence": "margin"}, {"temperature": 1.0}):
        LowConfidenceSampler(3, 3, **options)(TablePredictor(table, MASK, EOS))
        assert torch.equal(table, before)


def test_a_table_is_a_predictor() -> None:
    assert isinstance(TablePredictor(torch.zeros(1, 2, VOCAB), MASK, EOS), MaskPredictor)


@pytest.mark.parametrize("confidence", ["max_probability", "margin", "entropy", "random"])
@pytest.mark.parametrize("where", [0, EOS, MASK])
def test_not_a_number_is_reported_with_its_row(confidence: str, where: int) -> None:
    table = sure_table([[0.9, 0.8], [0.7, 0.6], [0.5, 0.4]])
    table[1, 1, where] = torch.nan
    sampler = LowConfidenceSampler(2, 2, confidence=confidence)
    with pytest.raises(NonFiniteLogitsError, match="row 1, pass 1"):
        sampler(TablePredictor(table, MASK, EOS))


def test_not_a_number_at_committed_positions_does_not_matter() -> None:
    table = sure_table([[0.9, 0.8, 0.7]])
    table[0, 1] = torch.nan
    start = torch.tensor([[MASK, 4, MASK]])
    output = LowConfidenceSampler(1, 3)(TablePredictor(table, MASK, EOS), start=start)
    assert output.tokens.tolist() == [[0, 4, 0]]


@pytest.mark.parametrize(
    ("make", "argument"),
    [
        (lambda: LowConfidenceSampler(4, 0), "gen_length"),
        (lambda: LowConfidenceSampler(4, 2.0), "gen_length"),  # type: ignore[arg-type]
        (lambda: BlockSampler(4, 8, 0), "block_length"),
        (lambda: BlockSampler(1, 8, 4), "steps"),
        (lambda: CachedParallelSampler(8, 4, None), "steps"),
        (lambda: CachedParallelSampler(8, 4, 0.9), "commit"),  # type: ignore[arg-type]
        (lambda: CachedParallelSampler(8, 4, cache="suffix"), "cache"),
        (lambda: CachedParallelSampler(8, 4, refresh_interval=0), "refresh_interval"),
        (lambda: CachedParallelSampler(8, 4, threshold=0.9), "options"),
        (lambda: CachedParallelSampler(8, 4, steps=0), "steps"),
        (lambda: LowConfidenceSampler(4, 8, temperature=-1.0), "temperature"),
        (lambda: LowConfidenceSampler(4, 8, confidence="max"), "confidence"),
        (lambda: LowConfidenceSampler(4, 8, eos="stop"), "eos"),
        (lambda: LowConfidenceSampler(4, 8, guidance=1.5), "guidance"),  # type: ignore[arg-type]
    ],
)
def test_bad_settings_are_named(make: Any, argument: str) -> None:
    with pytest.raises(InvalidArgumentError, match=f"^{argument}: expected .*, got "):
        make()


@pytest.mark.parametrize(
    ("start", "error", "message"),
    [
        (torch.zeros(1, 3, dtype=torch.long), ShapeError, "start: expected int64 [2, 4], got"),
        (torch.zeros(2, 4), ShapeError, "got torch.float32 [2, 4]"),
        (
            torch.full((2, 4), -100),
            InvalidArgumentError,
            "start: expected token ids >= 0, got -100",
        ),
    ],
)
def test_bad_starts_are_refused(start: Any, error: type[Exception], message: str) -> None:
    predictor = TablePredictor(torch.zeros(2, 4, VOCAB), MASK, EOS)
    with pytest.raises(error, match=re.escape(message)):
        LowConfidenceSampler(2, 4)(predictor, start=start)


def test_predictors_that_do_not_fit_are_refused() -> None:
    plain = TablePredictor(torch.zeros(2, 4, VOCAB), MASK)
    with pytest.raises(InvalidArgumentError, match="eos_stop: expected False"):
        CachedParallelSampler(4, 4, cache=None)(plain)
    for eos in ("forbid", "delay"):
        with pytest.raises(InvalidArgumentError, match="eos: expected 'allow'"):
            LowConfidenceSampler(2, 4, eos=eos)(plain)
    with pytest.raises(InvalidArgumentError, match="with the attribute mask_token_id"):
        LowConfidenceSampler(2, 4)(lambda x: x)
    response = torch.ones(1, 6, dtype=torch.bool)
    predictor = condition(tiny_llada(), torch.tensor([[1]]), response_mask=response)
    with pytest.raises(ShapeError, match="response_mask"):
        LowConfidenceSampler(2, 4)(predictor)


@pytest.mark.parametrize("refresh", ["sequence", "response"])
def test_without_a_cache_to_fill_it_is_decoded_without_and_said_once(refresh: str) -> None:
    table = TablePredictor(sure_table([[0.5, 0.7, 0.6, 0.8]]), MASK, EOS)
    conditioned = mixed_batch(tiny_llada(), 0).together()

    class Without(type(conditioned)):  # type: ignore[misc]
        can_cache = False

        def paired(self, unconditional: str) -> Any:
            pair = super().paired(unconditional)
            pair.__class__ = Without
            return pair

    unable = copy.copy(conditioned)
    unable.__class__ = Without
    guidance = ClassifierFreeGuidance(1.0, "text")
    for predictor, options in ((table, {}), (unable, {}), (unable, {"guidance": guidance})):
        sampler = CachedParallelSampler(4, 4, Threshold(0.6), "dual", refresh=refresh, **options)
        with pytest.warns(UserWarning, match="cannot cache; decoding without") as seen:
            output = sampler(predictor)
        assert len(seen) == 1
        plain = CachedParallelSampler(4, 4, Threshold(0.6), None, **options)(predictor)
        assert torch.equal(output.tokens, plain.tokens)
        assert output.nfe == plain.nfe


def test_named_samplers_are_settings_of_one_loop() -> None:
    assert repr(LowConfidenceSampler(4, 8)).startswith("LowConfidenceSampler(gen_length=8")
    sampler = CachedParallelSampler(64, 32, steps=10, commit=None)
    assert isinstance(sampler, Sampler)
    assert sampler.commit == FixedQuota(10)
    assert sampler.cache == CachePolicy("prefix")
    assert sampler.options == SamplingOptions(eos_stop=True)
    assert CachePolicy("dual", 3).refreshes(3)
    assert not CachePolicy("dual", 3).refreshes(4)
    assert CachePolicy("prefix").window(4, 8, 16) == (4, 16)
    assert CachePolicy("dual").window(4, 8, 16) == (4, 8)


@pytest.mark.parametrize("cache", CACHES)
def test_what_was_decoded_can_be_learned_from(cache: str | None) -> None:
    """Tensors made in inference mode could not take part in a backward pass."""
    predictor, embedding = mixed_batch(tiny_llada(), 0).together(), torch.nn.Embedding(VOCAB, 3)
    sampler = sampler_of(cache, trace=True)
    for output in (sampler(predictor), list(sampler.stream(predictor))[-1].output):
        assert output is not None
        assert output.trace is not None
        tensors = (output.tokens, output.lengths, output.trace.step, output.trace.confidence)
        assert not any(tensor.is_inference() for tensor in tensors)
        (embedding(output.tokens).sum(-1) * output.trace.confidence).sum().backward()
