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
from torch import Tensor, nn

from ..errors import InvalidArgumentError
from ..outputs import BackboneOutput
from ..protocols import Backbone, KVCache, hidden_states
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


class GraphedBackbone(nn.Module):
    """A backbone that records each shape of windowed pass once and replays it from then on.

    Full passes, and those on another kind of cache, run as they are.  Takes the place of the
    backbone in ``condition`` and in a whole model; tokens are the same.  It is for inference only,
    and no registered part: a model is saved with the backbone itself.

    A recording is tied to the memory of the weights and of a cache.  Where the weights move,
    recordings are dropped; weights that are loaded in place keep them.  Caches are lent out of a
    small pool, with rows rounded up to a power of two and slots to a multiple of 64: rows that
    finish, other prompts and later calls find the recordings that are there.  Copies and pickles
    begin without recordings.

    Args:
        backbone: on a CUDA device.
        max_recordings: the least recently used recording goes when there are more.
        recorder: how a pass is recorded; None: as a CUDA graph.

    Raises:
        InvalidArgumentError: the backbone is not on a CUDA device, or has no cache.

    Example:
        >>> backbone = GraphedBackbone(LLaDA(config).cuda())  # doctest: +SKIP
        >>> model = AudioDiffusionLM.from_parts(encoder, adapter, backbone)  # doctest: +SKIP
    """

    def __init__(
        self, backbone: Backbone, max_recordings: int = 16, recorder: Recorder | None = None
    ) -> None:
        super().__init__()
        device = getattr(backbone, "device", None)
        if recorder is None and getattr(device, "type", None) != "cuda":
            raise InvalidArgumentError("backbone", "a backbone on a CUDA device", device)
        if not hasattr(backbone, "new_cache"):
            expected = "a backbone with new_cache: only passes on a cache are recorded"
            raise InvalidArgumentError("backbone", expected, type(backbone).__name__)
        if max_recordings < 1:
            raise InvalidArgumentError("max_recordings", "an integer >= 1", max_recordings)
        self.backbone: Any = backbone
        self.config: Any = backbone.config
        self.logit_shift: int = getattr(backbone, "logit_shift", 0)
        self.takes_visible: bool = getattr(backbone, "takes_visible", False)
        self.joins_caches: bool = getattr(backbone, "joins_caches", False)
        self.max_recordings = max_recordings
        self._recorder = record_cuda_graph if recorder is None else recorder
        self._forget()

    def _forget(self) -> None:
        self._recordings: OrderedDict[tuple[Any, ...], _Recording] = OrderedDict()
        self._idle: list[StaticKVCache] = []
        self._weights = list(self.parameters())  # walking the modules in every pass takes longer
        self._places = self._weight_places()

    def _weight_places(self) -> list[tuple[int, torch.dtype]]:
        return [(weight.data_ptr(), weight.dtype) for weight in self._weights]

    def _check_weights(self) -> None:
        """Drop what was recorded where the weights were moved or converted."""
        if self._weight_places() != self._places:
            self._forget()

    def __getstate__(self) -> dict[str, Any]:
        dropped = ("_recordings", "_idle", "_weights", "_places")
        return {name: value for name, value in self.__dict__.items() if name not in dropped}

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)
        self._forget()

    @property
    def device(self) -> torch.device:
        """Where the backbone is."""
        device: torch.device = self.backbone.device
        return device

    @property
    def dtype(self) -> torch.dtype:
        """Floating-point type of the backbone."""
        dtype: torch.dtype = self.backbone.dtype
        return dtype

    def embed(self, input_ids: Tensor) -> Tensor:
        """Embeddings ``[..., D]`` of token ids ``[...]``."""
        embeds: Tensor = self.backbone.embed(input_ids)
        return embeds

    def head(self, hidden: Tensor) -> Tensor:
        """Logits ``[..., V]`` of hidden states ``[..., D]``."""
        logits: Tensor = self.backbone.head(hidden)
        return logits

    def new_cache(self, batch_size: int, length: int) -> KVCache:
        """An empty cache for ``length`` slots, lent until the last view of it is gone."""
        self._check_weights()
        rows, slots = _power_of_two(batch_size), -(-length // _SLOTS) * _SLOTS
        for whole in self._idle:
            if (whole.batch_size, whole.length) == (rows, slots):
                self._idle.remove(whole)
                break
        else:
            made = self.backbone.new_cache(rows, slots)
            if not isinstance(made, StaticKVCache):
                other: KVCache = self.backbone.new_cache(batch_size, length)
                return other
            whole = made
        whole.clear()
        lent = whole.narrowed(batch_size, length)
        weakref.finalize(lent, self._take_back, whole, self._places).atexit = False
        return lent

    def _take_back(self, whole: StaticKVCache, places: object) -> None:
        if places is not self._places:
            return  # made for weights that have moved since
        self._idle.append(whole)
        if len(self._idle) > _IDLE:
            gone = _address(self._idle.pop(0))
            for key in [key for key in self._recordings if key[0] == gone]:
                del self._recordings[key]

    def forward(
        self,
        input_ids: Tensor | None = None,
        inputs_embeds: Tensor | None = None,
        *,
        return_hidden: bool = False,
        **arguments: Tensor | KVCache | None,
    ) -> BackboneOutput:
        """Logits, or final hidden states, as the backbone's own forward gives them.

        Args:
            input_ids: ``[B, L]`` int64; give these or ``inputs_embeds``.
            inputs_embeds: ``[B, L, D]``.
            return_hidden: give the normalized hidden states instead of logits.
            arguments: further ones of :meth:`hidden`.

        Raises:
            InvalidArgumentError: both or neither of ``input_ids`` and ``inputs_embeds``.
        """
        if (input_ids is None) == (inputs_embeds is None):
            got = "neither" if input_ids is None else "both"
            raise InvalidArgumentError("input_ids", "either it or inputs_embeds", got)
        embeds = self.embed(input_ids) if inputs_embeds is None else inputs_embeds  # type: ignore[arg-type]
        hidden = self.hidden(embeds, **arguments)  # type: ignore[arg-type]
        if return_hidden:
            return BackboneOutput(last_hidden_state=hidden)
        return BackboneOutput(logits=self.head(hidden))

    def hidden(
        self,
        inputs_embeds: Tensor,
        *,
        position_ids: Tensor | None = None,
        attention_mask: Tensor | None = None,
        cache: KVCache | None = None,
        slots: Tensor | None = None,
        output_positions: Tensor | None = None,
        **others: Tensor | None,
    ) -> Tensor:
        """Final normalized hidden states; see :class:`dllm_audio.protocols.Backbone`.

        Passes with ``others`` run as they are.
        """
        if others or not isinstance(cache, StaticKVCache) or slots is None or position_ids is None:
            return hidden_states(
                self.backbone,
                inputs_embeds,
                position_ids=position_ids,
                attention_mask=attention_mask,
                cache=cache,
                slots=slots,
                output_positions=output_positions,
                **others,
            )
        self._check_weights()
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
            return hidden_states(
                self.backbone,
                fixed,
                position_ids=positions,
                attention_mask=mask,
                cache=cache,
                slots=places,
            )

        replay, output = self._recorder(forward)
        return _Recording(fixed, positions, places, mask, replay, output)


def _power_of_two(number: int) -> int:
    return 1 << (number - 1).bit_length()


def _address(cache: StaticKVCache) -> int:
    return cache.layer(0)[0].data_ptr()  # one allocation: this tells where the rest lies
