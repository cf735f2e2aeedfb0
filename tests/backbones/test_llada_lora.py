"""LoRA by peft on the names of the published recipe, through the conditioned predictor."""

from __future__ import annotations

import pytest
import torch

from dllm_audio import condition
from small_parts import VOCAB, random_audio, same, small_llada

peft = pytest.importorskip("peft")
TARGETS = ["q_proj", "k_proj", "v_proj", "ff_proj", "up_proj"]


def test_lora_trains_through_condition_and_merges_to_the_same_outputs() -> None:
    plain = small_llada()
    wrapped = peft.get_peft_model(
        small_llada(), peft.LoraConfig(r=2, lora_alpha=4, target_modules=TARGETS)
    )
    assert wrapped.config.mask_token_id == plain.config.mask_token_id
    for name, parameter in wrapped.named_parameters():
        if "lora_B" in name:  # zero at first
            torch.nn.init.normal_(parameter, std=0.3)
    trainable = {n for n, p in wrapped.named_parameters() if p.requires_grad}
    assert len(trainable) == 2 * len(TARGETS) * 2

    def logits(backbone: torch.nn.Module) -> torch.Tensor:
        predictor = condition(
            backbone,
            torch.arange(4)[None],
            audio=random_audio([3]),
            audio_start=torch.tensor([2]),
        )
        x_t = torch.arange(5)[None]
        whole, window = predictor(x_t), torch.arange(1, 5)
        with torch.no_grad():  # caches are for decoding
            cache = predictor.new_cache(5)
            same(predictor(x_t, cache=cache), whole)
            same(predictor(x_t, cache=cache, window=window), whole[:, 1:])
        return whole

    adapted = logits(wrapped)
    assert adapted.shape == (1, 5, VOCAB)
    assert not torch.allclose(adapted, logits(plain), atol=1e-2)
    adapted.sum().backward()
    assert {n for n, p in wrapped.named_parameters() if p.grad is not None} == trainable
    merged = wrapped.merge_and_unload()
    assert set(merged.state_dict()) == set(plain.state_dict())
    with torch.no_grad():
        same(logits(merged), adapted.detach(), 1e-4)
