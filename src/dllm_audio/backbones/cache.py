"""Preallocated key/value cache with static shapes."""

from __future__ import annotations

import torch
from torch import Tensor

from ..errors import InvalidArgumentError
from .config import TransformerConfig


class StaticKVCache:
    """Keys (after RoPE) and values of every layer, written in place.

    One allocation ``[2, n_layers, B, H_kv, L, d]`` holds everything, so its size is known before
    it is made and the addresses never move (CUDA graphs may keep them).

    Args:
        config: the backbone's sizes.
        batch_size: rows B.
        length: slots L, prompt and response together.
        dtype: floating-point type of keys and values.
        device: where the cache lives.

    Example:
        >>> from dllm_audio import LLaDAConfig
        >>> config = LLaDAConfig(d_model=64, n_layers=2, n_heads=4, vocab_size=9)
        >>> StaticKVCache.nbytes(config, batch_size=1, length=10, dtype=torch.float32)
        10240
    """

    def __init__(
        self,
        config: TransformerConfig,
        batch_size: int,
        length: int,
        *,
        dtype: torch.dtype = torch.float32,
        device: torch.device | str = "cpu",
    ) -> None:
        if batch_size < 1:
            raise InvalidArgumentError("batch_size", "an integer >= 1", batch_size)
        if length < 1:
            raise InvalidArgumentError("length", "an integer >= 1", length)
        shape = (2, config.n_layers, batch_size, config.kv_heads, length, config.head_dim)
        self._allocation = torch.zeros(shape, dtype=dtype, device=device)
        self._storage = self._allocation  # the part that this object shows
        self._shown_by: StaticKVCache | None = None

    @classmethod
    def nbytes(
        cls, config: TransformerConfig, batch_size: int, length: int, dtype: torch.dtype
    ) -> int:
        """Bytes that a cache of these sizes takes."""
        per_slot = 2 * config.n_layers * config.kv_heads * config.head_dim
        return per_slot * batch_size * length * dtype.itemsize

    @property
    def batch_size(self) -> int:
        """Rows B."""
        return self._storage.shape[2]

    @property
    def length(self) -> int:
        """Slots L."""
        return self._storage.shape[4]

    def write(self, layer: int, slots: Tensor | None, keys: Tensor, values: Tensor) -> None:
        """Store ``[B, H_kv, Q, d]`` keys and values at ``slots [Q]`` (None: all slots)."""
        for stored, new in zip(self._storage[:, layer], (keys, values), strict=True):
            if slots is None:
                stored.copy_(new)
            else:
                # Under autocast the keys may be narrower than the parameters and the cache.
                stored.index_copy_(2, slots, new.to(stored.dtype))

    def layer(self, layer: int) -> tuple[Tensor, Tensor]:
        """Keys and values ``[B, H_kv, L, d]`` of one layer (views)."""
        return self._storage[0, layer], self._storage[1, layer]

    def keep(self, rows: Tensor) -> StaticKVCache:
        """Move the chosen rows ``[B']`` to the front, in place, and return a view of them.

        What the other rows held is lost. No layer's address changes, and no more than a copy of
        one layer is made at a time.
        """
        for layer in self._storage.unbind(1):
            layer[:, : len(rows)] = layer.index_select(1, rows)
        return self.first_rows(len(rows))

    def first_rows(self, batch_size: int) -> StaticKVCache:
        """A view of the first rows, for a refresh with fewer rows: nothing is copied."""
        return self.narrowed(batch_size, self.length)

    def narrowed(self, batch_size: int, length: int) -> StaticKVCache:
        """A view of the allocation's first rows and slots, which keeps this object alive."""
        view = self._view(batch_size, length)
        view._shown_by = self
        return view

    def allocated(self, batch_size: int) -> StaticKVCache:
        """A view of the allocation's first rows with all slots, which keeps nothing but memory."""
        return self._view(batch_size, self._allocation.shape[4])

    def clear(self) -> None:
        """Set the whole allocation to zero."""
        self._allocation.zero_()

    @property
    def capacity(self) -> int:
        """Rows of the allocation."""
        return self._allocation.shape[2]

    def _view(self, batch_size: int, length: int) -> StaticKVCache:
        view = type(self).__new__(type(self))
        view._allocation = self._allocation
        view._storage = self._allocation[:, :, :batch_size, :, :length]
        view._shown_by = None
        return view
