"""Names of encoder tensors in the two layouts that Whisper weights come in."""

from __future__ import annotations

import re

_HUB_PREFIXES = ("model.encoder.", "encoder.")
_HUB_OTHER = ("model.decoder.", "decoder.", "proj_out.")

_OPENAI_BLOCK = re.compile(r"blocks\.(\d+)\.(.+)\.(weight|bias)")
_OPENAI_TOP = {
    "conv1.weight": "conv1.weight",
    "conv1.bias": "conv1.bias",
    "conv2.weight": "conv2.weight",
    "conv2.bias": "conv2.bias",
    "positional_embedding": "embed_positions.weight",
    "ln_post.weight": "layer_norm.weight",
    "ln_post.bias": "layer_norm.bias",
}
_OPENAI_IN_BLOCK = {
    "attn.query": "self_attn.q_proj",
    "attn.key": "self_attn.k_proj",
    "attn.value": "self_attn.v_proj",
    "attn.out": "self_attn.out_proj",
    "attn_ln": "self_attn_layer_norm",
    "mlp.0": "fc1",
    "mlp.2": "fc2",
    "mlp_ln": "final_layer_norm",
}


def from_hub_name(name: str) -> str | None:
    """Name within the encoder of a tensor in transformers' layout; None for decoder tensors.

    Reads whole models (``model.encoder.``), base models (``encoder.``) and bare encoders.

    Example:
        >>> from_hub_name("model.encoder.conv1.weight")
        'conv1.weight'
    """
    for prefix in _HUB_PREFIXES:
        if name.startswith(prefix):
            return name.removeprefix(prefix)
    return None if name.startswith(_HUB_OTHER) else name


def from_openai_name(name: str) -> str:
    """transformers' name of a tensor of openai-whisper's encoder; unknown names stay.

    Example:
        >>> from_openai_name("blocks.3.attn.query.weight")
        'layers.3.self_attn.q_proj.weight'
    """
    block = _OPENAI_BLOCK.fullmatch(name)
    if block and block[2] in _OPENAI_IN_BLOCK:
        return f"layers.{block[1]}.{_OPENAI_IN_BLOCK[block[2]]}.{block[3]}"
    return _OPENAI_TOP.get(name, name)
