"""On a card: the tokens, the losses and the training steps of the CPU."""

from __future__ import annotations

import copy
import io
from typing import Any

import pytest
import torch
from torch import Tensor

from dllm_audio import (
    AdaptiveSampler,
    BlockSampler,
    CachedParallelSampler,
    EditingSampler,
    EntropyBound,
    Factor,
    LowConfidenceSampler,
    MaskedDiffusionLoss,
    RhoEOS,
    Threshold,
    WINOSampler,
    condition,
    toy,
)
from dllm_audio.backbones import GraphedBackbone
from small_parts import EOS, VOCAB, random_audio, small_llada

pytestmark = pytest.mark.cuda

SAMPLERS = {
    "low confidence": LowConfidenceSampler(steps=6, gen_length=12),
    "blocks": BlockSampler(steps=8, gen_length=12, block_length=4),
    "prefix cache": CachedParallelSampler(12, 4, Threshold(0.5), cache="prefix"),
    "dual cache": CachedParallelSampler(12, 4, Factor(1.0), cache="dual"),
    "prompt once": CachedParallelSampler(
        12, 4, EntropyBound(0.5), cache="dual", refresh="response"
    ),
    "wino": WINOSampler(12, 4, 0.3, 0.6, cache="dual"),
    "editing": EditingSampler(12, 4, 0.4, 0.2, 2, cache="prefix"),
    "rho-EOS": AdaptiveSampler(RhoEOS(4, 12, 2), 4, 0.4, "prefix"),
    "exact cache": CachedParallelSampler(12, 4, Threshold(0.3), cache="exact"),
}


def padded_prompts(rows: int) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(5)
    ids = torch.randint(0, EOS, (rows, 9), generator=generator)
    mask = torch.arange(9)[None] >= 2 * torch.arange(rows)[:, None]
    return ids, mask


@pytest.mark.parametrize("graphed", [False, True])
@pytest.mark.parametrize("name", SAMPLERS)
def test_tokens_are_those_of_the_cpu(name: str, graphed: bool) -> None:
    ids, mask = padded_prompts(3)
    audio = random_audio([5, 2, 4], junk=0.0)
    sampler = SAMPLERS[name]
    causal = 4 if sampler.cache.kind == "exact" else None
    llada = small_llada(causal_block_length=causal).double()

    def predictor(backbone: Any, device: str) -> Any:
        moved = type(audio)(audio.embeds.double().to(device), audio.lengths.to(device))
        return condition(
            backbone, ids.to(device), prompt_mask=mask.to(device), audio=moved, audio_start=4
        )

    expected = sampler(predictor(llada, "cpu"))
    llada.cuda()
    found = sampler(predictor(GraphedBackbone(llada) if graphed else llada, "cuda"))
    assert found.tokens.is_cuda
    assert torch.equal(found.tokens.cpu(), expected.tokens)
    assert found.nfe == expected.nfe


def test_the_loss_and_its_gradient_are_those_of_the_cpu() -> None:
    ids, mask = padded_prompts(2)
    x_0 = torch.randint(0, EOS, (2, 7), generator=torch.Generator().manual_seed(2))
    masked, t = torch.rand(2, 7, generator=torch.Generator().manual_seed(3)) < 0.6, [0.4, 0.9]
    values = {}
    for device in ("cpu", "cuda"):
        llada = small_llada().double().to(device)
        predictor = condition(llada, ids.to(device), prompt_mask=mask.to(device))
        times = torch.tensor(t, device=device)
        loss = MaskedDiffusionLoss()(predictor, x_0.to(device), masked.to(device), times).loss
        loss.backward()
        values[device] = loss.detach().cpu(), llada.wte.weight.grad.cpu()
    for found, expected in zip(values["cuda"], values["cpu"], strict=True):
        torch.testing.assert_close(found, expected, atol=1e-9, rtol=1e-7)


def test_the_shipped_model_answers_as_on_the_cpu() -> None:
    model, asked = toy.small_model(), toy.clips()[:4]
    prompts = [clip.questions[0].prompt for clip in asked]
    audio = [clip.waveform for clip in asked]
    expected = model.generate(prompts=prompts, audio=audio).texts
    model.cuda()
    assert model.generate(prompts=prompts, audio=audio).texts == expected
    model.backbone = GraphedBackbone(model.backbone)
    assert model.generate(prompts=prompts, audio=audio).texts == expected


def test_a_graphed_model_is_copied_and_stored_after_it_answered() -> None:
    llada = small_llada().cuda()
    graphed = GraphedBackbone(llada)
    ids, _ = padded_prompts(1)
    sampler = SAMPLERS["dual cache"]
    expected = sampler(condition(graphed, ids.cuda())).tokens
    stored = io.BytesIO()
    torch.save(graphed, stored)
    stored.seek(0)
    for other in (copy.deepcopy(graphed), torch.load(stored, weights_only=False)):
        assert torch.equal(sampler(condition(other, ids.cuda())).tokens, expected)


@pytest.mark.filterwarnings("ignore")  # torch.compile warns about itself
def test_a_compiled_backbone_gives_the_same_tokens() -> None:
    llada = small_llada().double().cuda()
    ids, _ = padded_prompts(2)
    sampler = SAMPLERS["dual cache"]
    expected = sampler(condition(llada, ids.cuda())).tokens
    found = sampler(condition(torch.compile(llada), ids.cuda())).tokens
    assert torch.equal(found, expected)
    assert int(expected.max()) < VOCAB
