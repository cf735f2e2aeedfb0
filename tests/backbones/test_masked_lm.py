"""Masked language models of transformers as backbones: rows, decoding, folders, strangers."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from tokenizers import Tokenizer, models, pre_tokenizers
from torch import Tensor, nn
from transformers import (
    AlbertConfig,
    AlbertForMaskedLM,
    BertConfig,
    BertForMaskedLM,
    BertLMHeadModel,
    BertModel,
    DistilBertConfig,
    DistilBertForMaskedLM,
    ElectraConfig,
    ElectraForMaskedLM,
    ModernBertConfig,
    ModernBertForMaskedLM,
    PreTrainedModel,
    PreTrainedTokenizerFast,
    RobertaConfig,
    RobertaForMaskedLM,
    WhisperConfig,
)

from dllm_audio import (
    AudioDiffusionLM,
    CachedParallelSampler,
    LowConfidenceSampler,
    MaskedLMBackbone,
    SemanticAdapter,
    WhisperEncoder,
    condition,
)
from dllm_audio.errors import CheckpointError, InvalidArgumentError, ShapeError
from dllm_audio.parts import build, describe
from small_parts import same

SPECIAL = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
WORDS = [*SPECIAL, *"abcdefghijklmnopqrstuvwxyz0123456789 ?.:<>|\n_"]
VOCAB, SEP, MASK = len(WORDS), 3, 4
SIZES: dict[str, Any] = {
    "vocab_size": VOCAB, "hidden_size": 24, "num_hidden_layers": 2, "num_attention_heads": 2,
    "intermediate_size": 32, "max_position_embeddings": 192, "initializer_range": 0.4,
    "pad_token_id": 0,
}  # fmt: skip


def bert(**changes: Any) -> BertForMaskedLM:
    return BertForMaskedLM(BertConfig(**{**SIZES, **changes}))


def modernbert(**changes: Any) -> ModernBertForMaskedLM:
    ids = {"bos_token_id": 2, "cls_token_id": 2, "sep_token_id": SEP, "eos_token_id": SEP}
    sizes = {**SIZES, **ids, "num_hidden_layers": 4, "local_attention": 8, **changes}
    return ModernBertForMaskedLM(ModernBertConfig(**sizes))


def roberta() -> RobertaForMaskedLM:
    return RobertaForMaskedLM(RobertaConfig(**{**SIZES, "pad_token_id": 1}))


def distilbert() -> DistilBertForMaskedLM:
    names = {"dim": 24, "n_layers": 2, "n_heads": 2, "hidden_dim": 32}
    return DistilBertForMaskedLM(
        DistilBertConfig(vocab_size=VOCAB, max_position_embeddings=192, **names)
    )


def albert() -> AlbertForMaskedLM:
    return AlbertForMaskedLM(AlbertConfig(**SIZES, embedding_size=16))


def electra() -> ElectraForMaskedLM:
    return ElectraForMaskedLM(ElectraConfig(**SIZES, embedding_size=16))


FAMILIES: list[Callable[[], PreTrainedModel]] = [
    *(bert, modernbert, roberta, distilbert, albert, electra),
]
BOTH = FAMILIES[:2]


def backbone(make: Callable[[], PreTrainedModel] = bert, seed: int = 0) -> MaskedLMBackbone:
    torch.manual_seed(seed)
    return MaskedLMBackbone(make(), mask_token_id=MASK, eos_token_id=SEP).eval()


def ids(*shape: int, seed: int = 1) -> Tensor:
    return torch.randint(5, VOCAB, shape, generator=torch.Generator().manual_seed(seed))


def tokenizer() -> PreTrainedTokenizerFast:
    made = Tokenizer(models.WordLevel({w: i for i, w in enumerate(WORDS)}, unk_token="[UNK]"))
    made.pre_tokenizer = pre_tokenizers.Split("", "isolated")
    names = dict(zip(("pad", "unk", "cls", "sep", "mask"), SPECIAL, strict=True))
    return PreTrainedTokenizerFast(
        tokenizer_object=made, **{f"{name}_token": token for name, token in names.items()}
    )


@pytest.mark.parametrize("make", FAMILIES)
@torch.no_grad()
def test_it_is_the_model_itself(make: Callable[[], PreTrainedModel]) -> None:
    model = backbone(make)
    tokens = ids(2, 9)
    expected = model.model(tokens).logits
    assert model.shared_head is not None
    same(model(input_ids=tokens).logits, expected)
    states = model(input_ids=tokens, return_hidden=True).last_hidden_state
    assert states.shape[-1] == 24
    same(model.head(states), expected)
    chosen = torch.tensor([[0, 8, 3], [5, 5, 1]])
    picked = model(inputs_embeds=model.embed(tokens), output_positions=chosen).logits
    same(picked, expected.gather(1, chosen[..., None].expand(-1, -1, VOCAB)))


@pytest.mark.parametrize("make", FAMILIES)
@torch.no_grad()
def test_a_padded_row_is_the_row_alone(make: Callable[[], PreTrainedModel]) -> None:
    model, tokens = backbone(make), ids(3, 40)
    mask = torch.ones(3, 40, dtype=torch.bool)
    mask[1, :30] = False  # farther than the local attention of ModernBERT
    mask[2, :5] = mask[2, 36:] = False
    embeds = model.embed(tokens).masked_fill(~mask[..., None], 50.0)
    batch = model(inputs_embeds=embeds, attention_mask=mask).logits
    for row, real in enumerate(mask):
        alone = model(input_ids=tokens[row : row + 1, real]).logits[0]
        same(batch[row, real], alone, 1e-4)


@pytest.mark.parametrize("make", BOTH)
def test_it_decodes_a_batch_like_each_row(make: Callable[[], PreTrainedModel]) -> None:
    model = backbone(make)
    prompts = torch.full((2, 12), MASK)
    lengths = torch.tensor([12, 5])
    for row, length in enumerate(lengths):
        prompts[row, 12 - length :] = ids(int(length), seed=row)
    mask = torch.arange(12) >= 12 - lengths[:, None]
    sampler = LowConfidenceSampler(4, 8)
    batch = sampler(condition(model, prompts, prompt_mask=mask)).tokens
    for row, length in enumerate(lengths):
        alone = sampler(condition(model, prompts[row : row + 1, 12 - length :])).tokens
        assert torch.equal(batch[row], alone[0])
    with pytest.warns(UserWarning, match="cache"):
        cached = CachedParallelSampler(8, 4)(condition(model, prompts, prompt_mask=mask))
    assert not (cached.tokens == MASK).any()


@pytest.mark.parametrize("make", BOTH)
@torch.no_grad()
def test_the_description_builds_the_same_model(make: Callable[[], PreTrainedModel]) -> None:
    model = backbone(make)
    description = json.loads(json.dumps(describe("backbone", model)))
    rebuilt = build("backbone", description).eval()
    assert type(rebuilt) is MaskedLMBackbone
    assert rebuilt.config == model.config
    assert describe("backbone", rebuilt) == description
    rebuilt.load_state_dict(model.state_dict())
    tokens = ids(2, 7)
    assert torch.equal(rebuilt(input_ids=tokens).logits, model(input_ids=tokens).logits)
    assert torch.equal(
        copy.deepcopy(model)(input_ids=tokens).logits, rebuilt(input_ids=tokens).logits
    )


@pytest.mark.parametrize("make", BOTH)
def test_a_whole_model_comes_back_equal_and_tied(
    make: Callable[[], PreTrainedModel], tmp_path: Path
) -> None:
    torch.manual_seed(5)
    sizes = {"d_model": 16, "encoder_layers": 2, "encoder_attention_heads": 2}
    encoder = WhisperEncoder(
        WhisperConfig(**sizes, encoder_ffn_dim=24, num_mel_bins=80, max_source_positions=20)
    )
    sampler = LowConfidenceSampler(4, 4)
    model = AudioDiffusionLM.from_parts(
        encoder, SemanticAdapter(16, 24), backbone(make), tokenizer(), sampler=sampler
    ).eval()
    asked = {"prompts": ["a b", "who?"], "audio": [torch.randn(3000) * 0.1, torch.randn(900) * 0.1]}
    before = model.generate(**asked).output.tokens
    model.save_pretrained(tmp_path)
    state = torch.get_rng_state()
    loaded = AudioDiffusionLM.from_pretrained(tmp_path)
    assert torch.equal(torch.get_rng_state(), state)
    placed = AudioDiffusionLM.from_pretrained(tmp_path, device_map={"": "cpu"})
    for found in (loaded, placed):
        assert found.state_dict().keys() == model.state_dict().keys()
        buffers = dict(found.named_buffers())
        for name, tensor in (*model.state_dict().items(), *model.named_buffers()):
            same_tensor = found.state_dict().get(name, buffers.get(name))
            assert torch.equal(same_tensor, tensor), name
        hf = found.backbone.model
        assert hf.get_output_embeddings().weight is hf.get_input_embeddings().weight
        assert torch.equal(found.generate(**asked).output.tokens, before)
    first = tmp_path / "model.safetensors"
    weights = load_file(first)
    tied = next(n for n in weights if n.endswith("decoder.weight"))
    save_file({**weights, tied: weights[tied] + 1}, first, {"format": "pt"})
    with pytest.raises(CheckpointError, match="tied"):
        AudioDiffusionLM.from_pretrained(tmp_path)


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    torch.manual_seed(0)
    bert().save_pretrained(tmp_path)
    tokenizer().save_pretrained(tmp_path)
    return tmp_path


@torch.no_grad()
def test_a_published_folder_loads(saved: Path) -> None:
    loaded = MaskedLMBackbone.from_pretrained(saved)
    expected = backbone()
    assert not loaded.training
    assert loaded.config == expected.config
    assert loaded.config.max_sequence_length == 192
    tokens = ids(2, 6)
    assert torch.equal(loaded(input_ids=tokens).logits, expected(input_ids=tokens).logits)
    for device_map in ("cpu", {"": "cpu"}):
        half = MaskedLMBackbone.from_pretrained(saved, torch.bfloat16, device_map)
        assert {p.dtype for p in half.parameters()} == {torch.bfloat16}
        assert half(input_ids=tokens).logits.isfinite().all()


def test_heads_of_other_tasks_are_passed_over(saved: Path) -> None:
    weights = load_file(saved / "model.safetensors")
    more = {
        "bert.pooler.dense.weight": torch.zeros(24, 24),
        "cls.seq_relationship.bias": torch.ones(2),
    }
    save_file({**weights, **more}, saved / "model.safetensors", {"format": "pt"})
    MaskedLMBackbone.from_pretrained(saved)
    save_file(
        {**weights, "bert.extra": torch.ones(2)}, saved / "model.safetensors", {"format": "pt"}
    )
    with pytest.raises(CheckpointError, match=r"unexpected.*bert\.extra"):
        MaskedLMBackbone.from_pretrained(saved)


def test_a_folder_without_its_head_or_its_mask_is_refused(saved: Path) -> None:
    weights = load_file(saved / "model.safetensors")
    for name in (
        "cls.predictions.transform.dense.weight",
        "bert.encoder.layer.0.output.dense.bias",
    ):
        fewer = {n: t for n, t in weights.items() if n != name}
        save_file(fewer, saved / "model.safetensors", {"format": "pt"})
        with pytest.raises(CheckpointError, match="missing"):
            MaskedLMBackbone.from_pretrained(saved)
    BertModel(BertConfig(**SIZES)).save_pretrained(saved)
    with pytest.raises(CheckpointError, match="missing"):
        MaskedLMBackbone.from_pretrained(saved)
    bert().save_pretrained(saved)
    made = Tokenizer(models.WordLevel({"a": 0}, unk_token="a"))
    PreTrainedTokenizerFast(tokenizer_object=made).save_pretrained(saved)
    with pytest.raises(CheckpointError, match="mask_token_id"):
        MaskedLMBackbone.from_pretrained(saved)
    (saved / "model.safetensors").unlink()
    torch.save(weights, saved / "pytorch_model.bin")
    with pytest.raises(CheckpointError, match="safetensors"):
        MaskedLMBackbone.from_pretrained(saved)


def test_private_settings_of_a_stranger_are_passed_over() -> None:
    description = describe("backbone", backbone())
    description["settings"]["model"].update(
        _attn_implementation="somebody/kernel", attn_implementation="flash_attention_2",
        auto_map={"AutoModelForMaskedLM": "evil--code.Model"}, _name_or_path="x",
    )  # fmt: skip
    assert type(build("backbone", description).model) is BertForMaskedLM


@pytest.mark.parametrize(
    "changes",
    [
        *({"model_type": kind} for kind in (None, [], "nonsense", "whisper", "bart", "llada")),
        {"num_hidden_layers": 10**9}, {"num_hidden_layers": -1.5}, {"num_hidden_layers": "2"},
        {"hidden_size": 10**30}, {"hidden_size": 25}, {"hidden_size": 2**24, "vocab_size": 2**24},
        {"num_attention_heads": 0}, {"vocab_size": -4}, {"vocab_size": 2},
        {"hidden_act": "nonsense"},
        {"hidden_act": {"a": 1}}, {"max_position_embeddings": []}, {"is_decoder": True},
        {"hidden_dropout_prob": 7}, {"pad_token_id": 10**6}, {"type_vocab_size": None},
        {"is_encoder_decoder": True}, {"layer_norm_eps": "small"}, {"hidden_act": "a" * 10**6},
    ],
)  # fmt: skip
def test_a_strangers_values_are_refused_before_much_is_built(
    changes: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    description = describe("backbone", backbone())
    description["settings"]["model"].update(changes)
    built: list[nn.Module] = []
    make = nn.Module.__init__

    def noting(self: nn.Module, *args: Any, **kwargs: Any) -> None:
        built.append(self)
        make(self, *args, **kwargs)

    monkeypatch.setattr(nn.Module, "__init__", noting)
    with pytest.raises(CheckpointError):
        build("backbone", description)
    assert len(built) < 1000


@pytest.mark.parametrize(
    "settings",
    [{}, {"model": 3}, {"extra": 1}, {"mask_token_id": None}, {"mask_token_id": "4"},
     {"mask_token_id": VOCAB}, {"eos_token_id": -1}, {"eos_token_id": True}],
)  # fmt: skip
def test_wrong_settings_are_refused(settings: dict[str, Any]) -> None:
    description = describe("backbone", backbone())
    changed = {**description["settings"], **settings} if settings else {}
    with pytest.raises(CheckpointError):
        build("backbone", {"name": "masked-lm", "settings": changed})


def test_what_it_cannot_do_is_said() -> None:
    model = backbone()
    embeds = model.embed(ids(1, 4))
    for given in ({"cache": object()}, {"slots": torch.arange(4)}, {"input_ids": ids(1, 4)}):
        with pytest.raises(InvalidArgumentError, match="|".join(given)):
            model(inputs_embeds=embeds, **given)
    with pytest.raises(InvalidArgumentError):
        model()
    with pytest.raises(ShapeError):
        model(inputs_embeds=embeds[0])
    with pytest.raises(ShapeError):
        model(inputs_embeds=embeds, attention_mask=torch.ones(1, 3))
    with pytest.raises(InvalidArgumentError, match="192"):
        model(input_ids=ids(1, 193))
    with pytest.raises(InvalidArgumentError, match="bidirectional"):
        MaskedLMBackbone(BertLMHeadModel(BertConfig(**SIZES, is_decoder=True)), tokenizer())
    with pytest.raises(InvalidArgumentError, match="mask_token_id"):
        MaskedLMBackbone(bert())
    with pytest.raises(InvalidArgumentError, match="model"):
        MaskedLMBackbone(torch.nn.Linear(2, 2), tokenizer())


class Own(BertForMaskedLM):
    """Not one of transformers' classes; its head wants more than the final states."""

    def forward(self, inputs_embeds: Tensor, attention_mask: Tensor | None = None) -> Any:
        output = self.bert(
            inputs_embeds=inputs_embeds, attention_mask=attention_mask, output_hidden_states=True
        )
        return (self.cls(output.hidden_states[0] + output.last_hidden_state),)


@torch.no_grad()
def test_a_head_on_more_than_the_final_states_is_run_with_the_body() -> None:
    torch.manual_seed(0)
    model = MaskedLMBackbone(Own(BertConfig(**SIZES)), tokenizer()).eval()
    assert model.shared_head is None
    embeds = model.embed(ids(2, 5))
    expected = model.model(embeds)[0]
    assert torch.equal(model(inputs_embeds=embeds).logits, expected)
    states = model(inputs_embeds=embeds, return_hidden=True).last_hidden_state
    assert torch.equal(model.head(states), expected)
    with pytest.raises(InvalidArgumentError, match="AutoModelForMaskedLM"):
        describe("backbone", model)


@torch.no_grad()
def test_the_head_follows_layers_that_are_put_in_by_hand_and_the_mode() -> None:
    model = backbone(modernbert)
    tokens = ids(1, 5)
    model(input_ids=tokens)
    model.model.decoder = torch.nn.Linear(24, VOCAB)
    same(model(input_ids=tokens).logits, model.model(tokens).logits)
    assert not [n for n in model.state_dict() if "shared" in n]
    model.train()
    model(input_ids=tokens)
    assert model.shared_head is not None
    assert model.shared_head.copy.training


def test_gradients_reach_body_and_head() -> None:
    model = backbone().train()
    model.gradient_checkpointing_enable()
    model(input_ids=ids(1, 5)).logits.square().mean().backward()
    assert all(p.grad is not None for n, p in model.named_parameters())
