"""Sizes of the tiny model; everything else follows from them."""

from __future__ import annotations

import copy
from pathlib import Path

from transformers import PreTrainedTokenizerFast

from dllm_audio import (
    AcousticAdapter,
    DualAdapter,
    LLaDA,
    LLaDAConfig,
    PromptedSemanticAdapter,
    SemanticAdapter,
    WhisperEncoder,
)
from dllm_audio.toy import MAX_SECONDS

VOCAB_SIZE = 800
RESPONSE_LENGTH = 16
TAPS = (1, 2, 3)  # how it sounds; the last layer knows what is said
NUM_QUERIES = 16
HINTED_LAYER = 2  # of the language model (hints.py)
STRIDE = 4  # encoder frames of a semantic slot
SLOT_RATE = 50 / STRIDE  # semantic slots per second


def build_encoder(whisper: str | Path) -> WhisperEncoder:
    """A pretrained Whisper, frozen, with its window cut to that of the clips.

    Args:
        whisper: folder or hub id.
    """
    whole = WhisperEncoder.from_pretrained(whisper)
    positions = int(MAX_SECONDS * 50)
    config = copy.deepcopy(whole.config)
    config.update({"max_source_positions": positions})
    encoder, weights = WhisperEncoder(config), whole.state_dict()
    name = "model.embed_positions.weight"
    encoder.load_state_dict({**weights, name: weights[name][:positions]})
    return encoder


def build_backbone(tokenizer: PreTrainedTokenizerFast) -> LLaDA:
    """LLaDA's architecture with the ids of ``tokenizer``."""
    config = LLaDAConfig(
        d_model=192,
        n_layers=5,
        n_heads=6,
        mlp_hidden_size=512,
        vocab_size=len(tokenizer),
        max_sequence_length=512,
        rope_theta=10000.0,
        init_std=0.05,
        mask_token_id=tokenizer.convert_tokens_to_ids("<|mdm_mask|>"),
        eos_token_id=tokenizer.convert_tokens_to_ids("<|endoftext|>"),
    )
    return LLaDA(config)


def build_adapter(
    encoder: WhisperEncoder, backbone: LLaDA, *, acoustic: bool = True
) -> DualAdapter | PromptedSemanticAdapter:
    """Both adapters, or (for the ablation) the semantic one alone."""
    semantic = SemanticAdapter(encoder.hidden_size, backbone.config.d_model, STRIDE)
    if not acoustic:
        # As many learned vectors as there were acoustic ones, so that only their content differs.
        return PromptedSemanticAdapter(semantic, num_prompts=NUM_QUERIES)
    return DualAdapter(
        semantic,
        AcousticAdapter(
            encoder.hidden_size,
            backbone.config.d_model,
            taps=TAPS,
            num_heads=encoder.num_heads,
            num_queries=NUM_QUERIES,
            intermediate_size=512,
        ),
        mask_frames=True,
    )
