"""Conversion between containers changes nothing but the container."""

from __future__ import annotations

import os

import published_layouts as layouts
import pytest
import torch
from safetensors.torch import load_file, save_file

from dllm_audio import load_diffa
from dllm_audio.checkpoints import convert, convert_checkpoint
from dllm_audio.errors import CheckpointError, InvalidArgumentError, UnsafeCheckpointError


def bits(tensor: torch.Tensor) -> bytes:
    return tensor.contiguous().reshape(-1).view(torch.uint8).numpy().tobytes()


def assert_same(some: dict[str, torch.Tensor], others: dict[str, torch.Tensor]) -> None:
    assert some.keys() == others.keys()
    for name, tensor in some.items():
        assert (tensor.dtype, tensor.shape) == (others[name].dtype, others[name].shape)
        assert bits(tensor) == bits(others[name])


def odd_tensors() -> dict[str, torch.Tensor]:
    """Whatever is easily lost: NaN bits, views, shared storage, scalars, dtypes, order."""
    base = torch.randn(4, 6)
    nan = torch.tensor([0x7FC12345, 0x7F800001, -1], dtype=torch.int32).view(torch.float32)
    return {
        "z": base.T,
        "a": base[1:, ::2],
        "m": nan,
        "scalar": torch.tensor(-0.0),
        "empty": torch.zeros(0, 5),
        "half": torch.randn(3).half(),
        "brain": torch.randn(3).bfloat16(),
        "long": torch.tensor([2**62]),
    }


def test_round_trip_is_bit_equal(tmp_path):
    source = layouts.diffa_2_folder(tmp_path / "published")
    written = convert_checkpoint(source, tmp_path / "safe")
    assert written == [tmp_path / "safe" / f / "model.safetensors" for f in ("", "stage1")]
    back = convert_checkpoint(tmp_path / "safe", tmp_path / "back", to="published")
    assert back == [tmp_path / "back" / f / "pytorch_model.bin" for f in ("", "stage1")]
    for folder in (".", "stage1"):
        before = torch.load(source / folder / "pytorch_model.bin", weights_only=True)
        assert_same(load_file(tmp_path / "safe" / folder / "model.safetensors"), before)
        after = torch.load(tmp_path / "back" / folder / "pytorch_model.bin", weights_only=True)
        assert_same(after, before)
        assert list(after) == list(before)
        for target in ("safe", "back"):
            config = (tmp_path / target / folder / "config.json").read_bytes()
            assert config == (source / folder / "config.json").read_bytes()
    first, last = (tmp_path / f / "pytorch_model.bin" for f in ("published", "back"))
    assert first.read_bytes() == last.read_bytes()


def test_odd_tensors_survive(tmp_path):
    layouts.diffa_folder(tmp_path / "a", odd_tensors())
    convert_checkpoint(tmp_path / "a", tmp_path / "b")
    convert_checkpoint(tmp_path / "b", tmp_path / "c", to="published")
    before = torch.load(tmp_path / "a" / "pytorch_model.bin", weights_only=True)
    after = torch.load(tmp_path / "c" / "pytorch_model.bin", weights_only=True)
    assert_same(after, before)
    assert list(after) == list(before)


def test_a_converted_folder_loads_to_the_same_model(tmp_path):
    source = layouts.diffa_2_folder(tmp_path / "published")
    convert_checkpoint(source, tmp_path / "safe")
    parts = {
        "whisper": layouts.whisper_folder(tmp_path / "whisper"),
        "llada": layouts.llada_folder(tmp_path / "llada"),
    }
    for stage in (1, 4):
        models = [load_diffa(f, **parts, stage=stage) for f in (source, tmp_path / "safe")]
        assert_same(models[0].state_dict(), models[1].state_dict())


def test_an_interrupted_run_is_repeated_and_goes_on(tmp_path, monkeypatch):
    source = layouts.diffa_2_folder(tmp_path / "published")
    real = convert.save_file

    def fail_in_stage_1(tensors, path, **options):
        real(tensors, path, **options)
        if "stage1" in str(path):
            raise KeyboardInterrupt

    monkeypatch.setattr(convert, "save_file", fail_in_stage_1)
    with pytest.raises(KeyboardInterrupt):
        convert_checkpoint(source, tmp_path / "safe")
    assert [f.name for f in (tmp_path / "safe" / "stage1").iterdir()] == ["config.json"]
    monkeypatch.undo()
    convert_checkpoint(source, tmp_path / "safe")
    read = load_file(tmp_path / "safe" / "stage1" / "model.safetensors")
    assert_same(read, layouts.stage_1_tensors())


def test_other_weights_are_never_overwritten(tmp_path):
    source = layouts.diffa_folder(tmp_path / "published")
    (tmp_path / "safe").mkdir()
    save_file({"mine": torch.ones(1)}, tmp_path / "safe" / "model.safetensors")
    with pytest.raises(CheckpointError, match="other weights already"):
        convert_checkpoint(source, tmp_path / "safe")
    assert list(load_file(tmp_path / "safe" / "model.safetensors")) == ["mine"]


def test_arguments(tmp_path):
    source = layouts.diffa_folder(tmp_path / "published")
    with pytest.raises(InvalidArgumentError, match="to: expected one of"):
        convert_checkpoint(source, tmp_path / "x", to="gguf")
    with pytest.raises(InvalidArgumentError, match="target"):
        convert_checkpoint(source, source)
    with pytest.raises(CheckpointError, match="no such directory"):
        convert_checkpoint(tmp_path / "nothing", tmp_path / "x")
    (tmp_path / "empty").mkdir()
    with pytest.raises(CheckpointError, match="holds neither"):
        convert_checkpoint(tmp_path / "empty", tmp_path / "x")


def test_files_that_link_out_are_not_copied(tmp_path):
    source = layouts.diffa_folder(tmp_path / "published")
    (tmp_path / "secret.json").write_text('{"key": "private"}')
    os.symlink(tmp_path / "secret.json", source / "notes.json")
    with pytest.raises(UnsafeCheckpointError, match="outside its folder"):
        convert_checkpoint(source, tmp_path / "safe")
    assert not (tmp_path / "safe" / "notes.json").exists()


def test_a_small_pickle_does_not_become_a_large_file(tmp_path):
    """Three hundred million elements that are one stored number."""
    source = layouts.diffa_2_folder(tmp_path / "published")
    tensors = torch.load(source / "pytorch_model.bin", weights_only=True)
    tensors["trainable_prompts.weight"] = torch.ones(1, 1).expand(3 * 10**5, 1000)
    torch.save(tensors, source / "pytorch_model.bin")
    with pytest.raises(CheckpointError, match=r"pytorch_model\.bin: its tensors claim"):
        convert_checkpoint(source, tmp_path / "safe")
    assert not list(tmp_path.rglob("*.safetensors"))
