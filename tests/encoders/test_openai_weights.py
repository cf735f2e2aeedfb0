"""openai-whisper weights give openai-whisper's numbers, and the same as transformers' layout."""

from __future__ import annotations

from dataclasses import asdict

import pytest
import torch
import whisper
from safetensors.torch import save_file
from transformers import WhisperConfig

from dllm_audio import WhisperEncoder
from dllm_audio.encoders.names import from_hub_name, from_openai_name
from dllm_audio.encoders.openai import openai_config
from dllm_audio.errors import CheckpointError, InvalidArgumentError, UnsafeCheckpointError

DIMS = whisper.model.ModelDimensions(
    n_mels=20,
    n_audio_ctx=30,
    n_audio_state=24,
    n_audio_head=3,
    n_audio_layer=3,
    n_vocab=40,
    n_text_ctx=8,
    n_text_state=24,
    n_text_head=3,
    n_text_layer=1,
)


@pytest.fixture
def original() -> whisper.model.Whisper:
    model = whisper.model.Whisper(DIMS).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(torch.randn_like(parameter) * 0.3)
    return model


def checkpoint(model: whisper.model.Whisper) -> dict:
    return {"dims": asdict(model.dims), "model_state_dict": model.state_dict()}


def test_gives_the_originals_numbers_at_every_layer(original):
    encoder = WhisperEncoder.from_openai(original)
    features = torch.randn(2, 20, 60)
    seen: list[torch.Tensor] = []
    for block in original.encoder.blocks:
        block.register_forward_pre_hook(lambda _, args: seen.append(args[0]))
    expected = [*seen, original.encoder(features)]
    expected = [*seen, expected[-1]]
    output = encoder(features, torch.tensor([60, 59]))
    for mine, theirs in zip(output.hidden_states, expected, strict=True):
        torch.testing.assert_close(mine, theirs, atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(output.last_hidden_state, expected[-1], atol=1e-4, rtol=1e-4)


def test_model_file_and_transformers_layout_are_bit_equal(original, tmp_path):
    """The same weights from three sources give the same numbers."""
    path = tmp_path / "tiny.pt"
    torch.save(checkpoint(original), path)
    hub = tmp_path / "hub"
    hub.mkdir()
    state = original.encoder.state_dict()
    save_file(
        {"model.encoder." + from_openai_name(name): tensor for name, tensor in state.items()},
        hub / "model.safetensors",
    )
    openai_config(asdict(DIMS), "dims").save_pretrained(hub)
    encoders = [
        WhisperEncoder.from_openai(original),
        WhisperEncoder.from_openai(path),
        WhisperEncoder.from_openai(str(path)),
        WhisperEncoder.from_pretrained(hub),
    ]
    features, lengths = torch.randn(1, 20, 60), torch.tensor([60])
    outputs = [encoder(features, lengths).last_hidden_state for encoder in encoders]
    assert all(torch.equal(outputs[0], other) for other in outputs[1:])


def test_names_cover_the_encoder_exactly(original):
    """Every tensor of one layout has its own place in the other."""
    ours = set(WhisperEncoder.from_openai(original).model.state_dict())
    mapped = [from_openai_name(name) for name in original.encoder.state_dict()]
    assert len(mapped) == len(ours)
    assert set(mapped) == ours


def test_hub_names():
    assert from_hub_name("model.encoder.layers.0.fc1.bias") == "layers.0.fc1.bias"
    assert from_hub_name("encoder.conv1.weight") == "conv1.weight"
    assert from_hub_name("conv1.weight") == "conv1.weight"
    for name in (
        "model.decoder.layers.0.fc1.bias",
        "decoder.embed_tokens.weight",
        "proj_out.weight",
    ):
        assert from_hub_name(name) is None


def test_the_model_is_copied_not_shared(original):
    encoder = WhisperEncoder.from_openai(original, trainable=True)
    before = original.encoder.conv1.weight.clone()
    with torch.no_grad():
        for parameter in encoder.parameters():
            parameter.zero_()
    assert torch.equal(original.encoder.conv1.weight, before)


def test_frozen_unless_asked_and_cast(original, tmp_path):
    assert not WhisperEncoder.from_openai(original).trainable
    assert WhisperEncoder.from_openai(original, trainable=True).training
    path = tmp_path / "half.pt"
    torch.save(checkpoint(original.half()), path)
    for dtype, expected in [(torch.float32,) * 2, (torch.bfloat16,) * 2, (None, torch.float16)]:
        encoder = WhisperEncoder.from_openai(path, dtype=dtype)
        assert {parameter.dtype for parameter in encoder.parameters()} == {expected}


def test_official_names_go_through_openai_whisper(original, monkeypatch):
    asked = []
    monkeypatch.setattr(
        whisper, "load_model", lambda name, device: asked.append((name, device)) or original
    )
    encoder = WhisperEncoder.from_openai("large-v3")
    assert asked == [("large-v3", "cpu")]
    assert torch.equal(encoder.model.conv1.weight, original.encoder.conv1.weight)


def test_a_failed_download_is_a_checkpoint_error(monkeypatch):
    def fail(name, device):
        raise RuntimeError("the SHA256 checksum does not match")

    monkeypatch.setattr(whisper, "load_model", fail)
    with pytest.raises(CheckpointError, match=r"tiny: cannot be downloaded.*SHA256"):
        WhisperEncoder.from_openai("tiny")


def test_unknown_names_and_objects():
    with pytest.raises(InvalidArgumentError, match=r"name_or_model: .*large-v3.*'gigantic'"):
        WhisperEncoder.from_openai("gigantic")
    for thing in (None, 3, torch.nn.Linear(2, 2), WhisperConfig()):
        with pytest.raises(InvalidArgumentError, match="name_or_model"):
            WhisperEncoder.from_openai(thing)


class _RunsCode:
    def __reduce__(self):
        return (pytest.fail, ("code ran while loading",))


def test_a_file_with_code_is_refused(original, tmp_path):
    path = tmp_path / "hostile.pt"
    torch.save(checkpoint(original) | {"extra": _RunsCode()}, path)
    with pytest.raises(UnsafeCheckpointError, match=r"hostile\.pt"):
        WhisperEncoder.from_openai(path)


@pytest.mark.parametrize("content", [b"", b"not a checkpoint", b"PK\x03\x04" + b"\0" * 50])
def test_damaged_files(tmp_path, content):
    path = tmp_path / "damaged.pt"
    path.write_bytes(content)
    with pytest.raises(CheckpointError, match=r"damaged\.pt"):
        WhisperEncoder.from_openai(path)


def test_truncated_file(original, tmp_path):
    path = tmp_path / "short.pt"
    torch.save(checkpoint(original), path)
    path.write_bytes(path.read_bytes()[:-2000])
    with pytest.raises(CheckpointError, match=r"short\.pt"):
        WhisperEncoder.from_openai(path)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"model_state_dict": None}, "model_state_dict"),
        ({"dims": [1, 2]}, "dims"),
        ({"dims": asdict(DIMS) | {"n_mels": 0}}, "n_mels"),
        ({"dims": asdict(DIMS) | {"n_audio_state": "24"}}, "n_audio_state"),
        ({"dims": asdict(DIMS) | {"n_audio_layer": 4}}, "layers.3"),
        ({"dims": asdict(DIMS) | {"n_audio_ctx": 31}}, "embed_positions"),
        ({"dims": asdict(DIMS) | {"n_audio_head": 5}}, "encoder_attention_heads"),
    ],
)
def test_incomplete_files(original, tmp_path, change, message):
    path = tmp_path / "odd.pt"
    torch.save(checkpoint(original) | change, path)
    with pytest.raises(CheckpointError, match=message):
        WhisperEncoder.from_openai(path)


@pytest.mark.parametrize("name", ["encoder.ln_post.bias", "encoder.blocks.1.attn.key.weight"])
def test_missing_tensors_are_named(original, tmp_path, name):
    content = checkpoint(original)
    del content["model_state_dict"][name]
    path = tmp_path / "gap.pt"
    torch.save(content, path)
    expected = from_openai_name(name.removeprefix("encoder."))
    with pytest.raises(CheckpointError, match=rf"missing: {expected}"):
        WhisperEncoder.from_openai(path)
