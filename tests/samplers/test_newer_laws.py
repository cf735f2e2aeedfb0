"""Laws of the newer rules, on random small models: each as it is alone, cached, streamed."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import hypothesis.strategies as st
import pytest
import torch
from hypothesis import given, settings

from dllm_audio import KLASS, CachedParallelSampler, ClassifierFreeGuidance, EntropyBound, Prophet
from dllm_audio.samplers import Sampler

from .models import EOS, MASK, mixed_batch, tiny_llada

MODELS = [tiny_llada(0), tiny_llada(1, n_kv_heads=1)]
CACHES = (None, "prefix", "dual")
LENGTH = 11
seeds = st.integers(0, 2**31)


def parallel(rule: Any) -> Callable[..., Sampler]:
    """Builds a sampler of a rule that needs no name of its own."""

    def build(block: int, **options: Any) -> Sampler:
        return CachedParallelSampler(LENGTH, block, rule, **options)

    return build


SAMPLERS: dict[str, Callable[..., Sampler]] = {
    "klass": parallel(KLASS(11, 0.3, 0.5)),
    "klass, best": parallel(KLASS(11, 0.3, 0.5, history=1, strategy="max_conf")),
    "klass, calmest": parallel(KLASS(12, 0.2, 1.0, history=2, strategy="min_kl")),
    "prophet": parallel(Prophet(11, 4.0, 2.0, 1.0)),
    "prophet, region": parallel(Prophet(11, 3.0, 2.0, 1.0, answer_start=3, answer_length=4)),
    "position-biased": parallel(EntropyBound(1.0, position_decay=0.2)),
}
BOUNDS: dict[str, Callable[[int], int]] = {name: lambda block: 12 for name in SAMPLERS}
samplers = st.sampled_from(sorted(SAMPLERS))


@settings(max_examples=40)
@given(
    name=samplers,
    seed=seeds,
    block=st.integers(1, LENGTH),
    cache=st.sampled_from(CACHES),
    eos_stop=st.booleans(),
    context=st.sampled_from(["full", "prefix"]),
    given_tokens=st.integers(0, 4),
    guided=st.booleans(),
)
def test_no_mask_is_left_given_tokens_stay_passes_are_bounded(
    name: str,
    seed: int,
    block: int,
    cache: str | None,
    eos_stop: bool,
    context: str,
    given_tokens: int,
    guided: bool,
) -> None:
    g = torch.Generator().manual_seed(seed)
    start = torch.full((2, LENGTH), MASK)
    for row in range(2):
        where = torch.randperm(LENGTH, generator=g)[:given_tokens]
        start[row, where] = torch.randint(0, EOS, (given_tokens,), generator=g)
    sampler = SAMPLERS[name](
        block,
        cache=cache,
        eos_stop=eos_stop,
        context=context,
        guidance=ClassifierFreeGuidance(0.5) if guided else None,
    )
    predictor = mixed_batch(MODELS[seed % 2], seed, rows=2).together()
    prompt = predictor.prompt.embeds.clone()
    output = sampler(predictor, start=start)
    assert not (output.tokens == MASK).any()
    assert torch.equal(output.tokens[start != MASK], start[start != MASK])
    assert torch.equal(predictor.prompt.embeds, prompt)
    assert (output.row_nfe <= output.nfe).all()
    assert output.row_nfe.max() <= BOUNDS[name](block)


@pytest.mark.parametrize("cache", CACHES)
@pytest.mark.parametrize("name", sorted(SAMPLERS))
def test_a_row_does_not_depend_on_its_batch(name: str, cache: str | None) -> None:
    for seed in range(2):
        batch = mixed_batch(MODELS[seed], seed + 5, rows=4)
        sampler = SAMPLERS[name](4, cache=cache, eos_stop=bool(seed))
        together = sampler(batch.together())
        for row in range(4):
            alone = sampler(batch.alone(row))
            assert torch.equal(together.tokens[row], alone.tokens[0])
            assert together.lengths[row] == alone.lengths[0]
            assert together.row_nfe[row] == alone.nfe


@settings(max_examples=30)
@given(
    name=samplers,
    seed=seeds,
    block=st.integers(1, LENGTH),
    cache=st.sampled_from(["prefix", "dual"]),
    context=st.sampled_from(["full", "prefix"]),
)
def test_a_cache_refreshed_at_every_step_is_no_cache(
    name: str, seed: int, block: int, cache: str, context: str
) -> None:
    predictor = mixed_batch(MODELS[seed % 2], seed).together()
    build = SAMPLERS[name]
    cached, plain = (
        build(block, context=context, **options)(predictor)
        for options in ({"cache": cache, "refresh_interval": 1}, {"cache": None})
    )
    assert torch.equal(cached.tokens, plain.tokens)
    assert torch.equal(cached.row_nfe, plain.row_nfe)


@settings(max_examples=20)
@given(name=samplers, seed=seeds, block=st.integers(1, LENGTH), cache=st.sampled_from(CACHES))
def test_the_last_step_of_a_stream_is_the_answer(
    name: str, seed: int, block: int, cache: str | None
) -> None:
    predictor = mixed_batch(MODELS[seed % 2], seed).together()
    sampler = SAMPLERS[name](block, cache=cache)
    *steps, last = sampler.stream(predictor)
    output = sampler(predictor)
    assert last.output is not None
    assert torch.equal(last.output.tokens, output.tokens)
    assert [step.nfe for step in steps] == list(range(1, output.nfe + 1))
