"""Stage 0: a byte-level BPE tokenizer with LLaDA's chat markers, learned from the toy chats.

Any text can be encoded (unknown words fall back to bytes); the words of the toy world are one
token each, so that prompts stay short.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
from described import draw_record
from labels import FACTS, word_of
from settings import VOCAB_SIZE
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast

from dllm_audio.prompts.template import AUDIO_INTRODUCTION, SYSTEM_PROMPT
from dllm_audio.toy import UNITS

SPECIAL_TOKENS = (
    "<|startoftext|>",
    "<|endoftext|>",
    "<|start_header_id|>",
    "<|end_header_id|>",
    "<|eot_id|>",
    "<|mdm_mask|>",
)
WORDS = tuple(
    dict.fromkeys(
        (
            *(word for unit in UNITS for word in unit.split()),
            *(word_of(value) for values in FACTS.values() for value in values),
        )
    )
)


def texts(count: int = 4000) -> Iterator[str]:
    """What the model reads and writes, without the markers."""
    rng = np.random.default_rng(0)
    for _ in range(count):
        record = draw_record(rng)
        yield f"system\n\n{SYSTEM_PROMPT}"
        yield f"user\n\n{AUDIO_INTRODUCTION}{record.prompt}"
        yield f"assistant\n\n{record.answer}"
        yield from WORDS
        yield from (f" {word}" for word in WORDS)


def make_tokenizer(folder: Path) -> PreTrainedTokenizerFast:
    """Learn the tokenizer, or load it from ``folder``."""
    if (folder / "tokenizer.json").exists():
        return PreTrainedTokenizerFast.from_pretrained(folder)
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCAB_SIZE,
        special_tokens=[AddedToken(token, special=True) for token in SPECIAL_TOKENS],
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts(), trainer)
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        bos_token="<|startoftext|>",
        eos_token="<|endoftext|>",
        pad_token="<|endoftext|>",
        mask_token="<|mdm_mask|>",
        additional_special_tokens=list(SPECIAL_TOKENS[2:5]),
        clean_up_tokenization_spaces=False,
    )
    fast.save_pretrained(folder)
    return fast
