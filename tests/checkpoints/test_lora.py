"""Low-rank updates: found by name, merged once, all or nothing."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from dllm_audio.checkpoints import LowRankUpdate, merge_lora, split_lora
from dllm_audio.errors import CheckpointError

STEM = "llm_model.base_model.model.model.transformer.blocks.3.q_proj"
A, B = torch.tensor([[1.0, 2.0, 3.0], [0.0, 1.0, 0.0]]), torch.tensor([[1.0, 0.0], [2.0, 5.0]])


def test_split():
    others, updates = split_lora(
        {
            "other": torch.ones(1),
            f"{STEM}.lora_B.default.weight": B,
            f"{STEM}.lora_A.default.weight": A,
        }
    )
    assert list(others) == ["other"]
    assert list(updates) == ["model.transformer.blocks.3.q_proj.weight"]
    assert updates["model.transformer.blocks.3.q_proj.weight"] == LowRankUpdate(A, B)


def test_merge_by_hand():
    layer = nn.Linear(3, 2, bias=False)
    nn.init.ones_(layer.weight)
    merge_lora(layer, {"weight": LowRankUpdate(A, B)}, alpha=16)
    # 1 + 16 / 2 * [[1, 2, 3], [2, 4 + 5, 6]]
    assert layer.weight.tolist() == [[9.0, 17.0, 25.0], [17.0, 73.0, 49.0]]


def test_half_precision_is_rounded_once():
    torch.manual_seed(0)
    layer = nn.Linear(64, 64, bias=False, dtype=torch.bfloat16)
    update = LowRankUpdate(torch.randn(8, 64), torch.randn(64, 8))
    expected = layer.weight.double() + 2 * update.up.double() @ update.down.double()
    merge_lora(layer, {"weight": update})
    # Half a unit in the last place of 8 significant bits, and float32's own error.
    error = (layer.weight.double() - expected).abs()
    assert (error <= expected.abs() * 2**-8 + 1e-4).all()


@pytest.mark.parametrize(
    ("name", "update", "names"),
    [
        ("bias", LowRankUpdate(A, B), r"no weight named 1\.bias"),
        ("weight", LowRankUpdate(A[:, :2], B), r"shape \[2, 3\], got \[2, 2\]"),
    ],
)
def test_nothing_is_merged_unless_everything_fits(name, update, names):
    layer = nn.Sequential(nn.Linear(3, 2, bias=False), nn.Linear(3, 2, bias=False))
    before = layer[0].weight.clone()
    with pytest.raises(CheckpointError, match=names):
        merge_lora(layer, {"0.weight": LowRankUpdate(A, B), f"1.{name}": update})
    assert torch.equal(layer[0].weight, before)


@pytest.mark.parametrize(
    ("down", "up"),
    [(A, None), (A, B[:, :1]), (A.long(), B), (A[0], B), (A.unsqueeze(0), B)],
)
def test_sides_that_do_not_fit(down, up):
    tensors = {f"{STEM}.lora_A.default.weight": down}
    if up is not None:
        tensors[f"{STEM}.lora_B.default.weight"] = up
    with pytest.raises(CheckpointError, match="lora_A"):
        split_lora(tensors)
