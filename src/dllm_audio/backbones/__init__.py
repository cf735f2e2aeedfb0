"""Bidirectional transformers that predict the token behind every position."""

from .cache import StaticKVCache
from .config import LLaDAConfig
from .graphed import GraphedBackbone
from .llada import LLaDA

__all__ = ["GraphedBackbone", "LLaDA", "LLaDAConfig", "StaticKVCache"]
