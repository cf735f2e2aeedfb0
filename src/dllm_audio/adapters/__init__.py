"""Adapters: from encoder frames to embeddings in the backbone's space."""

from .acoustic import AcousticAdapter, evenly_spaced_taps
from .dual import DualAdapter, PromptedSemanticAdapter
from .semantic import SemanticAdapter

__all__ = [
    "AcousticAdapter",
    "DualAdapter",
    "PromptedSemanticAdapter",
    "SemanticAdapter",
    "evenly_spaced_taps",
]
