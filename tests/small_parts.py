"""Small random parts for tests of conditioning, losses and whole models."""

from __future__ import annotations

from typing import Any

import torch
from tokenizers import AddedToken, Regex, Tokenizer, models, pre_tokenizers
from torch import Tensor
from transformers import PreTrainedTokenizerFast, WhisperConfig

from dllm_audio import (
    AcousticAdapter,
    AudioDiffusionLM,
    AudioEmbeddings,
    CachedParallelSampler,
    DualAdapter,
    LLaDA,
    LLaDAConfig,
    SemanticAdapter,
    WhisperEncoder,
)

VOCAB, MASK, EOS = 40, 39, 38
WIDTH = 24
_MARKERS = (
    *("<|startoftext|>", "<|endoftext|>", "<|start_header_id|>"),
    *("<|end_header_id|>", "<|eot_id|>", "<|mdm_mask|>"),
)


def small_config(**changes: Any) -> LLaDAConfig:
    fields: dict[str, Any] = {
        "d_model": WIDTH,
        "n_layers": 2,
        "n_heads": 4,
        "mlp_hidden_size": 32,
        "vocab_size": VOCAB,
        "mask_token_id": MASK,
        "eos_token_id": EOS,
        "init_std": 0.4,
        "max_sequence_length": 512,
    }
    return LLaDAConfig(**{**fields, **changes})


def small_llada(seed: int = 0, **changes: Any) -> LLaDA:
    torch.manual_seed(seed)
    llada = LLaDA(small_config(**changes))
    for name, parameter in llada.named_parameters():
        if "norm" in name or "ln_f" in name:  # ones hide a norm that is not applied
            torch.nn.init.uniform_(parameter, 0.5, 1.5)
    return llada.eval()


def random_audio(lengths: list[int], seed: int = 1, junk: float = float("nan")) -> AudioEmbeddings:
    """Random embeddings; what is behind an item's length must never be looked at."""
    generator = torch.Generator().manual_seed(seed)
    embeds = torch.randn(len(lengths), max(lengths, default=0), WIDTH, generator=generator)
    for row, length in enumerate(lengths):
        embeds[row, length:] = junk
    return AudioEmbeddings(embeds, torch.tensor(lengths))


def character_tokenizer() -> PreTrainedTokenizerFast:
    vocabulary = {chr(c): i for i, c in enumerate([10, *range(32, 127)])}
    tokenizer = Tokenizer(models.WordLevel({**vocabulary, "?unk": 96}, unk_token="?unk"))
    tokenizer.pre_tokenizer = pre_tokenizers.Split(Regex("[\\s\\S]"), "isolated")
    tokenizer.add_special_tokens([AddedToken(marker, special=True) for marker in _MARKERS])
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token="<|endoftext|>")


def small_model(tokenizer: Any = None, **changes: Any) -> AudioDiffusionLM:
    """A whole model with windows of 0.4 s, in training mode as a constructor leaves it."""
    torch.manual_seed(3)
    encoder = WhisperEncoder(
        WhisperConfig(
            d_model=16,
            encoder_layers=2,
            encoder_attention_heads=2,
            encoder_ffn_dim=24,
            num_mel_bins=80,
            max_source_positions=20,
        )
    )
    settings: dict[str, Any] = {"init_std": 0.4}
    if tokenizer is not None:
        ids = dict(zip(_MARKERS, tokenizer.convert_tokens_to_ids(list(_MARKERS)), strict=True))
        settings["vocab_size"] = len(tokenizer)
        settings["mask_token_id"] = ids["<|mdm_mask|>"]
        settings["eos_token_id"] = ids["<|endoftext|>"]
    backbone = LLaDA(small_config(**{**settings, **changes}))
    adapter = DualAdapter(
        SemanticAdapter(16, WIDTH),
        AcousticAdapter(16, WIDTH, (0, 1), 2, num_queries=3, intermediate_size=24),
    )
    return AudioDiffusionLM.from_parts(
        encoder,
        adapter,
        backbone,
        tokenizer,
        sampler=CachedParallelSampler(8, 4),
    )


def same(actual: Tensor, expected: Tensor, tolerance: float = 2e-5) -> None:
    torch.testing.assert_close(actual, expected, atol=tolerance, rtol=tolerance)
