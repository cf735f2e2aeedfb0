"""Passes that several rows ask of one backbone, computed as a padded batch.

Shape letters: b rows of one pass, B rows of all, Q computed positions, L keys, M positions whose
output is wanted, H heads, d head width, D width.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor

from ..protocols import Backbone, KVCache, hidden_states

# Computed positions of a batch over those that were asked for, at most: on a CPU a padded position
# costs what a real one does, elsewhere a batch more costs the weights' way once more.
_PADDED_ON_CPU = 1.25
_PADDED = 2.0


@dataclass(frozen=True, slots=True)
class Pass:
    """What one row (or a pair, with guidance) asks: the arguments of ``Backbone.hidden``.

    Attributes:
        inputs_embeds: ``[b, Q, D]``.
        position_ids: ``[b, Q]`` or None.
        attention_mask: ``[b, L]`` bool, or None.
        cache: where keys and values are kept, or None.
        slots: ``[Q]`` columns of the cache, or None.
        output_positions: ``[b, M]`` or None.
        visible: ``[Q, L]`` bool, or None.
    """

    inputs_embeds: Tensor
    position_ids: Tensor | None = None
    attention_mask: Tensor | None = None
    cache: KVCache | None = None
    slots: Tensor | None = None
    output_positions: Tensor | None = None
    visible: Tensor | None = None

    @property
    def rows(self) -> int:
        """Rows b."""
        return self.inputs_embeds.shape[0]

    @property
    def queries(self) -> int:
        """Computed positions Q."""
        return self.inputs_embeds.shape[1]

    @property
    def keys(self) -> int:
        """Keys L that a computed position may attend to."""
        if self.attention_mask is not None:
            return self.attention_mask.shape[1]
        return self.queries if self.slots is None or self.cache is None else self.cache.length

    def joins(self, backbone: Backbone) -> bool:
        """Whether it can be a part of a batch."""
        if self.visible is not None or self.position_ids is None:
            return False
        return self.cache is None or getattr(backbone, "joins_caches", False)

    def alone(self, backbone: Backbone) -> Tensor:
        """States ``[b, M, D]`` by a call of its own."""
        given = {field.name: getattr(self, field.name) for field in fields(self)}
        embeds = given.pop("inputs_embeds")
        return hidden_states(backbone, embeds, **{n: v for n, v in given.items() if v is not None})


class JoinedCache:
    """The caches of several passes as one, for the time of a batch.

    Keys and values go to the cache of the row that they belong to, into that row's own slots, and
    are read back padded to the longest.

    Args:
        passes: whose caches they are; some may have none.
        length: keys of the longest.
    """

    def __init__(self, passes: Sequence[Pass], length: int) -> None:
        self.length = length
        self._passes = passes
        self._room: Tensor | None = None  # [2, B, H, L, d], the same for all layers

    def write(self, layer: int, slots: Tensor | None, keys: Tensor, values: Tensor) -> None:
        """Store ``[B, H, Q, d]`` keys and values; each pass knows its own slots."""
        del slots
        first = 0
        for each in self._passes:
            rows = slice(first, first + each.rows)
            if each.cache is not None:
                own = (part[rows, :, : each.queries] for part in (keys, values))
                each.cache.write(layer, each.slots, *own)
            first = rows.stop

    def layer(self, layer: int) -> tuple[Tensor, Tensor]:
        """Keys and values ``[B, H, L, d]``; zeros behind a row's own."""
        first = 0
        for each in self._passes:
            for number, part in enumerate(cast(KVCache, each.cache).layer(layer)):
                if self._room is None:
                    rows = sum(each.rows for each in self._passes)
                    self._room = part.new_zeros(2, rows, part.shape[1], self.length, part.shape[3])
                self._room[number, first : first + each.rows, :, : part.shape[2]] = part
            first += each.rows
        room = cast(Tensor, self._room)
        return room[0], room[1]


def batches(backbone: Backbone, passes: Sequence[Pass]) -> list[list[int]]:
    """Which passes are computed together, by their places.

    Those over a window of a cache stand apart from those over everything, and a batch holds only
    passes of about the same length.
    """
    found: list[list[int]] = []
    open_batches: dict[bool, list[int]] = {}
    for place in sorted(range(len(passes)), key=lambda place: -passes[place].queries):
        each = passes[place]
        if not each.joins(backbone):
            found.append([place])
            continue
        batch = open_batches.get(each.slots is not None)
        if batch is None or not _fits(passes, [*batch, place]):
            batch = open_batches[each.slots is not None] = []
            found.append(batch)
        batch.append(place)
    return found


def _fits(passes: Sequence[Pass], places: Sequence[int]) -> bool:
    members = [passes[place] for place in places]
    limit = _PADDED_ON_CPU if members[0].inputs_embeds.device.type == "cpu" else _PADDED
    longest = max(each.queries for each in members)
    asked = sum(each.rows * each.queries for each in members)
    return longest * sum(each.rows for each in members) <= limit * asked


def together(backbone: Backbone, passes: Sequence[Pass]) -> list[Tensor]:
    """States ``[b, M, D]`` of every pass, by one call.

    Args:
        backbone: computes them.
        passes: one batch of :func:`batches`.
    """
    if len(passes) == 1:
        return [passes[0].alone(backbone)]
    queries = max(each.queries for each in passes)
    keys = max(each.keys for each in passes)
    even = all(each.keys == keys and each.attention_mask is None for each in passes)
    arguments: dict[str, Any] = {
        "position_ids": _joined([cast(Tensor, each.position_ids) for each in passes], queries),
        "attention_mask": None if even else _joined([_mask(each) for each in passes], keys),
    }
    if any(each.cache is not None for each in passes):
        arguments["cache"] = JoinedCache(passes, keys)
    if passes[0].slots is not None:  # only that there are some: the cache knows each row's own
        arguments["slots"] = torch.arange(queries, device=passes[0].slots.device)
    wanted = [_wanted(each) for each in passes]
    arguments["output_positions"] = _joined(wanted, max(each.shape[1] for each in wanted))
    embeds = _joined([each.inputs_embeds for each in passes], queries)
    states = hidden_states(backbone, embeds, **arguments).split([each.rows for each in passes])
    return [found[:, : each.shape[1]] for found, each in zip(states, wanted, strict=True)]


def heads(backbone: Backbone, states: Sequence[Tensor]) -> list[Tensor]:
    """Logits ``[..., V]`` of each of several states ``[..., D]``, by one call."""
    if len(states) == 1:
        return [backbone.head(states[0])]
    rows = [each.reshape(-1, each.shape[-1]) for each in states]
    logits = backbone.head(torch.cat(rows)[None])[0].split([len(each) for each in rows])
    return [found.unflatten(0, each.shape[:-1]) for found, each in zip(logits, states, strict=True)]


def _joined(parts: Sequence[Tensor], width: int) -> Tensor:
    """Tensors ``[b, n, ...]`` as one ``[B, width, ...]``, zeros behind each."""
    behind = [0] * (2 * (parts[0].dim() - 2))
    return torch.cat([F.pad(part, (*behind, 0, width - part.shape[1])) for part in parts])


def _mask(each: Pass) -> Tensor:
    if each.attention_mask is not None:
        return each.attention_mask.bool()
    device = each.inputs_embeds.device
    return torch.ones(each.rows, each.keys, dtype=torch.bool, device=device)


def _wanted(each: Pass) -> Tensor:
    if each.output_positions is not None:
        return each.output_positions
    places = torch.arange(each.queries, device=each.inputs_embeds.device)
    return places.expand(each.rows, -1)
