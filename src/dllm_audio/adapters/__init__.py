"""Adapters: from encoder frames to embeddings in the backbone's space."""

from .acoustic import AcousticAdapter, evenly_spaced_taps
from .config import adapter_from_config, adapter_to_config
from .dual import DualAdapter, PromptedSemanticAdapter
from .semantic import SemanticAdapter

__all__ = [
    "AcousticAdapter",
    "DualAdapter",
    "PromptedSemanticAdapter",
    "SemanticAdapter",
    "adapter_from_config",
    "adapter_to_config",
    "evenly_spaced_taps",
]
