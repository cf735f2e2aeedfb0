"""Masked language models of transformers as backbones: rows, decoding, folders, strangers."""

from __future__ import annotations

import copy
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from tokenizers import Tokenizer, models, pre_tokenizers
from torch import Tensor
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
    assert torch.equal(copy.deepcopy(model)(input_ids=tokens).logits, rebuilt(tokens_of(tokens)))


def tokens_of(tokens: Tensor) -> Tensor:
    return tokens
