"""Published folders give the published behavior."""

from __future__ import annotations

import os
from pathlib import Path

import peft
import published_layouts as layouts
import pytest
import torch
from tokenizers import AddedToken, Tokenizer, models
from transformers import PreTrainedTokenizerFast

from dllm_audio import AudioDiffusionLM, LLaDA, LowConfidenceSampler, condition, load_diffa
from dllm_audio.adapters import DualAdapter, PromptedSemanticAdapter
from dllm_audio.errors import CheckpointError, InvalidArgumentError
from dllm_audio.outputs import AudioEmbeddings
from parity import load_golden, load_golden_json


@pytest.fixture(scope="module")
def whisper(tmp_path_factory) -> Path:
    return layouts.whisper_folder(tmp_path_factory.mktemp("whisper"))


@pytest.fixture(scope="module")
def llada(tmp_path_factory) -> Path:
    return layouts.llada_folder(tmp_path_factory.mktemp("llada"))


@pytest.fixture(scope="module")
def diffa(tmp_path_factory, whisper, llada) -> AudioDiffusionLM:
    folder = layouts.diffa_folder(tmp_path_factory.mktemp("diffa"))
    return load_diffa(folder, whisper=whisper, llada=llada)


def _embed(model: AudioDiffusionLM) -> AudioEmbeddings:
    io = load_golden("diffa_io")
    return model.encode_audio(io["mel"], io["mel_mask"].sum(-1))


def _assert_valid_part(audio: AudioEmbeddings, expected: torch.Tensor) -> None:
    for row, length in enumerate(audio.lengths.tolist()):
        torch.testing.assert_close(
            audio.embeds[row, :length], expected[row, :length], atol=1e-4, rtol=1e-4
        )


@torch.no_grad()
def test_diffa_hears_what_the_original_hears(diffa):
    assert isinstance(diffa.adapter, DualAdapter)
    audio = _embed(diffa)
    io = load_golden("diffa_io")
    assert audio.lengths.tolist() == (io["encoder_lengths"] // 4 + 64).tolist()
    _assert_valid_part(audio, io["speech_stage2"])


@torch.no_grad()
def test_diffa_answers_as_the_original_answers(diffa):
    """From log-mel features to exact tokens, with the loaded encoder, adapters and backbone."""
    io, settings = load_golden("diffa_io"), load_golden_json("diffa_config")
    audio = _embed(diffa)
    torch.testing.assert_close(audio.embeds[:1], io["gen_speech"], atol=1e-4, rtol=1e-4)
    alone = AudioEmbeddings(audio.embeds[:1], audio.lengths[:1])
    predictor = condition(
        diffa.backbone,
        io["gen_prompt"],
        audio=alone,
        audio_start=torch.tensor([settings["audio_start"]]),
    )
    for case in settings["generate"]:
        if case["cfg_scale"] == 0.0 and case["block_length"] == case["gen_length"]:
            sampler = LowConfidenceSampler(steps=case["steps"], gen_length=case["gen_length"])
            expected = io[f"gen.{case['name']}"][:, io["gen_prompt"].shape[1] :]
            assert torch.equal(sampler(predictor).tokens, expected)


@torch.no_grad()
def test_diffa_2_stage_1(tmp_path, whisper, llada):
    folder = layouts.diffa_2_folder(tmp_path)
    expected = load_golden("diffa_io")["speech_stage1"]
    for path in (folder, folder / "stage1"):
        model = load_diffa(path, whisper=whisper, llada=llada, stage=1)
        assert isinstance(model.adapter, PromptedSemanticAdapter)
        _assert_valid_part(_embed(model), expected)


@torch.no_grad()
@pytest.mark.parametrize("stage", [2, 4])
def test_diffa_2_lora_is_merged_as_peft_applies_it(tmp_path, whisper, llada, stage):
    model = load_diffa(layouts.diffa_2_folder(tmp_path), whisper=whisper, llada=llada, stage=stage)
    settings = peft.LoraConfig(
        r=layouts.RANK, lora_alpha=16, target_modules=list(layouts.LORA_TARGETS)
    )
    unmerged = peft.get_peft_model(LLaDA.from_pretrained(llada), settings).eval()
    slots = {n: p for n, p in unmerged.named_parameters() if "lora_" in n}
    updates = layouts.lora_tensors()
    assert len(slots) == len(updates) == 2 * 3 * len(layouts.LORA_TARGETS)
    for name, slot in slots.items():
        published = name.replace(
            "base_model.model.", "llm_model.base_model.model.model.transformer."
        )
        slot.copy_(updates[published])
    input_ids = load_golden("llada_io")["input_ids"]
    torch.testing.assert_close(
        model.backbone(input_ids).logits, unmerged(input_ids).logits, atol=1e-4, rtol=1e-4
    )
    assert not any("lora" in name for name in model.state_dict())


@torch.no_grad()
def test_diffa_root_serves_stage_1_too(tmp_path, whisper, llada):
    model = load_diffa(layouts.diffa_folder(tmp_path), whisper=whisper, llada=llada, stage=1)
    _assert_valid_part(_embed(model), load_golden("diffa_io")["speech_stage1"])


@torch.no_grad()
def test_another_backbone_of_the_same_architecture_loads_by_its_config(tmp_path, whisper):
    backbone = layouts.llada_folder(tmp_path / "gqa", shards=1, name="llada_gqa")
    folder = layouts.diffa_folder(tmp_path / "diffa")
    layouts.write_json(folder / "config.json", {"prompt_size": 64})
    model = load_diffa(folder, whisper=whisper, llada=backbone)
    io = load_golden("llada_io")
    logits = model.backbone(io["input_ids"]).logits
    torch.testing.assert_close(logits, io["gqa_logits"], atol=1e-4, rtol=1e-4)


def test_dtype_and_mode(tmp_path, whisper, llada):
    folder = layouts.diffa_2_folder(tmp_path)
    model = load_diffa(folder, whisper=whisper, llada=llada, dtype=torch.bfloat16)
    assert {p.dtype for p in model.parameters()} == {torch.bfloat16}
    assert not any(module.training for module in model.modules())


def test_nothing_stays_on_the_meta_device(diffa):
    assert not any(t.is_meta for t in (*diffa.parameters(), *diffa.buffers()))


def test_hub_cache_layout(tmp_path, whisper, llada):
    """A snapshot of the hub's cache is a folder of links into ``blobs``."""
    cache = tmp_path / "models--org--diffa"
    plain = layouts.diffa_folder(tmp_path / "plain")
    expected = load_diffa(plain, whisper=whisper, llada=llada).state_dict()
    snapshot, blobs = cache / "snapshots" / "0123abcd", cache / "blobs"
    snapshot.mkdir(parents=True)
    blobs.mkdir()
    for i, file in enumerate(sorted(plain.iterdir())):
        file.rename(blobs / str(i))
        os.symlink(f"../../blobs/{i}", snapshot / file.name)
    found = load_diffa(snapshot, whisper=whisper, llada=llada).state_dict()
    assert found.keys() == expected.keys()
    assert all(torch.equal(tensor, expected[name]) for name, tensor in found.items())


def test_tokenizer_of_the_backbone(tmp_path, whisper):
    llada = layouts.llada_folder(tmp_path / "llada")
    folder = layouts.diffa_folder(tmp_path / "diffa")
    _tokenizer(mask=206, eos=200).save_pretrained(llada)
    model = load_diffa(folder, whisper=whisper, llada=llada)
    assert model.tokenizer.encode("<|mdm_mask|>") == [206]
    _tokenizer(mask=207, eos=200).save_pretrained(llada)
    with pytest.raises(CheckpointError, match=r"<\|mdm_mask\|> is 207.*mask_token_id is 206"):
        load_diffa(folder, whisper=whisper, llada=llada)


def _tokenizer(mask: int, eos: int) -> PreTrainedTokenizerFast:
    special = {"<|mdm_mask|>": mask, "<|endoftext|>": eos}
    vocabulary = {f"w{i}": i for i in range(211) if i not in special.values()}
    tokenizer = Tokenizer(models.WordLevel({**vocabulary, **special}, unk_token="w0"))
    tokenizer.add_special_tokens([AddedToken(token, special=True) for token in special])
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer)


def _without(name: str):
    return lambda tensors: {n: t for n, t in tensors.items() if n != name}


def _with(name: str, change):
    return lambda tensors: {**tensors, name: change(tensors.get(name))}


TENSOR_FAULTS = {
    "a tensor is missing": (
        _without("semantic_connector.layernorm.bias"),
        r"missing: semantic\.norm\.bias",
    ),
    "the first convolution is missing": (
        _without("semantic_connector.conv.0.weight"),
        r"semantic\.conv\.weight is missing",
    ),
    "an unknown tensor": (_with("semantic_connector.extra", lambda _: torch.ones(1)), "extra"),
    "a whole foreign part": (
        _with("whisper_model.conv1.bias", lambda _: torch.ones(1)),
        r"whisper: conv1\.bias",
    ),
    "a wrong shape": (
        _with("semantic_connector.layernorm.bias", lambda t: t[:-1]),
        r"semantic\.norm\.bias: expected shape \[64\], got \[63\]",
    ),
    "integers for floats": (
        _with("semantic_connector.layernorm.bias", lambda t: t.long()),
        r"semantic\.norm\.bias: expected a dtype like torch\.float32, got torch\.int64",
    ),
    "a gap in the queries": (
        _without("acoustic_connector.layer_prompts.2"),
        r"layer_prompts",
    ),
    "queries of two shapes": (
        _with("acoustic_connector.layer_prompts.2", lambda t: t[:, :5]),
        r"layer_prompts",
    ),
    "a Q-Former layer is missing": (
        lambda tensors: {n: t for n, t in tensors.items() if "qformer.layer.0" not in n},
        "Q-Former layers",
    ),
    "the unused prompts have another width": (
        _with("trainable_prompts.weight", lambda t: t[:, 1:]),
        r"prompts: expected the backbone's width 64 in dim 1, got 63",
    ),
    "no acoustic adapter": (lambda _: layouts.stage_1_tensors(), "no acoustic_connector"),
    "half a LoRA update": (
        lambda tensors: {**tensors, **dict(list(layouts.lora_tensors().items())[:1])},
        "lora_A or lora_B is missing",
    ),
    "LoRA for a weight that is not there": (
        lambda tensors: {
            **tensors,
            **{n.replace("blocks.0", "blocks.9"): t for n, t in layouts.lora_tensors().items()},
        },
        r"no weight named blocks\.9",
    ),
    "nothing": (lambda _: {}, "expected names and tensors"),
}


@pytest.mark.parametrize("fault", TENSOR_FAULTS)
def test_tensors_that_do_not_fit_are_named(tmp_path, whisper, llada, fault):
    change, names = TENSOR_FAULTS[fault]
    folder = layouts.diffa_folder(tmp_path, change(layouts.adapter_tensors()))
    with pytest.raises(CheckpointError, match=names):
        load_diffa(folder, whisper=whisper, llada=llada)


@pytest.mark.parametrize(
    ("stage", "tensors", "names"),
    [
        (1, _without("trainable_prompts.weight"), "prompts is missing"),
        (1, _with("acoustic_connector.proj.0.bias", lambda t: t[1:]), r"norm\.bias"),
        (3, lambda tensors: tensors, "no LoRA tensors, which stage 3 has"),
    ],
)
def test_what_a_stage_needs(tmp_path, whisper, llada, stage, tensors, names):
    folder = layouts.diffa_folder(tmp_path, tensors(layouts.adapter_tensors()))
    with pytest.raises(CheckpointError, match=names):
        load_diffa(folder, whisper=whisper, llada=llada, stage=stage)


@pytest.mark.parametrize(
    ("section", "field", "value"),
    [
        ("whisper_config", "num_mel_bins", 128),
        ("whisper_config", "encoder_attention_heads", 8),
        ("llm_config", "mask_token_id", 5),
        ("llm_config", "eos_token_id", 3),
        ("llm_config", "n_layers", 2),
        (None, "prompt_size", 32),
        (None, "target_layer_ids", [0, 1, 2]),
        (None, "target_layer_ids", [0, 1, 2, 9]),
        (None, "llm_config", "not an object"),
        (None, "lora_alpha", "much"),
    ],
)
def test_contradictions_are_named(tmp_path, whisper, llada, section, field, value):
    folder = layouts.diffa_folder(tmp_path)
    config = layouts.config()
    (config if section is None else config[section])[field] = value
    layouts.write_json(folder / "config.json", config)
    with pytest.raises(CheckpointError, match=field):
        load_diffa(folder, whisper=whisper, llada=llada)


def test_arguments(tmp_path, whisper, llada):
    folder = layouts.diffa_folder(tmp_path / "diffa")
    with pytest.raises(InvalidArgumentError, match="stage"):
        load_diffa(folder, whisper=whisper, llada=llada, stage=5)
    with pytest.raises(CheckpointError, match="no/where"):
        load_diffa("no/where/at all", whisper=whisper, llada=llada)
    with pytest.raises(CheckpointError, match="whisper"):
        load_diffa(folder, whisper=llada, llada=llada)
