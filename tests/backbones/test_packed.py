"""Packed linear layers: the same model, the same tokens, and nothing lost on the way back."""

from __future__ import annotations

import copy
import pickle
import warnings
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from dllm_audio import (
    AudioDiffusionLM,
    CachedParallelSampler,
    LLaDA,
    LLaDAConfig,
    Threshold,
    condition,
)
from dllm_audio.backbones import can_pack, pack_weights, packed, unpack_weights
from dllm_audio.backbones.packed import PackedLinear
from dllm_audio.errors import InvalidArgumentError
from small_parts import character_tokenizer, small_model

pytestmark = pytest.mark.skipif(not can_pack(nn.Linear(1, 1)), reason="this PyTorch has no oneDNN")


def llada(**changes: bool) -> LLaDA:
    torch.manual_seed(0)
    config = LLaDAConfig(
        d_model=96, n_layers=2, n_heads=4, mlp_hidden_size=160, vocab_size=2100,
        mask_token_id=2099, eos_token_id=2098, init_std=0.2, **changes,
    )  # fmt: skip
    return LLaDA(config).eval()


def test_every_linear_layer_is_packed_and_says_the_same() -> None:
    ids = torch.randint(0, 2098, (3, 11))
    model = llada()
    expected = model(ids).logits
    assert pack_weights(model) is model
    assert not any(isinstance(module, nn.Linear) for module in model.modules())
    assert sum(isinstance(module, PackedLinear) for module in model.modules()) == 2 * 7 + 1
    assert not any(parameter.requires_grad for parameter in model.parameters())
    torch.testing.assert_close(model(ids).logits, expected, rtol=1e-5, atol=1e-5)


def test_tied_embeddings_stay_as_they_are() -> None:
    ids = torch.randint(0, 2098, (2, 5))
    model = llada(weight_tying=True)
    expected = model(ids).logits
    torch.testing.assert_close(pack_weights(model)(ids).logits, expected, rtol=1e-5, atol=1e-5)


def test_packing_and_unpacking_keeps_every_bit() -> None:
    model = llada()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    layers = [module for module in model.modules() if isinstance(module, nn.Linear)]
    pack_weights(model)
    given = model.state_dict()
    assert list(given) == list(before)
    assert all(torch.equal(given[name], before[name]) for name in before)
    unpack_weights(model)
    after = [module for module in model.modules() if isinstance(module, nn.Linear)]
    assert all(a is b for a, b in zip(layers, after, strict=True))
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())
    assert not any(parameter.requires_grad for parameter in model.parameters())


def test_a_bias_and_other_weights_can_be_loaded() -> None:
    x = torch.randn(7, 24)
    source, target = nn.Sequential(nn.Linear(24, 40)), nn.Sequential(nn.Linear(24, 40))
    pack_weights(target).load_state_dict(source.state_dict())
    with torch.no_grad():
        torch.testing.assert_close(target(x), source(x))
    with pytest.raises(RuntimeError, match=r"Missing key.*0\.weight"):
        target.load_state_dict({"0.bias": source[0].bias})
    with pytest.raises(RuntimeError, match=r"size mismatch for 0\.weight"):
        target.load_state_dict(nn.Sequential(nn.Linear(24, 39)).state_dict())
    target.load_state_dict(source.state_dict())  # what was refused left no trace
    with torch.no_grad():
        torch.testing.assert_close(target(x), source(x))


def test_a_copy_is_packed_and_independent() -> None:
    ids = torch.randint(0, 2098, (1, 4))
    model = pack_weights(llada())
    expected = model(ids).logits
    copied = copy.deepcopy(model)
    zeros = {name: torch.zeros_like(tensor) for name, tensor in model.state_dict().items()}
    model.load_state_dict(zeros)
    assert torch.equal(copied(ids).logits, expected)
    assert not model(ids).logits.any()


@given(rows=st.integers(1, 64), seed=st.integers(0, 1000))
def test_a_row_does_not_depend_on_the_others(rows: int, seed: int) -> None:
    """To the last bit, which PyTorch's own product of float32 matrices does not promise."""
    generator = torch.Generator().manual_seed(seed)
    layer = pack_weights(nn.Sequential(nn.Linear(96, 160, bias=False)))
    x = torch.randn(64, 96, generator=generator)
    with torch.no_grad():
        assert torch.equal(layer(x[:rows]), layer(x)[:rows])


@pytest.mark.parametrize("cache", [None, "prefix", "dual"])
def test_decoding_finds_the_same_tokens(cache: str | None) -> None:
    ids = torch.randint(0, 2098, (3, 12))
    sampler = CachedParallelSampler(16, 8, Threshold(0.6), cache)
    expected = sampler(condition(llada(), ids))
    found = sampler(condition(pack_weights(llada()), ids))
    assert torch.equal(found.tokens, expected.tokens)
    assert found.nfe == expected.nfe


def test_a_whole_model_answers_and_is_saved_as_before(tmp_path: Path) -> None:
    audio = [torch.sin(torch.arange(5000) * 0.2)]
    model = small_model(character_tokenizer()).eval()
    expected = model.generate(audio=audio, prompts=["What?"]).texts
    assert pack_weights(model).generate(audio=audio, prompts=["What?"]).texts == expected
    model.save_pretrained(tmp_path)
    loaded = AudioDiffusionLM.from_pretrained(tmp_path)
    given = model.state_dict()
    assert all(torch.equal(given[name], t) for name, t in loaded.state_dict().items())


def test_a_layer_in_two_places_stays_one() -> None:
    shared = nn.Linear(6, 6)
    model = nn.Sequential(shared, nn.Sequential(shared), shared)
    x = torch.randn(2, 6)
    expected = model(x)
    pack_weights(model)
    assert model[0] is model[2] is model[1][0]
    torch.testing.assert_close(model(x), expected)
    unpack_weights(model)
    assert model[0] is model[2] is model[1][0] is shared


def test_gradients_are_refused() -> None:
    layer = pack_weights(nn.Sequential(nn.Linear(4, 3)))
    with pytest.raises(InvalidArgumentError, match="inference"):
        layer(torch.zeros(2, 4, requires_grad=True))


def test_other_dtypes_are_refused() -> None:
    mixed = nn.Sequential(nn.Linear(4, 3), nn.Linear(3, 2, dtype=torch.bfloat16))
    assert not can_pack(mixed)
    with pytest.raises(InvalidArgumentError, match="float32 weights on the CPU"):
        pack_weights(mixed)
    assert all(isinstance(layer, nn.Linear) for layer in mixed)  # none of them was packed
    with pytest.raises(InvalidArgumentError, match="unpack_weights"):
        pack_weights(nn.Sequential(nn.Linear(4, 3))).to(torch.bfloat16)


def test_what_changes_nothing_is_not_refused() -> None:
    layers = pack_weights(nn.Sequential(nn.Linear(4, 3)))
    x = torch.randn(2, 4)
    expected = layers(x)
    assert torch.equal(layers.float().to("cpu").to(torch.float32)(x), expected)
    for refused in (layers.half, layers.double, lambda: layers.to("meta")):
        with pytest.raises(InvalidArgumentError, match="unpack_weights"):
            refused()
    assert torch.equal(layers(x), expected)
    assert unpack_weights(layers).half()[0].weight.dtype is torch.float16


def test_a_pickle_is_packed_and_independent() -> None:
    shared = nn.Linear(6, 6)
    model = pack_weights(nn.Sequential(shared, nn.Tanh(), shared, nn.Linear(6, 5, bias=False)))
    x = torch.randn(2, 6)
    expected = model(x)
    found = pickle.loads(pickle.dumps(model.eval()))
    assert found[0] is found[2]
    assert isinstance(found[0], PackedLinear)
    assert not found[0].training
    model.load_state_dict({name: torch.zeros_like(t) for name, t in model.state_dict().items()})
    assert torch.equal(found(x), expected)
    assert not any(parameter.requires_grad for parameter in unpack_weights(found).parameters())


def test_operators_that_are_missing_or_wrong_are_not_used(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    right = torch.ops.mkldnn._linear_pointwise

    def absent(*arguments: object) -> torch.Tensor:
        raise AttributeError("'_OpNamespace' 'mkldnn' object has no attribute")

    def wrong(*arguments: object) -> torch.Tensor:
        return right(*arguments) + 0.01

    x = torch.randn(2, 4)
    try:
        for operator in (absent, wrong):
            monkeypatch.setattr(torch.ops.mkldnn, "_linear_pointwise", operator)
            packed._operators_work.cache_clear()
            packed._warn_once.cache_clear()
            layers = nn.Sequential(nn.Linear(4, 3))
            expected = layers(x)
            assert not can_pack(layers)
            with pytest.warns(UserWarning, match="weights stay as they are"):
                assert pack_weights(layers) is layers
            with warnings.catch_warnings():
                warnings.simplefilter("error")
                pack_weights(layers)  # warned already
            assert type(layers[0]) is nn.Linear
            assert layers[0].weight.requires_grad
            assert torch.equal(layers(x), expected)
    finally:
        monkeypatch.undo()
        packed._operators_work.cache_clear()
        packed._warn_once.cache_clear()
    assert can_pack(nn.Linear(4, 3))
