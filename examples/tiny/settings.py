"""Sizes of the tiny model; everything else follows from them."""

from __future__ import annotations

from transformers import PreTrainedTokenizerFast, WhisperConfig

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

VOCAB_SIZE = 640
RESPONSE_LENGTH = 16
TAPS = (1, 2, 3)  # the later layers of the encoder keep the words only
NUM_QUERIES = 16
# Frames per second, before and after the encoder's convolutions.
MEL_RATE, HIDDEN_RATE = 100, 50


def build_encoder(*, trainable: bool = False) -> WhisperEncoder:
    """Whisper's architecture with a window of 4 s."""
    config = WhisperConfig(
        d_model=128,
        encoder_layers=6,
        encoder_attention_heads=4,
        encoder_ffn_dim=512,
        num_mel_bins=80,
        max_source_positions=int(MAX_SECONDS * HIDDEN_RATE),
        # Only the encoder is built; small values keep the config honest about its size.
        decoder_layers=1,
        decoder_attention_heads=4,
        decoder_ffn_dim=512,
        dropout=0.0,
    )
    return WhisperEncoder(config, trainable=trainable)


def build_backbone(tokenizer: PreTrainedTokenizerFast) -> LLaDA:
    """LLaDA's architecture with the ids of ``tokenizer``."""
    config = LLaDAConfig(
        d_model=160,
        n_layers=4,
        n_heads=5,
        mlp_hidden_size=448,
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
    semantic = SemanticAdapter(encoder.hidden_size, backbone.config.d_model)
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
            intermediate_size=256,
        ),
    )
