from __future__ import annotations

from dataclasses import replace

import torch

from dllm_audio.losses import MaskedDiffusionLoss
from dllm_audio.training import (
    DIFFA,
    DIFFA2,
    Preference,
    estimate_memory,
    meta_foundation,
    stage_parameters,
)
from dllm_audio.training.lora import lora_layers


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


def test_an_estimate_changes_nothing() -> None:
    foundation = meta_foundation("openai/whisper-small")
    torch.manual_seed(3)
    estimate_memory(foundation, DIFFA2["stage4"])
    drawn = torch.rand(1)
    torch.manual_seed(3)
    assert torch.equal(torch.rand(1), drawn)
    assert not lora_layers(foundation.backbone)
    assert all(p.requires_grad for p in foundation.backbone.parameters())
