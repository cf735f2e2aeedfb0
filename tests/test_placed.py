"""Loading through transformers: spread over devices, or quantized; as strict as our own reader."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from dllm_audio import AudioDiffusionLM, LLaDA
from dllm_audio.errors import CheckpointError, InvalidArgumentError
from dllm_audio.toy import clips, small_model
from dllm_audio.toy.shipped import SMALL_MODEL
from small_parts import character_tokenizer
from small_parts import small_model as random_model


def questions() -> dict[str, list]:
    found = [(clip.path, clip.questions[0].prompt) for clip in clips()]
    return {"audio": [path for path, _ in found], "prompts": [prompt for _, prompt in found]}


def test_a_device_map_changes_nothing() -> None:
    placed = AudioDiffusionLM.from_pretrained(SMALL_MODEL, device_map={"": "cpu"})
    spread = AudioDiffusionLM.from_pretrained(SMALL_MODEL, device_map="auto")
    expected = small_model().state_dict()
    for model in (placed, spread):
        for name, tensor in model.state_dict().items():
            assert torch.equal(tensor.cpu(), expected[name]), name
    answers = small_model().generate(**questions()).texts
    assert placed.generate(**questions()).texts == answers


def test_it_is_as_strict(tmp_path: Path) -> None:
    random_model(character_tokenizer()).save_pretrained(tmp_path)
    weights = load_file(tmp_path / "model.safetensors")
    name = next(iter(weights))
    for state in (
        {n: t for n, t in weights.items() if n != name},
        {**weights, "extra": torch.zeros(1)},
        {**weights, name: torch.zeros(1, 1, 1)},
    ):
        save_file(state, tmp_path / "model.safetensors", {"format": "pt"})
        with pytest.raises(CheckpointError):
            AudioDiffusionLM.from_pretrained(tmp_path, device_map="auto")


@pytest.mark.parametrize("load", [AudioDiffusionLM.from_pretrained, LLaDA.from_pretrained])
def test_unknown_options_and_code_are_refused(load, tmp_path: Path) -> None:
    with pytest.raises(InvalidArgumentError, match="trust_remote_code"):
        load(tmp_path, trust_remote_code=True)
    with pytest.raises(InvalidArgumentError, match="device"):
        load(tmp_path, device="cpu")


def test_eight_bits_give_the_same_answers() -> None:
    quantization = pytest.importorskip("torchao.quantization", reason="torchao is not installed")
    from transformers import TorchAoConfig

    eight = AudioDiffusionLM.from_pretrained(
        SMALL_MODEL, quantization_config=TorchAoConfig(quantization.Int8WeightOnlyConfig())
    )
    assert any(type(p.data) is not torch.Tensor for p in eight.backbone.parameters())
    assert eight.generate(**questions()).texts == small_model().generate(**questions()).texts
