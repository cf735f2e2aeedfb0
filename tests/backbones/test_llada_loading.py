"""Reading a LLaDA from a folder in the published layout, and its config."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from dllm_audio import LLaDA, LLaDAConfig
from dllm_audio.errors import CheckpointError, InvalidArgumentError
from parity import load_golden, load_golden_json
from small_parts import same, small_config, small_llada


def write_folder(root: Path, shards: int = 1, name: str = "llada", **changes: Any) -> Path:
    root.mkdir(exist_ok=True)
    config = {**load_golden_json(f"{name}_config"), **changes}
    (root / "config.json").write_text(json.dumps(config))
    weights = load_golden(f"{name}_weights")
    names = sorted(weights)
    if shards == 1:
        save_file(weights, root / "model.safetensors")
        return root
    weight_map = {}
    for i in range(shards):
        file = f"model-{i + 1:05d}-of-{shards:05d}.safetensors"
        save_file({n: weights[n] for n in names[i::shards]}, root / file)
        weight_map.update(dict.fromkeys(names[i::shards], file))
    index = {"metadata": {}, "weight_map": weight_map}
    (root / "model.safetensors.index.json").write_text(json.dumps(index))
    return root


@torch.no_grad()
@pytest.mark.parametrize("shards", [1, 3])
@pytest.mark.parametrize(("name", "logits"), [("llada", "logits"), ("llada_gqa", "gqa_logits")])
def test_a_published_folder_gives_the_logits_of_the_original(
    tmp_path: Path, shards: int, name: str, logits: str
) -> None:
    llada = LLaDA.from_pretrained(write_folder(tmp_path, shards, name))
    io = load_golden("llada_io")
    same(llada(io["input_ids"]).logits, io[logits], 1e-4)
    assert not llada.training


def test_dtype_and_device_are_chosen_at_load(tmp_path: Path) -> None:
    folder = write_folder(tmp_path)
    half = LLaDA.from_pretrained(folder, dtype=torch.bfloat16, device_map="cpu")
    assert {p.dtype for p in half.parameters()} == {torch.bfloat16}
    assert half.dtype == torch.bfloat16
    assert half.device == torch.device("cpu")
    expected = LLaDA.from_pretrained(folder).state_dict()
    for name, tensor in half.state_dict().items():
        assert torch.equal(tensor, expected[name].to(torch.bfloat16))
    assert not any(p.is_meta for p in half.parameters())


@torch.no_grad()
@pytest.mark.parametrize("stored_head", [False, True])
def test_tied_weights_load_with_or_without_a_stored_head(tmp_path: Path, stored_head: bool) -> None:
    tied = small_llada(weight_tying=True)
    state = {LLaDA.names.published(n): t.clone() for n, t in tied.state_dict().items()}
    if stored_head:
        state[LLaDA.names.published("ff_out.weight")] = tied.wte.weight.detach().clone()
    save_file(state, tmp_path / "model.safetensors")
    (tmp_path / "config.json").write_text(json.dumps(tied.config.to_dict()))
    ids = torch.arange(6)[None]
    assert torch.equal(LLaDA.from_pretrained(tmp_path)(ids).logits, tied(ids).logits)


def _drop(weights: dict) -> None:
    weights.popitem()


def _add(weights: dict) -> None:
    weights["model.transformer.blocks.9.q_proj.weight"] = torch.zeros(2)


def _foreign(weights: dict) -> None:
    weights["lm_head.weight"] = torch.zeros(2)


def _reshape(weights: dict) -> None:
    weights["model.transformer.wte.weight"] = torch.zeros(3, 64)


@pytest.mark.parametrize("damage", [_drop, _add, _foreign, _reshape])
def test_weights_that_do_not_fit_are_refused(tmp_path: Path, damage: Any) -> None:
    folder = write_folder(tmp_path)
    weights = load_golden("llada_weights")
    damage(weights)
    save_file(weights, folder / "model.safetensors")
    with pytest.raises(CheckpointError):
        LLaDA.from_pretrained(folder)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("activation_type", "gelu"),
        ("block_type", "sequential"),
        ("rope", False),
        ("alibi", True),
        ("include_bias", True),
        ("layer_norm_type", "default"),
        ("layer_norm_with_affine", False),
        ("clip_qkv", 8.0),
        ("n_layers", None),
        ("d_model", "64"),
        ("d_model", 64.0),
        ("d_model", 66),
        ("d_model", -64),
        ("n_layers", 0),
        ("n_layers", True),
        ("n_layers", 10**9),
        ("n_heads", 5),
        ("n_kv_heads", 3),
        ("n_kv_heads", 0),
        ("vocab_size", 10**18),
        ("embedding_size", 5),
        ("mlp_hidden_size", -1),
        ("max_sequence_length", 0),
        ("rope_theta", 0),
        ("rms_norm_eps", float("nan")),
        ("weight_tying", "yes"),
        ("mask_token_id", 211),
        ("eos_token_id", [200]),
        ("pad_token_id", -1),
    ],
)
def test_a_config_that_cannot_be_is_refused_by_name(
    tmp_path: Path, field: str, value: object
) -> None:
    folder = write_folder(tmp_path, **{field: value})
    with pytest.raises(CheckpointError, match=field):
        LLaDA.from_pretrained(folder)


def test_fields_of_the_hub_are_read() -> None:
    fields = {"d_model": 64, "n_heads": 4, "n_layers": 1, "vocab_size": 10, "unrelated": 3}
    assert LLaDAConfig.from_dict({**fields, "mlp_ratio": 2}).mlp_hidden_size == 128
    assert LLaDAConfig.from_dict(fields).mlp_hidden_size == 256
    assert LLaDAConfig.from_dict({**fields, "multi_query_attention": True}).kv_heads == 1
    with pytest.raises(CheckpointError, match="wide"):
        LLaDAConfig.from_dict({**fields, "mlp_ratio": "wide"})


def test_a_config_survives_its_dictionary() -> None:
    config = small_config(n_kv_heads=2, weight_tying=True, embedding_size=44, pad_token_id=1)
    assert LLaDAConfig.from_dict(json.loads(json.dumps(config.to_dict()))) == config


def test_a_config_made_by_hand_names_the_argument() -> None:
    with pytest.raises(InvalidArgumentError, match=r"^n_layers"):
        small_config(n_layers=0)
