"""Block-causal attention: one pass over a doubled response, and a cache that is exact."""

from __future__ import annotations

from typing import Any
from unittest.mock import patch

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from dllm_audio import (
    CachedParallelSampler,
    ClassifierFreeGuidance,
    Factor,
    LLaDA,
    MaskedDiffusionLoss,
    Threshold,
    condition,
    draw_masks,
    estimate_elbo,
)
from dllm_audio.backbones import GraphedBackbone
from dllm_audio.errors import InvalidArgumentError
from dllm_audio.losses import masked_cross_entropy
from dllm_audio.prompts.block_causal import BlockCausalPredictor
from small_parts import (
    EOS,
    MASK,
    character_tokenizer,
    random_audio,
    same,
    small_llada,
    small_model,
)

SETTINGS = settings(max_examples=25, deadline=None)
CHEAP = settings(max_examples=10, deadline=None)


def conditioned(
    seed: int, rows: int, response: int, size: int, dtype: torch.dtype = torch.float32
) -> Any:
    """A predictor of rows with prompts and clips of mixed lengths."""
    llada = small_llada(seed, causal_block_length=size, n_kv_heads=2).to(dtype)
    generator = torch.Generator().manual_seed(seed)
    ids = torch.randint(0, EOS, (rows, 7), generator=generator)
    mask = torch.arange(7)[None] >= torch.randint(0, 6, (rows, 1), generator=generator)
    audio = random_audio(torch.randint(1, 6, (rows,), generator=generator).tolist(), seed, junk=0.0)
    audio = type(audio)(audio.embeds.to(dtype), audio.lengths)
    return condition(llada, ids, prompt_mask=mask, audio=audio, audio_start=1)


def partly_masked(seed: int, rows: int, response: int) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed + 100)
    x_0 = torch.randint(0, EOS, (rows, response), generator=generator)
    hidden = torch.rand(rows, response, generator=generator) < 0.5
    return x_0, x_0.masked_fill(hidden, MASK)


shapes = {
    "seed": st.integers(0, 10_000),
    "rows": st.integers(1, 3),
    "response": st.integers(1, 23),
    "size": st.integers(1, 9),
}


def decoded_by_hand(predictor: Any, x: Tensor, bounds: list[tuple[int, int]]) -> list[Tensor]:
    """Logits of every block with an exact cache, what is before a block being as in ``x``."""
    cache, found = predictor.new_cache(x.shape[1]), []
    for number, (begin, end) in enumerate(bounds):
        low = bounds[number - 1][0] if number else 0
        seen = x.clone()
        seen[:, end:] = MASK  # whatever comes later
        window, block = torch.arange(low, end), torch.arange(begin, end)
        first = number == 0
        found.append(predictor(seen, block, cache=cache, window=window, with_prompt=first))
    return found


@SETTINGS
@given(**shapes)
def test_cached_logits_are_uncached_ones_to_the_bit(
    seed: int, rows: int, response: int, size: int
) -> None:
    predictor = conditioned(seed, rows, response, size)
    _, x_t = partly_masked(seed, rows, response)
    bounds = [(low, min(low + size, response)) for low in range(0, response, size)]
    with torch.inference_mode():
        whole = predictor(x_t)
        for (begin, end), cached in zip(
            bounds, decoded_by_hand(predictor, x_t, bounds), strict=True
        ):
            assert torch.equal(cached, whole[:, begin:end])
            alone = predictor(x_t, torch.arange(begin, end))
            assert torch.equal(alone, whole[:, begin:end])


@CHEAP
@given(**shapes)
def test_a_block_sees_what_is_before_it_and_itself(
    seed: int, rows: int, response: int, size: int
) -> None:
    predictor = conditioned(seed, rows, response, size, torch.float64)
    _, x_t = partly_masked(seed, rows, response)
    at = response // 2
    begin, end = at // size * size, min((at // size + 1) * size, response)
    with torch.inference_mode():
        logits, changed = predictor(x_t), x_t.clone()
        changed[:, at] = (x_t[:, at] + 1) % EOS
        after = predictor(changed)
    same(after[:, :begin], logits[:, :begin], 1e-12)
    moved = (after - logits).abs().amax((0, 2))
    assert (moved[begin:] > 1e-9).all()
    assert begin < end


@CHEAP
@given(**shapes)
def test_one_pass_with_a_mask_is_the_pass_block_by_block(
    seed: int, rows: int, response: int, size: int
) -> None:
    predictor = conditioned(seed, rows, response, size, torch.float64)
    _, x_t = partly_masked(seed, rows, response)
    at_once = predictor(x_t)  # with gradients
    with torch.inference_mode():
        by_block = predictor(x_t)
    same(at_once.detach(), by_block, 1e-10)


@CHEAP
@given(**shapes)
def test_training_sees_noisy_blocks_behind_clean_ones(
    seed: int, rows: int, response: int, size: int
) -> None:
    predictor = conditioned(seed, rows, response, size, torch.float64)
    x_0, x_t = partly_masked(seed, rows, response)
    states = predictor.hidden_given_clean(x_t, x_0)
    for begin in range(0, response, size):
        end = min(begin + size, response)
        mixed = torch.cat((x_0[:, :begin], x_t[:, begin:]), dim=1)
        with torch.inference_mode():
            expected = predictor.hidden(mixed)[:, begin:end]
        same(states[:, begin:end].detach(), expected, 1e-10)


def test_losses_and_bounds_take_the_clean_blocks() -> None:
    predictor = conditioned(3, 2, 10, 4, torch.float64)
    x_0, x_t = partly_masked(3, 2, 10)
    mask = x_t == MASK
    logits = predictor.head(predictor.hidden_given_clean(x_t, x_0))
    expected = torch.nn.functional.cross_entropy(logits.mT, x_0, reduction="none")
    found = masked_cross_entropy(predictor, x_t, x_0, mask)
    same(found, expected.masked_fill(~mask, 0.0), 1e-10)
    t = torch.tensor([0.5, 0.25], dtype=torch.float64)
    loss = MaskedDiffusionLoss()(predictor, x_0, mask, t).loss
    same(loss, (found.sum(-1) / t).sum() / x_0.numel(), 1e-10)
    loss.backward()
    assert predictor.backbone.wte.weight.grad.abs().sum() > 0
    masks, ratios = draw_masks(torch.ones_like(mask), 2, torch.Generator().manual_seed(0))
    assert torch.isfinite(estimate_elbo(predictor, x_0, masks, ratios)).all()


@SETTINGS
@given(
    **shapes,
    block=st.integers(1, 12),
    rule=st.sampled_from([Threshold(0.3), Factor(1.0)]),
    eos_stop=st.booleans(),
    guided=st.booleans(),
)
def test_decoding_with_the_exact_cache_is_decoding_without(
    seed: int, rows: int, response: int, size: int, block: int, rule: Any, eos_stop: bool,
    guided: bool,
) -> None:  # fmt: skip
    predictor = conditioned(seed, rows, response, size, torch.float64)
    guidance = ClassifierFreeGuidance(0.5) if guided else None
    options = {"eos_stop": eos_stop, "guidance": guidance}
    plain = CachedParallelSampler(response, block, rule, cache=None, **options)(predictor)
    exact = CachedParallelSampler(response, block, rule, cache="exact", **options)(predictor)
    assert torch.equal(exact.tokens, plain.tokens)
    assert exact.nfe == plain.nfe


def test_the_prompt_is_computed_once_and_a_step_computes_its_block() -> None:
    predictor = conditioned(1, 1, 12, 4)
    queries: list[int] = []
    forward = predictor.backbone.forward

    def counted(*arguments: Any, **named: Any) -> Any:
        queries.append(named["inputs_embeds"].shape[1])
        return forward(*arguments, **named)

    predictor.backbone.forward = counted
    sampler = CachedParallelSampler(12, 4, None, cache="exact", steps=6, eos_stop=False)
    sampler(predictor)
    prompt = predictor.prompt_length
    assert queries == [prompt, 4, 4, 4, 4, 4, 4, 4, 4]  # a finished block beside the next's first


def test_given_tokens_are_kept_and_computed() -> None:
    predictor = conditioned(2, 2, 12, 4, torch.float64)
    start, _ = partly_masked(2, 2, 12)
    start[:, 4:6] = MASK  # nothing to do in the first and the last block
    outputs = [
        CachedParallelSampler(12, 4, Threshold(0.3), cache=cache, eos_stop=False)(
            predictor, start=start
        )
        for cache in (None, "exact")
    ]
    assert torch.equal(outputs[0].tokens, outputs[1].tokens)
    assert torch.equal(outputs[1].tokens[start != MASK], start[start != MASK])


@pytest.mark.parametrize("cache", ["prefix", "dual"])
def test_other_caches_are_exact_too_where_blocks_agree(cache: str) -> None:
    predictor = conditioned(5, 3, 12, 4, torch.float64)
    expected = CachedParallelSampler(12, 4, Threshold(0.3), cache=None)(predictor)
    found = CachedParallelSampler(12, 4, Threshold(0.3), cache=cache)(predictor)
    assert torch.equal(found.tokens, expected.tokens)


def test_passes_may_be_recorded() -> None:
    plain = conditioned(4, 2, 12, 4, torch.float64)
    sampler = CachedParallelSampler(12, 4, Threshold(0.3), cache="exact")
    expected = sampler(plain)
    recorded: list[int] = []

    def tape(call: Any) -> tuple[Any, Tensor]:
        recorded.append(1)
        output = torch.empty_like(call())
        return lambda: output.copy_(call()), output

    plain.backbone = GraphedBackbone(plain.backbone, recorder=tape)
    assert torch.equal(sampler(plain).tokens, expected.tokens)
    assert recorded


def test_the_exact_cache_needs_blocks_that_see_nothing_behind_them() -> None:
    predictor = condition(small_llada(), torch.zeros(1, 3, dtype=torch.long))
    with pytest.raises(InvalidArgumentError, match="causal_block_length"):
        CachedParallelSampler(8, 4, cache="exact")(predictor)
    for name, value in (("refresh", "response"), ("refresh_interval", 2)):
        with pytest.raises(InvalidArgumentError, match=name):
            CachedParallelSampler(8, 4, cache="exact", **{name: value})  # type: ignore[arg-type]


def test_a_model_of_such_a_backbone_decodes_with_the_exact_cache() -> None:
    model = small_model(character_tokenizer(), causal_block_length=4)
    model.sampler = None
    sampler = model.default_sampler()
    assert (sampler.block_length, sampler.cache.kind) == (4, "exact")
    clip = 0.1 * torch.randn(3000, generator=torch.Generator().manual_seed(0))
    assert len(model.generate(prompts="What?", audio=clip, sampler=sampler).texts) == 1


def test_the_pattern_is_part_of_the_config(tmp_path: Any) -> None:
    llada = small_llada(causal_block_length=4)
    llada.save_pretrained(tmp_path)
    again = LLaDA.from_pretrained(tmp_path)
    assert again.config.causal_block_length == 4
    ids = torch.arange(11)[None]
    assert torch.equal(again.eval()(ids).logits, llada(ids).logits)
    same(llada(ids).logits[:, :4], llada(ids[:, :4]).logits)
    with pytest.raises(InvalidArgumentError, match="causal_block_length"):
        small_llada(causal_block_length=0)


@SETTINGS
@given(**shapes, block=st.integers(1, 12), guided=st.booleans())
def test_passes_over_several_blocks_at_once_decode_the_same(
    seed: int, rows: int, response: int, size: int, block: int, guided: bool
) -> None:
    """As on a GPU, where no pass is split into blocks."""
    predictor = conditioned(seed, rows, response, size, torch.float64)
    options = {"guidance": ClassifierFreeGuidance(0.5) if guided else None}
    samplers = [
        CachedParallelSampler(response, block, Threshold(0.3), cache=cache, **options)
        for cache in (None, "exact", "prefix", "dual")
    ]
    expected = samplers[0](predictor)
    with patch.object(BlockCausalPredictor, "_goes_by_block", lambda self: False):
        found = [sampler(predictor) for sampler in samplers[:2]]
        approximate = [sampler(predictor) for sampler in samplers[2:]]
    for output in found:
        assert torch.equal(output.tokens, expected.tokens)
        assert output.nfe == expected.nfe
    if block % size == 0:  # where the sampler's blocks are whole ones, these are exact, too
        for output in approximate:
            assert torch.equal(output.tokens, expected.tokens)
