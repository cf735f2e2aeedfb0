"""Adapters built from the tensors of a published checkpoint: the tensors tell the sizes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from ..adapters import (
    AcousticAdapter,
    DualAdapter,
    PromptedSemanticAdapter,
    SemanticAdapter,
    evenly_spaced_taps,
)
from ..errors import CheckpointError, InvalidArgumentError
from ..weights import load_weights

_ACOUSTIC, _PROMPTS, _QUERIES = "acoustic.", "prompts", "acoustic.queries"


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What an adapter stands between.

    Attributes:
        encoder_dim: width E of the encoder.
        encoder_layers: its depth.
        encoder_heads: its attention heads; the Q-Former has as many.
        lm_dim: width D of the backbone.
    """

    encoder_dim: int
    encoder_layers: int
    encoder_heads: int
    lm_dim: int


def build_adapter(
    tensors: Mapping[str, Tensor],
    around: Surroundings,
    *,
    prompted: bool,
    config: Mapping[str, Any],
    source: str,
) -> nn.Module:
    """The adapter that the tensors describe, on the meta device.

    Tensors that the chosen form leaves unused are held to their names and shapes all the same.

    Args:
        tensors: under the library's names.
        around: sizes of encoder and backbone.
        prompted: the form of stage 1 (learned prompts and semantic embeddings), else the dual
            form.
        config: the checkpoint's; reads ``prompt_size`` and ``target_layer_ids``.
        source: named in errors.

    Raises:
        CheckpointError: a part is missing, or sizes do not fit.
    """
    width, lm_dim = around.encoder_dim, around.lm_dim
    _expect(source, tensors, "semantic.conv.weight", 0, width, "the encoder's width")
    _expect(source, tensors, "semantic.projection.weight", 0, lm_dim, "the backbone's width")
    with torch.device("meta"):
        stride = _size(source, tensors, "semantic.subsample.weight", 0) // width
        try:
            semantic = SemanticAdapter(width, lm_dim, max(stride, 1))
        except InvalidArgumentError as error:
            raise CheckpointError(f"{source}: semantic.subsample.weight: {error}") from error
        acoustic = None
        if any(name.startswith(_ACOUSTIC) for name in tensors):
            acoustic = _acoustic(tensors, around, config, source)
        if prompted:
            count = _size(source, tensors, _PROMPTS, 0)
            adapter: nn.Module = PromptedSemanticAdapter(semantic, count)
        elif acoustic is None:
            raise CheckpointError(f"{source}: holds no acoustic_connector; is it of stage 1?")
        else:
            adapter = DualAdapter(semantic, acoustic)
    if prompted and acoustic is not None:
        unused = ((n.removeprefix(_ACOUSTIC), t) for n, t in tensors.items() if _ACOUSTIC in n)
        load_weights(acoustic, unused, source=source)
    if not prompted and _PROMPTS in tensors:
        _expect(source, tensors, _PROMPTS, 1, lm_dim, "the backbone's width")
    return adapter


def used_tensors(tensors: Mapping[str, Tensor], prompted: bool) -> dict[str, Tensor]:
    """The tensors that a form of the adapter takes."""
    if prompted:
        return {name: t for name, t in tensors.items() if not name.startswith(_ACOUSTIC)}
    return {name: t for name, t in tensors.items() if name != _PROMPTS}


def _acoustic(
    tensors: Mapping[str, Tensor], around: Surroundings, config: Mapping[str, Any], source: str
) -> AcousticAdapter:
    count = _size(source, tensors, _QUERIES, 0)
    queries = _size(source, tensors, _QUERIES, 1)
    if config.get("prompt_size") not in (None, queries):
        raise CheckpointError(
            f"{source}: config.json: prompt_size is {config['prompt_size']}, "
            f"but there are {queries} queries"
        )
    _expect(source, tensors, _QUERIES, 2, around.encoder_dim, "the encoder's width")
    layers = {name.split(".")[2] for name in tensors if name.startswith("acoustic.layers.")}
    if layers != {str(i) for i in range(len(layers))} or not layers:
        raise CheckpointError(f"{source}: Q-Former layers are missing: found {sorted(layers)}")
    return AcousticAdapter(
        around.encoder_dim,
        around.lm_dim,
        _taps(config, count, around.encoder_layers, source),
        around.encoder_heads,
        num_queries=queries,
        num_layers=len(layers),
        intermediate_size=_size(source, tensors, "acoustic.layers.0.up.weight", 0),
    )


def _taps(
    config: Mapping[str, Any], count: int, encoder_layers: int, source: str
) -> tuple[int, ...]:
    stated = config.get("target_layer_ids")
    if stated is None and 1 <= count <= encoder_layers:
        return evenly_spaced_taps(encoder_layers, count)
    if stated is None:
        raise CheckpointError(
            f"{source}: taps {count} layers, but the encoder has {encoder_layers}; "
            "was it trained with another one?"
        )
    known = range(encoder_layers + 1)
    valid = isinstance(stated, list) and all(type(tap) is int and tap in known for tap in stated)
    if not valid or not len(stated) == len(set(stated)) == count:
        raise CheckpointError(
            f"{source}: config.json: target_layer_ids: expected {count} distinct hidden-state "
            f"indices from 0 to {encoder_layers}, got {stated}"
        )
    return tuple(stated)


def _size(source: str, tensors: Mapping[str, Tensor], name: str, dim: int) -> int:
    if name not in tensors:
        raise CheckpointError(f"{source}: the tensor {name} is missing")
    shape = tensors[name].shape
    if dim >= len(shape) or 0 in shape:
        raise CheckpointError(f"{source}: {name}: unexpected shape {list(shape)}")
    return shape[dim]


def _expect(
    source: str, tensors: Mapping[str, Tensor], name: str, dim: int, size: int, what: str
) -> None:
    got = _size(source, tensors, name, dim)
    if got != size:
        raise CheckpointError(f"{source}: {name}: expected {what} {size} in dim {dim}, got {got}")
