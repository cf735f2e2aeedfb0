"""Published LLaDA weights: their names, and strict loading without a second copy."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TypeVar

import torch
from torch import Tensor, nn

from ..errors import CheckpointError
from ..weights import iter_weights, load_weights, read_json, resolve_directory
from .config import LLaDAConfig

PUBLISHED_PREFIX = "model.transformer."

M = TypeVar("M", bound=nn.Module)


def native_name(published: str) -> str:
    """The library's parameter name of a published LLaDA tensor.

    Raises:
        CheckpointError: the tensor is not part of a LLaDA.

    Example:
        >>> native_name("model.transformer.blocks.0.q_proj.weight")
        'blocks.0.q_proj.weight'
    """
    if not published.startswith(PUBLISHED_PREFIX):
        raise CheckpointError(f"{published}: expected a name that starts with {PUBLISHED_PREFIX}")
    return published.removeprefix(PUBLISHED_PREFIX)


def published_name(native: str) -> str:
    """The name under which LLaDA checkpoints store a parameter of the library."""
    return PUBLISHED_PREFIX + native


def load_llada(
    cls: type[M],
    dir_or_id: str | Path,
    *,
    dtype: torch.dtype | None,
    device: torch.device | str,
    revision: str | None,
) -> M:
    """Build ``cls`` on the meta device and move each tensor to its place as it is read."""
    directory = resolve_directory(dir_or_id, revision)
    config = LLaDAConfig.from_dict(read_json(directory / "config.json"))
    with torch.device("meta"):
        model = cls(config)
    tied = "ff_out.weight" if config.weight_tying else None

    def renamed() -> Iterator[tuple[str, Tensor]]:
        for name, tensor in iter_weights(directory, device=device):
            native = native_name(name)
            if native != tied:
                yield native, tensor

    load_weights(model, renamed(), source=str(directory), dtype=dtype, device=device)
    return model.eval()
