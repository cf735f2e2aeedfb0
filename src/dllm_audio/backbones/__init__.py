"""Bidirectional transformers that predict the token behind every position."""

from .cache import StaticKVCache
from .config import LLaDAConfig
from .graphed import GraphedBackbone
from .llada import LLaDA
from .packed import can_pack, pack_weights, unpack_weights

__all__ = [
    "GraphedBackbone",
    "LLaDA",
    "LLaDAConfig",
    "StaticKVCache",
    "can_pack",
    "pack_weights",
    "unpack_weights",
]
