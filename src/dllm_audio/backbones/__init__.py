"""Bidirectional transformers that predict the token behind every position."""

from .cache import StaticKVCache
from .dream import Dream, DreamConfig
from .graphed import GraphedBackbone
from .llada import LLaDA, LLaDAConfig
from .masked_lm import MaskedLMBackbone
from .masked_lm_config import MaskedLMConfig
from .packed import can_pack, pack_weights, unpack_weights

__all__ = [
    "Dream",
    "DreamConfig",
    "GraphedBackbone",
    "LLaDA",
    "LLaDAConfig",
    "MaskedLMBackbone",
    "MaskedLMConfig",
    "StaticKVCache",
    "can_pack",
    "pack_weights",
    "unpack_weights",
]
