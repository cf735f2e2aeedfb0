"""Bidirectional transformers that predict the token behind every position."""

from .cache import StaticKVCache
from .config import LLaDAConfig
from .llada import LLaDA

__all__ = ["LLaDA", "LLaDAConfig", "StaticKVCache"]
