"""A model of a few thousand parameters and a handful of rows, for tests of training."""

from __future__ import annotations

import re
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast, WhisperConfig

from dllm_audio import (
    AcousticAdapter,
    AudioDiffusionLM,
    ChatTemplate,
    DualAdapter,
    LLaDA,
    LLaDAConfig,
    LogMel,
    PromptedSemanticAdapter,
    SemanticAdapter,
    WhisperEncoder,
)
from dllm_audio.data import (
    DiffusionCollator,
    EosPadding,
    ExampleParser,
    PreferenceCollator,
    PreferenceParser,
    RecordDataset,
)
from dllm_audio.training import (
    Loop,
    LoopSettings,
    LoRASettings,
    Optimization,
    StageData,
    Task,
    attach_lora,
    train_only,
)

LOG_MEL = LogMel(80, chunk_length=0.4)
LORA = LoRASettings(rank=2, alpha=4, dropout=0.0)
WORDS = ["zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine"]


MARKERS = (
    "<|startoftext|>",
    "<|endoftext|>",
    "<|eot_id|>",
    "<|start_header_id|>",
    "<|end_header_id|>",
    "<|mdm_mask|>",
)
VOCABULARY = (*MARKERS, *WORDS, *"abcdefghijklmnopqrstuvwxyz", "\n", " ", "?")


def word_tokenizer() -> PreTrainedTokenizerFast:
    """Chat markers and a few words are one token each; everything else is a character class."""
    vocabulary = {piece: i for i, piece in enumerate(VOCABULARY)}
    made = Tokenizer(models.WordLevel(vocabulary, unk_token="?"))
    pieces = "|".join(map(re.escape, WORDS)) + r"|[\s\S]"
    made.pre_tokenizer = pre_tokenizers.Split(Regex(pieces), "isolated")
    made.decoder = decoders.Fuse()
    return PreTrainedTokenizerFast(
        tokenizer_object=made,
        bos_token=MARKERS[0],
        eos_token=MARKERS[1],
        mask_token=MARKERS[5],
        additional_special_tokens=list(MARKERS[2:5]),
        clean_up_tokenization_spaces=False,
    )


TOKENIZER = word_tokenizer()


def tiny_model(seed: int = 0, dual: bool = True, dropout: float = 0.0) -> AudioDiffusionLM:
    torch.manual_seed(seed)
    encoder = WhisperEncoder(
        WhisperConfig(
            d_model=8,
            encoder_layers=2,
            encoder_attention_heads=2,
            encoder_ffn_dim=16,
            max_source_positions=20,
        )
    )
    backbone = LLaDA(
        LLaDAConfig(
            d_model=16,
            n_layers=2,
            n_heads=2,
            mlp_hidden_size=32,
            vocab_size=len(VOCABULARY),
            max_sequence_length=256,
            init_std=0.1,
            mask_token_id=TOKENIZER.mask_token_id,
            eos_token_id=TOKENIZER.eos_token_id,
        )
    )
    semantic = SemanticAdapter(8, 16)
    adapter: Any = PromptedSemanticAdapter(semantic, 3)
    if dual:
        acoustic = AcousticAdapter(
            8, 16, (1, 2), 2, num_queries=4, intermediate_size=16, dropout=dropout
        )
        adapter = DualAdapter(semantic, acoustic)
    return AudioDiffusionLM.from_parts(encoder, adapter, backbone, TOKENIZER)


def lora_model(seed: int = 0) -> AudioDiffusionLM:
    """A policy as in the last two stages: both adapters and LoRA train."""
    model = tiny_model(seed)
    attach_lora(model.backbone, LORA)
    train_only(model, ["adapter", "lora"])
    return model


def rows(count: int, pairs: bool = False) -> RecordDataset:
    rng = np.random.default_rng(7)
    made = []
    for i in range(count):
        digits = [WORDS[k] for k in rng.integers(0, 10, 1 + i % 4)]
        wave = np.sin(np.arange(2000 + 800 * (i % 4)) * (0.05 + 0.01 * i)).astype(np.float32)
        row = {"audio": (wave, 16000), "question": "what?", "answer": " ".join(digits)}
        if pairs:
            row |= {"chosen": " ".join(digits), "rejected": " ".join(reversed(digits)) + " six"}
        made.append(row)
    return RecordDataset(made, PreferenceParser() if pairs else ExampleParser())


def collator(pairs: bool = False, multiple: int | None = 8) -> Any:
    kind = PreferenceCollator if pairs else DiffusionCollator
    return kind(ChatTemplate(TOKENIZER, system=None), LOG_MEL, EosPadding(multiple))


OPTIMIZATION = Optimization(
    learning_rate=1e-2,
    schedule="cosine",
    max_steps=4,
    warmup_steps=1,
    weight_decay=0.05,
    max_grad_norm=1.0,
    batch_size=4,
    bf16=False,
)
SIZES = {
    "prompted": {"num_prompts": 3},
    "dual": {"acoustic": {"num_queries": 4, "intermediate_size": 16, "taps": [1, 2]}},
}
SETTINGS = LoopSettings(
    logging_steps=1,
    eval_steps=None,
    save_steps=None,
    save_total_limit=None,
    use_cpu=True,
    progress=False,
)


def loop(
    task: Task,
    folder: Path,
    train: Any,
    evaluation: Any = None,
    *,
    pairs: bool = False,
    **options: Any,
) -> Loop:
    """A loop over a task; options are those of ``Optimization``, ``LoopSettings`` and ``Loop``."""
    named = {f.name for f in fields(Optimization)}
    watched = {f.name for f in fields(LoopSettings)}
    optimization = replace(OPTIMIZATION, **{k: v for k, v in options.items() if k in named})
    settings = replace(SETTINGS, **{k: v for k, v in options.items() if k in watched})
    rest = {k: v for k, v in options.items() if k not in named | watched}
    made = StageData(train, rest.pop("collate", None) or collator(pairs), evaluation)
    return Loop(task, made, folder, optimization, settings, seed=5, **rest)


def parameters(model: torch.nn.Module) -> dict[str, torch.Tensor]:
    return {name: p.detach().clone() for name, p in model.named_parameters()}
