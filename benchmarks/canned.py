"""A predictor that costs nothing, for measuring what surrounds the model."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from dllm_audio import LLaDAConfig


class CannedPredictor:
    """Returns ready-made random logits; has everything that a cached sampler asks for.

    Args:
        config: vocabulary and ids.
        batch_size: rows B.
        block: most positions asked for at once.
        device: where the logits are.
        dtype: of the logits.
    """

    def __init__(
        self,
        config: LLaDAConfig,
        batch_size: int,
        block: int,
        device: torch.device,
        dtype: torch.dtype,
    ) -> None:
        self.batch_size, self.device = batch_size, device
        self.mask_token_id = int(config.mask_token_id or 0)
        self.eos_token_id = None
        shape = (batch_size, block, config.num_embeddings)
        self._logits = torch.randn(shape, device=device, dtype=dtype)

    def __call__(
        self,
        x_t: Tensor,
        positions: Tensor | None = None,
        *,
        cache: Any = None,
        window: Tensor | None = None,
    ) -> Tensor:
        """The first logits, as many as there are positions."""
        count = x_t.shape[1] if positions is None else positions.shape[-1]
        return self._logits[:, :count]

    def new_cache(self, response_length: int) -> CannedPredictor:
        """Nothing is cached."""
        return self

    def first_rows(self, batch_size: int) -> CannedPredictor:
        """The cache of the first rows: nothing."""
        return self

    def select(self, rows: Tensor) -> CannedPredictor:
        """Every row gets the same logits."""
        return self

    def cache_rows(self, rows: Tensor) -> Tensor:
        """One cache row a batch row."""
        return rows
