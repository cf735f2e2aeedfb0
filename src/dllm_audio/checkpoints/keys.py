"""Names of the adapters' tensors: the library's own, and those of the published checkpoints.

A published name maps to one of ours and back, module by module; the last part (``weight``,
``bias``) is the same.  The learned queries are the exception: one tensor
``layer_prompts.{i} [1, Q, E]`` per tapped layer there, one tensor ``queries [T, Q, E]`` here.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

import torch
from torch import Tensor

from ..errors import CheckpointError
from ..weights import shorten

_ATTENTION = {
    "self.query": "query",
    "self.key": "key",
    "self.value": "value",
    "output.dense": "output",
    "output.LayerNorm": "norm",
}
_QFORMER = {
    **{f"attention.{there}": f"self_attention.{here}" for there, here in _ATTENTION.items()},
    **{f"crossattention.{there}": f"cross_attention.{here}" for there, here in _ATTENTION.items()},
    "intermediate.dense": "up",
    "output.dense": "down",
    "output.LayerNorm": "norm",
}
_MODULES = {
    "semantic_connector.conv.0": "semantic.conv",
    "semantic_connector.conv.2": "semantic.subsample",
    "semantic_connector.linear_connector.0": "semantic.linear",
    "semantic_connector.linear_connector.2": "semantic.projection",
    "semantic_connector.layernorm": "semantic.norm",
    "acoustic_connector.proj.0": "acoustic.norm",
    "acoustic_connector.proj.1": "acoustic.projection",
    **{
        f"acoustic_connector.qformer.layer.#.{there}": f"acoustic.layers.#.{here}"
        for there, here in _QFORMER.items()
    },
}
_TENSORS = {
    **{f"{t}.{leaf}": f"{h}.{leaf}" for t, h in _MODULES.items() for leaf in ("weight", "bias")},
    "acoustic_connector.layer_weights": "acoustic.layer_weights",
    "trainable_prompts.weight": "prompts",
}
_OWN_TENSORS = {here: there for there, here in _TENSORS.items()}
_QUERIES = "acoustic.queries"
_LAYER_PROMPTS = "acoustic_connector.layer_prompts."
_LAYER_NUMBER = re.compile(r"(?<=layer\.)\d+(?=\.)|(?<=layers\.)\d+(?=\.)")


def from_published(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The adapters' tensors under the library's names (``semantic.``, ``acoustic.``, ``prompts``).

    Args:
        tensors: under the published names.

    Returns:
        The same tensors by our names; only the learned queries are stacked into a new one.

    Raises:
        CheckpointError: names that belong to no adapter, or gaps in ``layer_prompts``.

    Example:
        >>> list(from_published({"trainable_prompts.weight": torch.zeros(2, 4)}))
        ['prompts']
    """
    queries = {name: t for name, t in tensors.items() if name.startswith(_LAYER_PROMPTS)}
    own = _translate((n for n in tensors if n not in queries), _TENSORS)
    state = {own[name]: tensors[name] for name in own}
    if queries:
        state[_QUERIES] = _stack_queries(queries)
    return state


def to_published(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The adapters' tensors under the published names; the inverse of ``from_published``.

    Args:
        tensors: under the library's names, as in an adapter's ``state_dict``.

    Returns:
        The same tensors by the published names.

    Raises:
        CheckpointError: names that belong to no adapter.

    Example:
        >>> list(to_published({"semantic.norm.weight": torch.ones(4)}))
        ['semantic_connector.layernorm.weight']
    """
    theirs = _translate((n for n in tensors if n != _QUERIES), _OWN_TENSORS)
    state = {theirs[name]: tensors[name] for name in theirs}
    if _QUERIES in tensors:
        for i, layer in enumerate(tensors[_QUERIES]):
            state[f"{_LAYER_PROMPTS}{i}"] = layer.unsqueeze(0)
    return state


def _translate(names: Iterable[str], table: Mapping[str, str]) -> dict[str, str]:
    translated, unknown = {}, []
    for name in names:
        number = _LAYER_NUMBER.search(name)
        pattern = _LAYER_NUMBER.sub("#", name) if number else name
        if "#" in name or pattern not in table or (number and str(int(number[0])) != number[0]):
            unknown.append(name)
        else:
            translated[name] = table[pattern].replace("#", number[0] if number else "#")
    if unknown:
        raise CheckpointError(f"tensors that belong to no adapter: {shorten(unknown)}")
    return translated


def _stack_queries(queries: Mapping[str, Tensor]) -> Tensor:
    expected = [f"{_LAYER_PROMPTS}{i}" for i in range(len(queries))]
    if set(queries) != set(expected):
        raise CheckpointError(
            f"expected {expected[0]} to {expected[-1]} without gaps, got {shorten(queries)}"
        )
    stack = [queries[name] for name in expected]
    shapes = {tuple(tensor.shape) for tensor in stack}
    if len(shapes) > 1 or stack[0].ndim != 3 or stack[0].shape[0] != 1:
        raise CheckpointError(
            f"{_LAYER_PROMPTS}*: expected equal shapes [1, Q, E], got {sorted(shapes)}"
        )
    return torch.cat(stack)
