"""Published checkpoints: names of tensors, strict loading, conversion."""

from .convert import convert_checkpoint
from .diffa import load_diffa
from .keys import from_published, to_published
from .loading import load_model
from .lora import LowRankUpdate, merge_lora, split_lora

__all__ = [
    "LowRankUpdate",
    "convert_checkpoint",
    "from_published",
    "load_diffa",
    "load_model",
    "merge_lora",
    "split_lora",
    "to_published",
]
