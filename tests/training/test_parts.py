"""Freezing, LoRA, stages, estimates, curves."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from dllm_audio.errors import InvalidArgumentError
from dllm_audio.losses import DPOLoss, IPOLoss, SimPOLoss, VRPOLoss, WithSFT
from dllm_audio.training import (
    DIFFA,
    DIFFA2,
    LoRASettings,
    Preference,
    Recipe,
    attach_lora,
    count_parameters,
    detach_lora,
    estimate_memory,
    lora_switched,
    merge_lora,
    meta_foundation,
    plot_curves,
    stage_parameters,
    train_only,
)
from dllm_audio.training.curves import curve_points

from .tiny import LORA, tiny_model


def test_train_only() -> None:
    model = tiny_model()
    train_only(model, ["adapter.semantic", "backbone.ln_f"])
    trained = {name for name, p in model.named_parameters() if p.requires_grad}
    assert trained
    assert all(n.startswith(("adapter.semantic.", "backbone.ln_f.")) for n in trained)
    count = count_parameters(model)
    assert count.trainable == sum(p.numel() for p in model.parameters() if p.requires_grad)
    assert count.total == sum(p.numel() for p in model.parameters())
    with pytest.raises(InvalidArgumentError, match=r"prefixes: .*got \['adaptor'\]"):
        train_only(model, ["adapter", "adaptor"])


def randomized_lora(seed: int = 1):
    backbone = tiny_model().backbone.requires_grad_(False).eval()
    attach_lora(backbone, LORA)
    torch.manual_seed(seed)
    for name, parameter in backbone.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(parameter)
    return backbone


def test_lora_starts_at_zero_switches_off_merges_and_comes_off() -> None:
    ids = torch.arange(12)[None]
    plain = tiny_model().backbone.eval()
    expected = plain(ids).logits
    fresh = tiny_model().backbone.eval()
    attach_lora(fresh, LORA)
    torch.testing.assert_close(fresh(ids).logits, expected)
    backbone = randomized_lora()
    moved = backbone(ids).logits
    assert (moved - expected).abs().max() > 1e-2
    with lora_switched(backbone, None):
        torch.testing.assert_close(backbone(ids).logits, expected)
    torch.testing.assert_close(backbone(ids).logits, moved)
    merge_lora(backbone)
    torch.testing.assert_close(backbone(ids).logits, moved, rtol=1e-4, atol=1e-4)
    assert {n for n, _ in backbone.named_parameters()} == {n for n, _ in plain.named_parameters()}
    backbone = randomized_lora()
    detach_lora(backbone)
    assert torch.equal(backbone(ids).logits, expected)
    attach_lora(backbone, LORA)  # and may come back


def test_lora_is_on_the_named_layers_only() -> None:
    backbone = tiny_model().backbone
    before = count_parameters(backbone).total
    attach_lora(backbone, LoRASettings(rank=2, targets=("q_proj", "up_proj")))
    added = {n for n, _ in backbone.named_parameters() if "lora_" in n}
    assert len(added) == 2 * 2 * 2
    assert all(".q_proj." in name or ".up_proj." in name for name in added)
    sizes = 2 * ((16 + 16) + (16 + 32))  # rank x (in + out)
    assert count_parameters(backbone).total - before == 2 * sizes
    with pytest.raises(InvalidArgumentError, match=r"targets: .*got \['o_proj'\]"):
        attach_lora(tiny_model().backbone, LoRASettings(targets=("q_proj", "o_proj")))
    with pytest.raises(InvalidArgumentError, match="a new set of LoRA"):
        attach_lora(backbone, LORA)


# Derived by hand from the sizes in the published configurations.
def semantic(e: int, d: int) -> int:
    convolutions = (3 * e * e + e) + (3 * e * 4 * e + 4 * e)
    return convolutions + (4 * e * e + e) + (e * d + d) + 2 * d


def acoustic(e: int, d: int, taps: int) -> int:
    attention = 4 * (e * e + e) + 2 * e
    layer = 2 * attention + (e * 3072 + 3072) + (3072 * e + e) + 2 * e
    return taps * 64 * e + 64 * taps + 2 * layer + 2 * e + (e * d + d)


def lora_8b() -> int:
    return 32 * 8 * (3 * (4096 + 4096) + 2 * (4096 + 12288))


def test_trainable_parameters_are_the_published_ones() -> None:
    small = meta_foundation("openai/whisper-small")
    both = stage_parameters(small, DIFFA["stage2"])
    assert both.trainable == semantic(768, 4096) + acoustic(768, 4096, 4)
    first = stage_parameters(small, DIFFA["stage1"])
    assert first.trainable == semantic(768, 4096) + 20 * 4096
    assert f"{both.trainable / 1e6:.1f}" == "36.6"
    large = meta_foundation("openai/whisper-large-v3")
    adapters = semantic(1280, 4096) + acoustic(1280, 4096, 8)
    counts = {s.name: stage_parameters(large, s).trainable for s in DIFFA2.stages}
    assert counts == {
        "stage1": semantic(1280, 4096) + 20 * 4096,
        "stage2": adapters,
        "stage3": adapters + lora_8b(),
        "stage4": adapters + lora_8b(),
    }
    assert f"{stage_parameters(large, DIFFA2['stage4']).share:.1%}" == "1.1%"


def test_memory_falls_with_sharding_and_recomputation() -> None:
    foundation = meta_foundation("openai/whisper-small")
    stage = DIFFA["stage2"]
    one = estimate_memory(foundation, stage)
    eight = estimate_memory(foundation, stage, gpus=8, sharded=True)
    assert eight.frozen == one.frozen // 8
    assert one.frozen / 2**30 == pytest.approx(2 * 8.1e9 / 2**30, rel=0.01)
    saved = estimate_memory(foundation, stage.changed(gradient_checkpointing=True))
    assert saved.activations < 0.2 * one.activations
    assert "GiB per GPU" in str(one)
    with pytest.raises(InvalidArgumentError, match="encoder"):
        meta_foundation("openai/whisper-huge")


def test_recipes() -> None:
    assert DIFFA2.names == ["stage1", "stage2", "stage3", "stage4"]
    vrpo = DIFFA2["stage4"]
    assert vrpo.preference.objective() == VRPOLoss(beta=0.2)
    assert vrpo.optimization.batch_size == 1
    assert DIFFA["stage1"].changed(learning_rate=3e-4).optimization.learning_rate == 3e-4
    for name, objective in (("dpo", DPOLoss()), ("ipo", IPOLoss()), ("simpo", SimPOLoss())):
        assert Preference(name).objective() == objective  # each with its own beta
    mixed = Preference("ipo", beta=None, sft_weight=0.5).objective()
    assert mixed == WithSFT(IPOLoss(), 0.5)
    for wrong in (
        lambda: DIFFA["stage3"],
        lambda: DIFFA["stage1"].changed(lr=1),
        lambda: DIFFA["stage1"].changed(learning_rate=0),
        lambda: Preference("ppo"),
        lambda: Preference(reference="none"),
        lambda: Recipe("x", (DIFFA2["stage3"],)),
    ):
        with pytest.raises(InvalidArgumentError):
            wrong()


def test_curves(tmp_path: Path) -> None:
    history = [
        {"loss": 2.0, "learning_rate": 0.1, "step": 1, "epoch": 0.5},
        {"loss": 1.0, "learning_rate": 0.2, "step": 2, "epoch": 1.0},
        {"eval_loss": 1.5, "step": 2, "epoch": 1.0},
    ]
    assert curve_points(history) == {
        "loss": [(1, 2.0), (2, 1.0)],
        "learning_rate": [(1, 0.1), (2, 0.2)],
        "eval_loss": [(2, 1.5)],
    }
    plot_curves(history, tmp_path / "a" / "curves.png")
    assert (tmp_path / "a" / "curves.png").read_bytes().startswith(b"\x89PNG")
    plot_curves([], tmp_path / "nothing.png")
    assert not (tmp_path / "nothing.png").exists()
