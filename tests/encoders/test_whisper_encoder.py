"""The encoder against parity data, transformers' own model, and its laws."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file
from torch import nn
from transformers import WhisperConfig, WhisperForConditionalGeneration, WhisperModel

from dllm_audio import LogMel, WhisperEncoder
from dllm_audio.errors import (
    CheckpointError,
    InvalidArgumentError,
    ShapeError,
    UnsafeCheckpointError,
)
from parity import load_golden, load_golden_json


def tiny_config(**changes) -> WhisperConfig:
    sizes = {
        "d_model": 16,
        "encoder_layers": 3,
        "encoder_attention_heads": 2,
        "encoder_ffn_dim": 40,
        "num_mel_bins": 20,
        "max_source_positions": 25,
        "vocab_size": 30,
        "decoder_layers": 1,
        "decoder_attention_heads": 2,
        "decoder_ffn_dim": 24,
        "max_target_positions": 8,
        "pad_token_id": 0,
        "bos_token_id": 1,
        "eos_token_id": 2,
        "decoder_start_token_id": 1,
    }
    return WhisperConfig(**(sizes | changes))


def features_for(encoder: WhisperEncoder, batch: int = 2) -> torch.Tensor:
    return torch.randn(batch, encoder.n_mels, encoder.window_frames)


def save_model(model: nn.Module, directory: Path, **options) -> Path:
    model.save_pretrained(directory, **options)
    return directory


@pytest.fixture
def saved(tmp_path) -> Path:
    return save_model(WhisperForConditionalGeneration(tiny_config()), tmp_path / "whole")


def rewrite(directory: Path, **changes: torch.Tensor | None) -> None:
    """Replace (or with None remove) tensors of a checkpoint."""
    tensors = load_file(directory / "model.safetensors") | changes
    kept = {name: tensor for name, tensor in tensors.items() if tensor is not None}
    save_file(kept, directory / "model.safetensors", metadata={"format": "pt"})


def test_parity(tmp_path):
    weights = load_golden("diffa_weights")
    prefix = "whisper_model."
    bare = {k.removeprefix(prefix): v for k, v in weights.items() if k.startswith(prefix)}
    save_file(bare, tmp_path / "model.safetensors")
    config = WhisperConfig(**load_golden_json("diffa_config")["whisper"])
    config.save_pretrained(tmp_path)
    encoder = WhisperEncoder.from_pretrained(tmp_path)

    io = load_golden("diffa_io")
    output = encoder(io["mel"], io["mel_mask"].sum(dim=-1))

    close = {"atol": 1e-4, "rtol": 1e-4}
    assert len(output.hidden_states) == 5
    for index, hidden in enumerate(output.hidden_states):
        torch.testing.assert_close(hidden, io[f"encoder_hidden.{index}"], **close)
    assert torch.equal(output.lengths, io["encoder_lengths"])
    torch.testing.assert_close(output.last_hidden_state, io["encoder_last"], **close)


@pytest.mark.parametrize("kind", ["whole", "base", "encoder", "sharded"])
def test_every_layout_of_transformers_gives_its_numbers(kind, tmp_path):
    whole = WhisperForConditionalGeneration(tiny_config()).eval()
    model = {"base": whole.model, "encoder": whole.model.encoder}.get(kind, whole)
    save_model(model, tmp_path, **({"max_shard_size": "8KB"} if kind == "sharded" else {}))
    assert (len(list(tmp_path.glob("*.safetensors"))) > 1) == (kind == "sharded")
    encoder = WhisperEncoder.from_pretrained(tmp_path)
    features = features_for(encoder)
    theirs = whole.model.encoder(features, output_hidden_states=True)
    ours = encoder(features, torch.tensor([50, 31]))
    assert torch.equal(ours.last_hidden_state, theirs.last_hidden_state)
    assert len(ours.hidden_states) == encoder.num_layers + 1
    for mine, original in zip(ours.hidden_states, theirs.hidden_states, strict=True):
        assert torch.equal(mine, original)


def test_hidden_states_are_numbered_by_layer():
    """0 after convolution and positions, i after layer i, the last after the final norm."""
    encoder = WhisperEncoder(tiny_config())
    # Random biases too, because fresh ones are zero and would hide a forgotten norm.
    with torch.no_grad():
        for parameter in encoder.parameters():
            parameter.copy_(torch.randn_like(parameter) * 0.3)
    features = features_for(encoder)
    output = encoder(features, torch.tensor([50, 50]))
    module = encoder.model
    expected = nn.functional.gelu(module.conv2(nn.functional.gelu(module.conv1(features))))
    expected = expected.transpose(1, 2) + module.embed_positions.weight
    for index, layer in enumerate(module.layers):
        torch.testing.assert_close(output.hidden_states[index], expected)
        expected = layer(expected, None)
    expected = module.layer_norm(expected)
    torch.testing.assert_close(output.hidden_states[-1], expected)
    assert torch.equal(output.hidden_states[-1], output.last_hidden_state)


@settings(max_examples=15)
@given(lengths=st.lists(st.integers(1, 50), min_size=1, max_size=4))
def test_lengths_are_those_of_the_strided_convolution(lengths):
    encoder = _ENCODER
    features = torch.zeros(len(lengths), encoder.n_mels, encoder.window_frames)
    output = encoder(features, torch.tensor(lengths))
    assert output.lengths.dtype == torch.int64
    for length, frames in zip(output.lengths.tolist(), lengths, strict=True):
        convolved = encoder.model.conv2(torch.zeros(1, encoder.hidden_size, frames))
        assert length == convolved.shape[-1]
    assert output.last_hidden_state.shape == (len(lengths), max(output.lengths), 16)
    for hidden in output.hidden_states:
        assert hidden.shape == (len(lengths), 25, 16)


@settings(max_examples=10)
@given(lengths=st.lists(st.integers(1, 50), min_size=2, max_size=4))
def test_an_item_does_not_depend_on_its_batch(lengths):
    features = features_for(_ENCODER, len(lengths))
    together = _ENCODER(features, torch.tensor(lengths))
    for index, length in enumerate(lengths):
        alone = _ENCODER(features[index : index + 1], torch.tensor([length]))
        valid = int(alone.lengths)
        torch.testing.assert_close(
            together.last_hidden_state[index, :valid], alone.last_hidden_state[0], atol=1e-5, rtol=0
        )
        for mine, whole in zip(alone.hidden_states, together.hidden_states, strict=True):
            torch.testing.assert_close(whole[index], mine[0], atol=1e-5, rtol=0)


_ENCODER = WhisperEncoder(tiny_config())


def test_padding_is_heard_as_in_training():
    """Whisper runs without a mask: frames beyond the length reach those before it."""
    encoder = WhisperEncoder(tiny_config())
    features = features_for(encoder, 1)
    other = features.clone()
    other[..., 40:] += 5.0
    lengths = torch.tensor([20])
    difference = (
        encoder(features, lengths).last_hidden_state - encoder(other, lengths).last_hidden_state
    )
    assert difference.abs().max() > 1e-6


def test_its_front_end_is_the_log_mel_of_its_window():
    encoder = WhisperEncoder(tiny_config(max_source_positions=75))
    assert (encoder.window_frames, encoder.window_seconds) == (150, 1.5)
    log_mel = LogMel(encoder.n_mels, chunk_length=encoder.window_seconds)
    waveforms = [torch.randn(24_000), torch.randn(8000)]
    features, lengths = encoder.features(waveforms)
    assert torch.equal(features, log_mel(waveforms)[0])
    assert torch.equal(lengths, log_mel(waveforms)[1])
    assert encoder(features, lengths).lengths.tolist() == [75, 25]
    assert [encoder.num_frames(len(waveform)) for waveform in waveforms] == [75, 25]


def test_reports_its_sizes():
    config = tiny_config()
    encoder = WhisperEncoder(config)
    sizes = (encoder.hidden_size, encoder.num_layers, encoder.num_heads, encoder.n_mels)
    assert sizes == (16, 3, 2, 20)
    assert encoder.config.to_dict() == config.to_dict()
    assert encoder.config is not config


def test_frozen_by_default():
    encoder = WhisperEncoder(tiny_config(dropout=0.5, attention_dropout=0.5))
    wrapped = nn.Sequential(encoder).train()
    assert not encoder.trainable
    assert not any(module.training for module in encoder.modules())
    assert not any(parameter.requires_grad for parameter in wrapped.parameters())
    features, lengths = features_for(encoder), torch.tensor([50, 50])
    first, second = (encoder(features, lengths).last_hidden_state for _ in range(2))
    assert torch.equal(first, second)
    assert not first.requires_grad


def test_gradients_pass_through_a_frozen_encoder():
    encoder = WhisperEncoder(tiny_config())
    features = features_for(encoder).requires_grad_()
    encoder(features, torch.tensor([50, 50])).last_hidden_state.square().sum().backward()
    assert features.grad.abs().sum() > 0


def test_can_be_trained_and_frozen_again():
    encoder = WhisperEncoder(tiny_config(), trainable=True)
    assert encoder.training
    positions = encoder.model.embed_positions.weight.clone()
    features, lengths = features_for(encoder), torch.tensor([50, 50])
    target = torch.randn(2, 25, 16)
    optimizer = torch.optim.Adam(encoder.parameters(), lr=1e-2)
    losses = []
    for _ in range(30):
        output = encoder(features, lengths)
        loss = sum((hidden - target).square().mean() for hidden in output.hidden_states)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(float(loss.detach()))
    assert losses[-1] < 0.8 * losses[0]
    missing = [name for name, p in encoder.named_parameters() if p.requires_grad and p.grad is None]
    assert not missing
    assert torch.equal(positions, encoder.model.embed_positions.weight)
    encoder.requires_grad_(False)
    encoder.train()
    assert not encoder.training


def test_gradient_checkpointing_changes_nothing():
    encoder = WhisperEncoder(tiny_config(), trainable=True)
    features, lengths = features_for(encoder), torch.tensor([50, 30])

    def gradients() -> list[torch.Tensor]:
        encoder.zero_grad()
        output = encoder(features, lengths)
        sum(hidden.square().sum() for hidden in output.hidden_states).backward()
        return [p.grad.clone() for p in encoder.parameters() if p.requires_grad]

    plain = gradients()
    model = encoder.model
    getattr(model, "activation_checkpointing_enable", model.gradient_checkpointing_enable)()
    torch.testing.assert_close(gradients(), plain)


def test_dropout_acts_in_training_only():
    encoder = WhisperEncoder(tiny_config(dropout=0.5), trainable=True)
    features, lengths = features_for(encoder), torch.tensor([50, 50])

    def repeats() -> bool:
        runs = [encoder(features, lengths).last_hidden_state for _ in range(2)]
        return torch.equal(*runs)

    assert not repeats()
    encoder.eval()
    assert repeats()


def test_only_the_encoder_is_read(saved):
    """A decoder that is missing or broken does not matter: it is neither read nor built."""
    expected = WhisperEncoder.from_pretrained(saved).state_dict()
    decoder = [k for k in load_file(saved / "model.safetensors") if ".decoder." in k]
    assert decoder
    rewrite(saved, **dict.fromkeys(decoder[1:]), **{decoder[0]: torch.zeros(3)})
    loaded = WhisperEncoder.from_pretrained(saved)
    assert all(torch.equal(loaded.state_dict()[name], expected[name]) for name in expected)
    assert not any("decoder" in name for name, _ in loaded.named_modules())


@pytest.mark.parametrize(
    ("dtype", "expected"),
    [(torch.float32, torch.float32), (None, torch.float16), (torch.bfloat16, torch.bfloat16)],
)
def test_dtype(saved, dtype, expected):
    half = {k: v.half() for k, v in load_file(saved / "model.safetensors").items()}
    rewrite(saved, **half)
    encoder = WhisperEncoder.from_pretrained(saved, dtype=dtype)
    assert {parameter.dtype for parameter in encoder.parameters()} == {expected}
    output = encoder(features_for(encoder), torch.tensor([50, 50]))
    assert output.last_hidden_state.dtype == expected
    assert output.last_hidden_state.isfinite().all()


def test_loaded_encoders_are_frozen_unless_asked(saved):
    assert not WhisperEncoder.from_pretrained(saved).trainable
    encoder = WhisperEncoder.from_pretrained(saved, trainable=True)
    frozen = [name for name, p in encoder.named_parameters() if not p.requires_grad]
    assert encoder.training
    assert frozen == ["model.embed_positions.weight"]


def test_missing_tensors_are_named(saved):
    rewrite(saved, **{"model.encoder.conv1.weight": None, "model.encoder.layers.1.fc2.bias": None})
    with pytest.raises(CheckpointError, match=r"2 tensors.*conv1\.weight.*layers\.1\.fc2\.bias"):
        WhisperEncoder.from_pretrained(saved)


def test_tensors_of_the_wrong_shape_are_named(saved):
    rewrite(saved, **{"model.encoder.layer_norm.bias": torch.zeros(17)})
    with pytest.raises(CheckpointError, match=r"layer_norm\.bias.*\[16\].*\[17\]"):
        WhisperEncoder.from_pretrained(saved)


def test_tensors_that_do_not_belong_are_named(saved):
    rewrite(saved, **{"model.encoder.layers.3.fc1.weight": torch.zeros(40, 16)})
    with pytest.raises(CheckpointError, match=r"layers\.3\.fc1\.weight"):
        WhisperEncoder.from_pretrained(saved)


def test_a_shard_outside_the_directory_is_refused(tmp_path):
    model = WhisperModel(tiny_config())
    directory = save_model(model, tmp_path / "model", max_shard_size="8KB")
    index = directory / "model.safetensors.index.json"
    content = json.loads(index.read_text())
    content["weight_map"] = dict.fromkeys(content["weight_map"], "../other.safetensors")
    index.write_text(json.dumps(content))
    with pytest.raises(UnsafeCheckpointError):
        WhisperEncoder.from_pretrained(directory)


def test_other_models_and_missing_directories(saved, tmp_path):
    config = json.loads((saved / "config.json").read_text())
    (saved / "config.json").write_text(json.dumps(config | {"model_type": "wav2vec2"}))
    with pytest.raises(CheckpointError, match=r"'whisper', got 'wav2vec2'"):
        WhisperEncoder.from_pretrained(saved)
    (saved / "config.json").unlink()
    with pytest.raises(CheckpointError, match=r"config\.json"):
        WhisperEncoder.from_pretrained(saved)
    with pytest.raises(CheckpointError, match="nowhere"):
        WhisperEncoder.from_pretrained(tmp_path / "nowhere")


@pytest.mark.parametrize("field", ["d_model", "encoder_layers", "num_mel_bins"])
@pytest.mark.parametrize("value", ["many", 0, -3, None, 1.5])
def test_damaged_configs(saved, field, value):
    config = json.loads((saved / "config.json").read_text())
    (saved / "config.json").write_text(json.dumps(config | {field: value}))
    with pytest.raises(CheckpointError, match=rf"config.*{field}"):
        WhisperEncoder.from_pretrained(saved)


def test_heads_that_do_not_divide_the_width(saved):
    config = json.loads((saved / "config.json").read_text())
    (saved / "config.json").write_text(json.dumps(config | {"encoder_attention_heads": 3}))
    with pytest.raises(CheckpointError, match="encoder_attention_heads"):
        WhisperEncoder.from_pretrained(saved)


def test_wrong_features():
    encoder, lengths = WhisperEncoder(tiny_config()), torch.tensor([50, 50])
    for shape in [(2, 20, 49), (2, 21, 50), (20, 50), (2, 1, 20, 50)]:
        with pytest.raises(ShapeError, match=r"features: expected shape \[B, 20, 50\]"):
            encoder(torch.zeros(shape), lengths)
    for shape in [(2,), (3, 1), (1,)]:
        with pytest.raises(ShapeError, match=r"lengths: expected shape \[3\]"):
            encoder(torch.zeros(3, 20, 50), torch.ones(shape, dtype=torch.int64))
    with pytest.raises(ShapeError, match="features"):
        encoder(torch.zeros(0, 20, 50), torch.zeros(0, dtype=torch.int64))
    with pytest.raises(InvalidArgumentError, match="features: expected floating point"):
        encoder(torch.zeros(2, 20, 50, dtype=torch.int64), lengths)
    for dtype in (torch.float32, torch.bool):
        with pytest.raises(InvalidArgumentError, match="lengths: expected integers"):
            encoder(torch.zeros(2, 20, 50), lengths.to(dtype))
    for length in (0, -1, 51):
        with pytest.raises(InvalidArgumentError, match="lengths: expected 1 to 50"):
            encoder(torch.zeros(2, 20, 50), torch.tensor([50, length]))


def test_wrong_configs():
    with pytest.raises(InvalidArgumentError, match="encoder_layerdrop"):
        WhisperEncoder(tiny_config(encoder_layerdrop=0.1))
    with pytest.raises(InvalidArgumentError, match="a WhisperConfig"):
        WhisperEncoder({"d_model": 16})


@pytest.mark.cuda
def test_runs_on_a_gpu(saved):
    encoder = WhisperEncoder.from_pretrained(saved, device="cuda")
    features, lengths = features_for(encoder), torch.tensor([50, 30])
    output = encoder(features.cuda(), lengths)
    expected = WhisperEncoder.from_pretrained(saved)(features, lengths)
    assert output.lengths.is_cuda
    torch.testing.assert_close(
        output.last_hidden_state.cpu(), expected.last_hidden_state, atol=1e-4, rtol=1e-4
    )


def test_a_folder_with_a_pickle_alone_is_read_without_running_code(saved: Path) -> None:
    expected = WhisperEncoder.from_pretrained(saved).state_dict()
    weights = load_file(saved / "model.safetensors")
    (saved / "model.safetensors").unlink()
    torch.save(weights, saved / "pytorch_model.bin")
    read = WhisperEncoder.from_pretrained(saved).state_dict()
    assert read.keys() == expected.keys()
    assert all(torch.equal(read[name], expected[name]) for name in expected)
    torch.save({"model.encoder.conv1.bias": Path("x")}, saved / "pytorch_model.bin")
    with pytest.raises(UnsafeCheckpointError, match="pytorch_model"):
        WhisperEncoder.from_pretrained(saved)
    (saved / "pytorch_model.bin").unlink()
    torch.save(weights, saved.parent / "outside.bin")
    (saved / "pytorch_model.bin").symlink_to(saved.parent / "outside.bin")
    with pytest.raises(UnsafeCheckpointError, match="outside its folder"):
        WhisperEncoder.from_pretrained(saved)
