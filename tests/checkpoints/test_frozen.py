"""Full training checkpoints: the frozen parts inside must be those that are given."""

from __future__ import annotations

from pathlib import Path

import published_layouts as layouts
import pytest
import torch
from torch import Tensor

from dllm_audio import load_diffa
from dllm_audio.checkpoints.frozen import split_frozen
from dllm_audio.errors import CheckpointError
from parity import load_golden

PEFT = "llm_model.base_model.model."


def full_checkpoint(lora: bool, dtype: torch.dtype) -> dict[str, Tensor]:
    """What the original training code saves: everything, with peft's names."""
    state = {**layouts.adapter_tensors(), **(layouts.lora_tensors() if lora else {})}
    for name, tensor in load_golden("diffa_weights").items():
        if name.startswith("whisper_model."):
            state[name] = tensor.to(dtype)
    for name, tensor in load_golden("llada_weights").items():
        tuned = lora and name.split(".")[-2] in layouts.LORA_TARGETS
        own = name.replace(".weight", ".base_layer.weight") if tuned else name
        state[f"{PEFT if lora else 'llm_model.'}{own}"] = tensor.to(dtype)
    return state


@pytest.fixture(scope="module")
def given(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    return {
        "whisper": layouts.whisper_folder(tmp_path_factory.mktemp("whisper")),
        "llada": layouts.llada_folder(tmp_path_factory.mktemp("llada")),
    }


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16], ids=str)
@pytest.mark.parametrize("lora", [False, True])
def test_only_what_trained_is_taken(
    tmp_path: Path, given: dict[str, Path], lora: bool, dtype: torch.dtype
) -> None:
    stage = 3 if lora else 2
    trained = {**layouts.adapter_tensors(), **(layouts.lora_tensors() if lora else {})}
    alone = load_diffa(layouts.diffa_folder(tmp_path / "a", trained), **given, stage=stage)
    whole = layouts.diffa_folder(tmp_path / "b", full_checkpoint(lora, dtype))
    model = load_diffa(whole, **given, stage=stage)
    expected = alone.state_dict()
    assert model.state_dict().keys() == expected.keys()
    for name, tensor in model.state_dict().items():
        assert torch.equal(tensor, expected[name]), name


@pytest.mark.parametrize(
    ("name", "what"),
    [
        ("whisper_model.layers.0.fc1.weight", "whisper"),
        ("llm_model.model.transformer.blocks.1.ff_out.weight", "llada"),
    ],
)
def test_another_frozen_part_is_refused(
    tmp_path: Path, given: dict[str, Path], name: str, what: str
) -> None:
    state = full_checkpoint(False, torch.float32)
    changes = {
        "differs": state[name] + 0.1 * torch.randn_like(state[name]),
        "here": state[name][:-1],
    }
    for message, tensor in changes.items():
        folder = layouts.diffa_folder(tmp_path / message, {**state, name: tensor})
        with pytest.raises(CheckpointError, match=rf"{what}.*{message}"):
            load_diffa(folder, **given)
    folder = layouts.diffa_folder(tmp_path / "more", {**state, name.replace("1", "9"): tensor})
    if "1" in name:
        with pytest.raises(CheckpointError, match="unknown tensors"):
            load_diffa(folder, **given)


def test_names_that_belong_to_no_part_are_refused() -> None:
    with pytest.raises(CheckpointError, match="expected a tensor of LLaDA"):
        split_frozen({"llm_model.lm_head.weight": torch.zeros(1)})
