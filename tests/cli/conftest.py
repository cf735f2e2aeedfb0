"""Models of random weights with windows of one and of ten seconds, saved as folders."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast, WhisperConfig

from dllm_audio import (
    AcousticAdapter,
    AudioDiffusionLM,
    CachedParallelSampler,
    DualAdapter,
    LLaDA,
    LLaDAConfig,
    SemanticAdapter,
    Threshold,
    WhisperEncoder,
)

MARKERS = [
    "<|startoftext|>", "<|endoftext|>", "<|eot_id|>",
    "<|start_header_id|>", "<|end_header_id|>", "<|mdm_mask|>",
]  # fmt: skip
CHARACTERS = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789 .,:?!'*<>\n"


def character_tokenizer() -> PreTrainedTokenizerFast:
    vocabulary = {token: i for i, token in enumerate([*MARKERS, *CHARACTERS, "[?]"])}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="[?]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Split(Regex(r"[\s\S]"), "isolated")
    tokenizer.decoder = decoders.Fuse()
    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token="<|endoftext|>")
    fast.add_special_tokens({"additional_special_tokens": MARKERS})
    return fast


@pytest.fixture(scope="session")
def model_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_model(tmp_path_factory.mktemp("model") / "tiny", seconds=1)


@pytest.fixture(scope="session")
def wide_model_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_model(tmp_path_factory.mktemp("model") / "wide", seconds=10)


def save_model(folder: Path, seconds: int) -> Path:
    torch.manual_seed(0)
    tokenizer = character_tokenizer()
    encoder = WhisperEncoder(
        WhisperConfig(
            d_model=8, encoder_layers=2, encoder_attention_heads=2, encoder_ffn_dim=16,
            decoder_layers=1, decoder_attention_heads=2, decoder_ffn_dim=16,
            max_source_positions=50 * seconds,
        )
    )  # fmt: skip
    backbone = LLaDA(
        LLaDAConfig(
            d_model=16, n_layers=2, n_heads=2, mlp_hidden_size=32, vocab_size=len(tokenizer),
            max_sequence_length=512, init_std=0.5,
            mask_token_id=MARKERS.index("<|mdm_mask|>"),
            eos_token_id=MARKERS.index("<|endoftext|>"),
        )
    )  # fmt: skip
    acoustic = AcousticAdapter(8, 16, (1, 2), 2, num_queries=4, intermediate_size=16)
    adapter = DualAdapter(SemanticAdapter(8, 16), acoustic)
    sampler = CachedParallelSampler(8, 4, Threshold(0.5))
    model = AudioDiffusionLM.from_parts(encoder, adapter, backbone, tokenizer, sampler=sampler)
    model.save_pretrained(folder)
    return folder
