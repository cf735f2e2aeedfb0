"""Windowed passes as CUDA graphs: one launch instead of a thousand.

A pass over one block of an 8B model reads 16 GB of weights in under 4 ms, about as long as the host
needs to launch its kernels one by one.  A graph launches them all at once.

Shape letters: B batch, Q positions of the window, L slots of the cache, D width.
"""

from __future__ import annotations

import weakref
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ..errors import InvalidArgumentError
from ..protocols import Backbone, KVCache
from .block import take_positions
from .cache import StaticKVCache

_SLOTS = 64  # caches are longer by up to this many slots, so that prompts share recordings
_IDLE = 2  # caches kept for the next call

# Runs a call once for good; the result replays it and holds what it returned.
Recorder = Callable[[Callable[[], Tensor]], tuple[Callable[[], None], Tensor]]


def record_cuda_graph(call: Callable[[], Tensor]) -> tuple[Callable[[], None], Tensor]:
    """Capture ``call``; returns what replays it and the tensor that each replay fills."""
    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        for _ in range(2):  # libraries allocate their workspaces here, outside of the graph
            call()
    torch.cuda.current_stream().wait_stream(stream)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        output = call()
    return graph.replay, output


@dataclass(frozen=True)
class _Recording:
    """A recorded pass over B rows and L slots: its inputs, how it is run again, its output."""

    embeds: Tensor  # [B, Q, D]
    positions: Tensor  # [B, Q]
    slots: Tensor  # [Q]
    mask: Tensor  # [B, L]
    replay: Callable[[], None]
    output: Tensor  # [B, Q, D]

    def fill(
        self, embeds: Tensor, positions: Tensor, slots: Tensor, mask: Tensor | None, length: int
    ) -> None:
        """Put the inputs of fewer rows and slots in their place."""
        batch = len(embeds)
        self.embeds[:batch].copy_(embeds)
        self.positions[:batch].copy_(positions)
        self.slots.copy_(slots)
        self.mask[:batch, length:] = False
        if mask is None:
            self.mask[:batch, :length] = True
        else:
            self.mask[:batch, :length].copy_(mask)


class GraphedBackbone:
    """A backbone that records each shape of windowed pass once and replays it from then on.

    Full passes, and those on another kind of cache, run as they are.  Takes the place of the
    backbone in ``condition``; tokens are the same.  Weights must not be replaced while it lives,
    and it is for inference only.

    A recording is tied to the memory of a cache.  Caches are therefore lent out of a small pool,
    with rows rounded up to a power of two and slots to a multiple of 64: rows that finish, other
    prompts and later calls find the recordings that are there.

    Args:
        backbone: on a CUDA device.
        max_recordings: the least recently used recording goes when there are more.
        recorder: how a pass is recorded; None: as a CUDA graph.

    Raises:
        InvalidArgumentError: the backbone is not on a CUDA device.

    Example:
        >>> backbone = GraphedBackbone(LLaDA(config).cuda())  # doctest: +SKIP
        >>> predictor = condition(backbone, prompt_ids.cuda())  # doctest: +SKIP
    """

    def __init__(
        self, backbone: Backbone, max_recordings: int = 16, recorder: Recorder | None = None
    ) -> None:
        device = getattr(backbone, "device", None)
        if recorder is None and getattr(device, "type", None) != "cuda":
            raise InvalidArgumentError("backbone", "a backbone on a CUDA device", device)
        if max_recordings < 1:
            raise InvalidArgumentError("max_recordings", "an integer >= 1", max_recordings)
        self.backbone = backbone
        self.config: Any = backbone.config
        self.max_recordings = max_recordings
        self._recorder = record_cuda_graph if recorder is None else recorder
        self._recordings: OrderedDict[tuple[Any, ...], _Recording] = OrderedDict()
        self._idle: list[StaticKVCache] = []

    def embed(self, input_ids: Tensor) -> Tensor:
        """Embeddings ``[..., D]`` of token ids ``[...]``."""
        return self.backbone.embed(input_ids)

    def head(self, hidden: Tensor) -> Tensor:
        """Logits ``[..., V]`` of hidden states ``[..., D]``."""
        return self.backbone.head(hidden)

    def new_cache(self, batch_size: int, length: int) -> KVCache:
        """An empty cache for ``length`` slots, lent until the last view of it is gone."""
        rows, slots = _power_of_two(batch_size), -(-length // _SLOTS) * _SLOTS
        for whole in self._idle:
            if (whole.batch_size, whole.length) == (rows, slots):
                self._idle.remove(whole)
                break
        else:
            made = self.backbone.new_cache(rows, slots)
            if not isinstance(made, StaticKVCache):
                return self.backbone.new_cache(batch_size, length)
            whole = made
        whole.clear()
        lent = whole.narrowed(batch_size, length)
        weakref.finalize(lent, self._take_back, whole).atexit = False
        return lent

    def _take_back(self, whole: StaticKVCache) -> None:
        self._idle.append(whole)
        if len(self._idle) > _IDLE:
            gone = _address(self._idle.pop(0))
            for key in [key for key in self._recordings if key[0] == gone]:
                del self._recordings[key]

    def hidden(
        self,
        inputs_embeds: Tensor,
        *,
        position_ids: Tensor | None = None,
        attention_mask: Tensor | None = None,
        cache: KVCache | None = None,
        slots: Tensor | None = None,
        output_positions: Tensor | None = None,
    ) -> Tensor:
        """Final normalized hidden states; see :class:`dllm_audio.protocols.Backbone`."""
        if not isinstance(cache, StaticKVCache) or slots is None or position_ids is None:
            return self.backbone.hidden(
                inputs_embeds,
                position_ids=position_ids,
                attention_mask=attention_mask,
                cache=cache,
                slots=slots,
                output_positions=output_positions,
            )
        batch = len(inputs_embeds)
        rows = min(_power_of_two(batch), cache.capacity)
        with torch.inference_mode():
            recording = self._recording(inputs_embeds, slots, cache.allocated(rows))
            recording.fill(inputs_embeds, position_ids, slots, attention_mask, cache.length)
            recording.replay()
            # The next replay overwrites the output.  All Q rows are computed, so that the shapes
            # stay the same while the positions that are still wanted become fewer.
            output = recording.output[:batch]
            if output_positions is None:
                return output.clone()
            return take_positions(output, output_positions)

    def _recording(self, embeds: Tensor, slots: Tensor, cache: StaticKVCache) -> _Recording:
        key = (_address(cache), cache.batch_size, cache.length, len(slots), embeds.dtype)
        found = self._recordings.get(key)
        if found is None:
            found = self._recordings[key] = self._record(embeds, slots, cache)
            if len(self._recordings) > self.max_recordings:
                self._recordings.popitem(last=False)
        self._recordings.move_to_end(key)
        return found

    def _record(self, embeds: Tensor, slots: Tensor, cache: StaticKVCache) -> _Recording:
        rows, device = cache.batch_size, embeds.device
        fixed = embeds.new_zeros(rows, *embeds.shape[1:])
        positions = torch.zeros(rows, len(slots), dtype=torch.long, device=device)
        places = slots.clone()
        # Rows that are not in use attend to everything: a row without keys would give NaN.
        mask = torch.ones(rows, cache.length, dtype=torch.bool, device=device)

        def forward() -> Tensor:
            return self.backbone.hidden(
                fixed, position_ids=positions, attention_mask=mask, cache=cache, slots=places
            )

        replay, output = self._recorder(forward)
        return _Recording(fixed, positions, places, mask, replay, output)


def _power_of_two(number: int) -> int:
    return 1 << (number - 1).bit_length()


def _address(cache: StaticKVCache) -> int:
    return cache.layer(0)[0].data_ptr()  # one allocation: this tells where the rest lies
