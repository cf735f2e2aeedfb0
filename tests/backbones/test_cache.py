"""The preallocated key/value cache."""

from __future__ import annotations

import pytest
import torch

from dllm_audio.backbones import StaticKVCache
from dllm_audio.errors import InvalidArgumentError
from dllm_audio.protocols import KVCache
from small_parts import small_config, small_llada


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("kv_heads", [None, 2])
def test_its_stated_size_is_its_storage(kv_heads: int | None, dtype: torch.dtype) -> None:
    config = small_config(n_kv_heads=kv_heads)
    cache = StaticKVCache(config, 3, 10, dtype=dtype)
    layers = [tensor for layer in range(config.n_layers) for tensor in cache.layer(layer)]
    stored = sum(tensor.nbytes for tensor in layers)
    assert StaticKVCache.nbytes(config, 3, 10, dtype) == stored
    storages = {tensor.untyped_storage().data_ptr() for tensor in layers}
    assert len(storages) == 1
    assert layers[0].untyped_storage().nbytes() == stored


def test_the_8b_cache_of_one_audio_prompt() -> None:
    # 2 tensors x 32 layers x 4096 wide x 2 bytes = half a MiB a slot.
    from dllm_audio import LLaDAConfig

    assert StaticKVCache.nbytes(LLaDAConfig(), 1, 1, torch.bfloat16) == 2**19


def test_writing_touches_the_given_slots_only() -> None:
    cache = StaticKVCache(small_config(), 2, 5)
    shape = cache.layer(0)[0].shape
    keys, values = torch.randn(shape), torch.randn(shape)
    cache.write(1, None, keys, values)
    slots = torch.tensor([1, 3])
    new_keys, new_values = torch.randn(2, *shape[1:2], 2, shape[3]), torch.zeros(2, 4, 2, shape[3])
    cache.write(1, slots, new_keys, new_values)
    keys[:, :, slots], values[:, :, slots] = new_keys, new_values
    assert torch.equal(cache.layer(1)[0], keys)
    assert torch.equal(cache.layer(1)[1], values)
    assert not cache.layer(0)[0].any()


def test_kept_rows_move_to_the_front_and_stay_views() -> None:
    cache = small_llada().new_cache(3, 4)
    assert isinstance(cache, KVCache)
    assert (cache.batch_size, cache.length) == (3, 4)
    keys = torch.randn_like(cache.layer(0)[0])
    cache.write(0, None, keys, -keys)
    kept = cache.keep(torch.tensor([2, 0]))
    assert torch.equal(kept.layer(0)[0], keys[[2, 0]])
    assert torch.equal(kept.layer(0)[1], -keys[[2, 0]])
    again = kept.keep(torch.tensor([1]))
    assert torch.equal(again.layer(0)[0], keys[:1])
    view = cache.first_rows(2)
    view.write(0, None, torch.zeros_like(keys[:2]), torch.zeros_like(keys[:2]))
    assert not cache.layer(0)[0][:2].any()
    assert cache.layer(0)[0].data_ptr() == view.layer(0)[0].data_ptr()


@pytest.mark.parametrize("name", ["batch_size", "length"])
def test_an_empty_cache_is_refused(name: str) -> None:
    sizes = {"batch_size": 1, "length": 1, name: 0}
    with pytest.raises(InvalidArgumentError, match=name):
        StaticKVCache(small_config(), **sizes)
