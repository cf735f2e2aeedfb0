from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from dllm_audio.losses import MaskedDiffusionLoss
from dllm_audio.training import (
    DIFFA,
    DIFFA2,
    Foundation,
    LoRASettings,
    Preference,
    Stage,
    attach_lora,
    estimate_memory,
    meta_foundation,
    stage_parameters,
)

from .tiny import SIZES, tiny_model


def test_the_loss_holds_as_many_rows_as_the_loss_itself_says() -> None:
    foundation = meta_foundation("openai/whisper-small")
    logits = MaskedDiffusionLoss().chunk_rows * foundation.backbone.config.vocab_size * 4
    # Logits, their gradient, and softmax.
    assert estimate_memory(foundation, DIFFA["stage1"]).loss == 3 * logits


def test_a_reference_takes_what_it_does_not_share() -> None:
    foundation = meta_foundation("openai/whisper-small")
    stage = DIFFA2["stage4"]
    taken = {
        kind: estimate_memory(
            foundation, replace(stage, preference=Preference(reference=kind))
        ).reference
        for kind in ("base", "adapter", "copy")
    }
    adapter = 4 * stage_parameters(foundation, DIFFA2["stage2"]).trainable
    both = 4 * stage_parameters(foundation, stage).trainable
    backbone = sum(p.numel() for p in foundation.backbone.parameters())
    assert taken == {"base": adapter, "adapter": both, "copy": both + 2 * backbone}


@pytest.mark.parametrize("stage", DIFFA2.stages, ids=lambda stage: stage.name)
def test_an_estimate_changes_nothing(stage: Stage) -> None:
    """Not what trains, nor LoRA, modes, weights or torch's own randomness."""
    model = tiny_model()
    attach_lora(model.backbone, LoRASettings(rank=2))
    model.train()
    model.encoder.requires_grad_(False).eval()
    names = [name for name, _ in model.named_modules()]
    flags = {name: p.requires_grad for name, p in model.named_parameters()}
    modes = [module.training for module in model.modules()]
    weights = {name: p.clone() for name, p in model.named_parameters()}
    torch.manual_seed(3)
    expected = torch.rand(1)
    torch.manual_seed(3)
    foundation = Foundation.from_model(model, SIZES)
    estimate_memory(foundation, stage)
    stage_parameters(foundation, stage)
    assert torch.equal(torch.rand(1), expected)
    assert [name for name, _ in model.named_modules()] == names
    assert {name: p.requires_grad for name, p in model.named_parameters()} == flags
    assert [module.training for module in model.modules()] == modes
    assert all(torch.equal(p, weights[name]) for name, p in model.named_parameters())


def test_lora_that_is_there_already_is_not_counted() -> None:
    model = tiny_model()
    foundation = Foundation.from_model(model, SIZES)
    before = estimate_memory(foundation, DIFFA2["stage4"])
    attach_lora(model.backbone, LoRASettings(rank=2))
    assert estimate_memory(foundation, DIFFA2["stage4"]) == before
