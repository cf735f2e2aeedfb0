"""Classifier-free guidance: the formula, both branches, every cache, any batch."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from dllm_audio import (
    AudioEmbeddings,
    CachedParallelSampler,
    ClassifierFreeGuidance,
    Threshold,
    condition,
)
from dllm_audio.errors import InvalidArgumentError

from .models import EOS, MASK, VOCAB, TablePredictor, mixed_batch, tiny_llada

PROMPT = torch.tensor([[3, 1, 4, 1, 5]])


def conditional_and_without(unconditional: str) -> tuple:
    llada = tiny_llada(2)
    clip = torch.randn(1, 3, llada.config.d_model, dtype=llada.dtype)
    audio = AudioEmbeddings(clip, torch.tensor([3]))
    full = condition(llada, PROMPT, audio=audio, audio_start=2)
    if unconditional == "text":
        hidden = torch.full_like(PROMPT, MASK)
        return full, condition(llada, hidden, audio=audio, audio_start=2)
    return full, condition(llada, PROMPT)


class Blend:
    """The formula over two separate predictors; a plain predictor."""

    def __init__(self, conditional: object, without: object, scale: float) -> None:
        self.conditional, self.without, self.scale = conditional, without, scale
        self.batch_size, self.mask_token_id, self.eos_token_id = 1, MASK, EOS
        self.device = torch.device("cpu")

    def __call__(self, x_t: Tensor) -> Tensor:
        u, c = self.without(x_t), self.conditional(x_t)  # type: ignore[operator]
        return u + (self.scale + 1) * (c - u)


@pytest.mark.parametrize("unconditional", ["text", "audio"])
@pytest.mark.parametrize("scale", [0.5, 3.0])
def test_it_is_the_formula_over_two_predictors(unconditional: str, scale: float) -> None:
    conditional, without = conditional_and_without(unconditional)
    guidance = ClassifierFreeGuidance(scale, unconditional)
    x = torch.full((1, 8), MASK)
    x[0, 3] = 2
    expected = Blend(conditional, without, scale)(x)
    torch.testing.assert_close(guidance.wrap(conditional)(x), expected)
    assert not torch.allclose(expected, conditional(x))
    sampler = CachedParallelSampler(8, 4, Threshold(0.6), cache=None)
    guided = CachedParallelSampler(8, 4, Threshold(0.6), cache=None, guidance=guidance)
    one, two = guided(conditional), sampler(Blend(conditional, without, scale))
    assert torch.equal(one.tokens, two.tokens)
    assert one.nfe == two.nfe  # both branches in one pass


@pytest.mark.parametrize("cache", [None, "prefix", "dual"])
@pytest.mark.parametrize("unconditional", ["text", "audio"])
def test_scale_zero_is_no_guidance(cache: str | None, unconditional: str) -> None:
    batch = mixed_batch(tiny_llada(1), 4)
    guidance = ClassifierFreeGuidance(0.0, unconditional)
    for seed in range(2):
        batch = mixed_batch(tiny_llada(1), seed)
        plain, guided = (
            CachedParallelSampler(8, 4, Threshold(0.6), cache=cache, guidance=g)(batch.together())
            for g in (None, guidance)
        )
        assert torch.equal(plain.tokens, guided.tokens)
        assert plain.nfe == guided.nfe


def test_the_formula_gives_the_conditional_logits_at_scale_zero() -> None:
    conditional, without = conditional_and_without("text")
    x = torch.full((1, 6), MASK)
    torch.testing.assert_close(Blend(conditional, without, 0.0)(x), conditional(x))


@pytest.mark.parametrize("cache", [None, "prefix", "dual"])
@pytest.mark.parametrize("unconditional", ["text", "audio"])
def test_a_guided_row_does_not_depend_on_its_batch(cache: str | None, unconditional: str) -> None:
    for seed in range(3):
        batch = mixed_batch(tiny_llada(seed), 10 + seed, rows=4)
        if unconditional == "audio":  # a row alone needs a clip for its branch without it
            width = batch.backbone.config.d_model
            batch.clips = [
                torch.ones(2, width, dtype=torch.float64) if clip is None else clip
                for clip in batch.clips
            ]
        guidance = ClassifierFreeGuidance(1.0, unconditional)
        sampler = CachedParallelSampler(10, 4, Threshold(0.6), cache=cache, guidance=guidance)
        together = sampler(batch.together())
        for row in range(4):
            alone = sampler(batch.alone(row))
            assert torch.equal(together.tokens[row], alone.tokens[0])
            assert together.row_nfe[row] == alone.nfe


@pytest.mark.parametrize("cache", ["prefix", "dual"])
def test_guidance_with_a_cache_refreshed_at_every_step_is_exact(cache: str) -> None:
    predictor = mixed_batch(tiny_llada(3), 1).together()
    guidance = ClassifierFreeGuidance(1.5, "text")
    exact = CachedParallelSampler(10, 5, Threshold(0.6), cache=None, guidance=guidance)
    cached = CachedParallelSampler(
        10, 5, Threshold(0.6), cache=cache, guidance=guidance, refresh_interval=1
    )
    assert torch.equal(exact(predictor).tokens, cached(predictor).tokens)


def test_what_cannot_be_guided_is_refused() -> None:
    guidance = ClassifierFreeGuidance(1.0, "audio")
    sampler = CachedParallelSampler(4, 4, cache=None, guidance=guidance)
    with pytest.raises(InvalidArgumentError, match=r"unconditional: .*'audio' needs a prompt"):
        sampler(condition(tiny_llada(), PROMPT))
    with pytest.raises(InvalidArgumentError, match="predictor: expected a predictor made by"):
        sampler(TablePredictor(torch.zeros(1, 4, VOCAB), MASK, EOS))
    for make in (
        lambda: ClassifierFreeGuidance(-1.0),
        lambda: ClassifierFreeGuidance(float("nan")),
        lambda: ClassifierFreeGuidance(1.0, "both"),
    ):
        with pytest.raises(InvalidArgumentError):
            make()
