"""Weights in 8 bits: how much is lost, and what is refused."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file

from dllm_audio import AudioDiffusionLM
from dllm_audio.errors import CheckpointError
from dllm_audio.weights import is_packed, packed, unpacked
from small_parts import character_tokenizer, small_model

SHAPES = st.lists(st.integers(1, 7), min_size=0, max_size=3)
TYPES = st.sampled_from([torch.float32, torch.float16, torch.bfloat16, torch.int64])


@given(SHAPES, TYPES, st.integers(0, 99), st.sampled_from([0.0, 1e-4, 1.0, 300.0]))
def test_every_value_comes_back_within_half_a_step_of_its_row(shape, dtype, seed, size) -> None:
    generator = torch.Generator().manual_seed(seed)
    tensor = (size * torch.randn(shape, generator=generator)).to(dtype)
    found = packed({"w": tensor})
    assert is_packed(found) == (tensor.is_floating_point() and tensor.dim() > 1)
    [(name, back)] = unpacked(reversed(found.items()), "here")
    assert name == "w"
    if not is_packed(found):
        assert torch.equal(back, tensor)
        return
    rows = tensor.float().flatten(1)
    step = rows.abs().amax(dim=1, keepdim=True) / 127
    assert ((back.flatten(1) - rows).abs() <= 0.5001 * step + 1e-12).all()


def test_rows_differ_in_scale_and_not_in_precision() -> None:
    tensor = torch.tensor([[1.0, 0.5, -0.25], [1000.0, 500.0, -250.0]])
    [(_, back)] = unpacked(packed({"w": tensor}).items(), "here")
    torch.testing.assert_close(1000 * back[0], back[1])


@pytest.mark.parametrize(
    "weights",
    [
        {"w": torch.zeros(2, 3, dtype=torch.int8)},
        {"w": torch.zeros(2, 3, dtype=torch.int8), "w_scale": torch.zeros(3)},
        {"w": torch.zeros(2, 3), "w_scale": torch.zeros(2), "v": torch.zeros(2, dtype=torch.int8)},
    ],
    ids=["no scale", "a scale too long", "another one without"],
)
def test_what_cannot_be_read_is_named(weights: dict[str, torch.Tensor]) -> None:
    with pytest.raises(CheckpointError, match=r"here: [wv]"):
        list(unpacked(weights.items(), "here"))


def test_a_weight_of_somebody_that_is_called_a_scale_is_kept() -> None:
    weights = {"w": torch.ones(2, 3), "w_scale": torch.ones(2), "a_scale": torch.ones(1)}
    assert dict(unpacked(weights.items(), "here")).keys() == weights.keys()


def test_a_model_in_8_bits_loads_like_any_other(tmp_path) -> None:
    model = small_model(character_tokenizer())
    model.save_pretrained(tmp_path, storage_dtype=torch.int8)
    stored = load_file(tmp_path / "model.safetensors")
    assert {t.dtype for t in stored.values() if t.dim() > 1} == {torch.int8}
    expected = dict(unpacked(packed(model.state_dict()).items(), "here"))
    for options in ({}, {"device_map": "cpu"}, {"device_map": "auto"}):
        found = AudioDiffusionLM.from_pretrained(tmp_path, **options).state_dict()
        assert found.keys() == model.state_dict().keys()
        for name, tensor in found.items():
            assert torch.equal(tensor, expected[name].to(tensor.dtype)), (name, options)


def test_damaged_files_are_refused_by_the_names_of_their_weights(tmp_path) -> None:
    small_model(character_tokenizer()).save_pretrained(tmp_path, storage_dtype=torch.int8)
    path = tmp_path / "model.safetensors"
    stored = load_file(path)
    name = next(name for name in stored if name.endswith("_scale"))
    del stored[name]
    save_file(stored, path)
    with pytest.raises(CheckpointError, match=name.removesuffix("_scale")):
        AudioDiffusionLM.from_pretrained(tmp_path)
