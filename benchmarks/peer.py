"""What a user would pick instead: an autoregressive model of the same shape in transformers."""

from __future__ import annotations

import torch
from torch import Tensor
from transformers import CompileConfig, GenerationConfig, LlamaConfig, LlamaForCausalLM

from dllm_audio import LLaDAConfig


def build_peer(config: LLaDAConfig, device: torch.device, dtype: torch.dtype) -> LlamaForCausalLM:
    """A Llama with the backbone's sizes and random weights."""
    sizes = LlamaConfig(
        hidden_size=config.d_model,
        num_hidden_layers=config.n_layers,
        num_attention_heads=config.n_heads,
        num_key_value_heads=config.kv_heads,
        intermediate_size=config.mlp_hidden_size,
        vocab_size=config.num_embeddings,
        max_position_embeddings=config.max_sequence_length,
        rms_norm_eps=config.rms_norm_eps,
        bos_token_id=None,
        eos_token_id=None,
        pad_token_id=0,
    )
    torch.manual_seed(0)
    with device:
        model = LlamaForCausalLM._from_config(sizes, dtype=dtype)
    return model.eval().requires_grad_(False)


def generate(
    model: LlamaForCausalLM, prompt_ids: Tensor, new_tokens: int, *, compiled: bool = False
) -> Tensor:
    """Greedy decoding with a static cache.

    Args:
        model: from :func:`build_peer`.
        prompt_ids: ``[B, P]`` int64.
        new_tokens: tokens to add.
        compiled: compile the decoding step (transformers does so by itself only on a GPU).

    Returns:
        ``[B, P + new_tokens]``.
    """
    settings = GenerationConfig(
        max_new_tokens=new_tokens,
        min_new_tokens=new_tokens,
        do_sample=False,
        cache_implementation="static",
        disable_compile=not compiled,
        pad_token_id=0,
    )
    if compiled:
        settings.compile_config = CompileConfig(fullgraph=False, dynamic=False)
        settings.compile_config._compile_all_devices = True
    return model.generate(
        prompt_ids, attention_mask=torch.ones_like(prompt_ids), generation_config=settings
    )
