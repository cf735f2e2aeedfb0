"""Windowed passes as CUDA graphs: one launch instead of a thousand.

A pass over one block of an 8B model reads 16 GB of weights in under 4 ms, about as long as the host
needs to launch its kernels one by one.  A graph launches them all at once.

Shape letters: B batch, Q positions of the window, L slots of the cache, D width.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Hashable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ..errors import InvalidArgumentError
from ..protocols import Backbone, KVCache
from .block import take_positions
from .cache import StaticKVCache

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
    """A recorded pass: where its inputs go, how it is run again, where its output lies."""

    inputs: tuple[Tensor, ...]
    replay: Callable[[], None]
    output: Tensor


class GraphedBackbone:
    """A backbone that records each shape of windowed pass once and replays it from then on.

    Full passes, and those on another kind of cache, run as they are.  Takes the place of the
    backbone in ``condition``; tokens are the same.  Weights must not be replaced while it lives,
    and it is for inference only.

    A recording is tied to the memory of a cache, so decoding the same shapes again finds it when
    the new cache lies where the old one did, as PyTorch's allocator makes it.

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
        self._recordings: OrderedDict[Hashable, _Recording] = OrderedDict()

    def embed(self, input_ids: Tensor) -> Tensor:
        """Embeddings ``[..., D]`` of token ids ``[...]``."""
        return self.backbone.embed(input_ids)

    def head(self, hidden: Tensor) -> Tensor:
        """Logits ``[..., V]`` of hidden states ``[..., D]``."""
        return self.backbone.head(hidden)

    def new_cache(self, batch_size: int, length: int) -> KVCache:
        """An empty cache for ``length`` slots."""
        return self.backbone.new_cache(batch_size, length)

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
        inputs = (inputs_embeds, position_ids, slots)
        if attention_mask is not None:
            inputs = (*inputs, attention_mask)
        with torch.inference_mode():
            recording = self._recording(inputs, cache)
            for fixed, given in zip(recording.inputs, inputs, strict=True):
                fixed.copy_(given)
            recording.replay()
            # The next replay overwrites the output.  All Q rows are computed, so that the shapes
            # stay the same while the positions that are still wanted become fewer.
            if output_positions is None:
                return recording.output.clone()
            return take_positions(recording.output, output_positions)

    def _recording(self, inputs: tuple[Tensor, ...], cache: StaticKVCache) -> _Recording:
        keys, _ = cache.layer(0)  # one allocation: this address and shape tell the rest
        shapes = tuple((tuple(x.shape), x.dtype) for x in inputs)
        key = (keys.data_ptr(), tuple(keys.shape), keys.stride(), shapes)
        found = self._recordings.get(key)
        if found is None:
            found = self._recordings[key] = self._record(inputs, cache)
            if len(self._recordings) > self.max_recordings:
                self._recordings.popitem(last=False)
        self._recordings.move_to_end(key)
        return found

    def _record(self, inputs: tuple[Tensor, ...], cache: StaticKVCache) -> _Recording:
        fixed = tuple(x.contiguous().clone() for x in inputs)
        embeds, positions, slots = fixed[:3]
        mask = fixed[3] if len(fixed) > 3 else None

        def forward() -> Tensor:
            return self.backbone.hidden(
                embeds, position_ids=positions, attention_mask=mask, cache=cache, slots=slots
            )

        replay, output = self._recorder(forward)
        return _Recording(fixed, replay, output)
