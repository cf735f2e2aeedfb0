"""Frozen parts inside a full training checkpoint: they must be those that the model is built with.

The original training code saves everything: Whisper's encoder under ``whisper_model.``, LLaDA under
``llm_model.``, with peft's names where LoRA was attached.  Only what trained is taken from there.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from ..errors import CheckpointError
from ..weights import shorten

_WHISPER, _LLADA = "whisper_model.", "llm_model."
_PEFT, _BASE_LAYER = "base_model.model.", ".base_layer."
_PUBLISHED = "model.transformer."
_ENCODER = ("model.encoder.", "encoder.")
# Of a value, how far two roundings of it to bfloat16 may be apart.
_ROUNDING = 2.0**-7


def split_frozen(
    tensors: Mapping[str, Tensor],
) -> tuple[dict[str, Tensor], dict[str, Tensor], dict[str, Tensor]]:
    """Separate frozen parts from what trained.

    Args:
        tensors: under the original's names, without LoRA.

    Returns:
        What trained; the encoder's tensors and the backbone's, each under its own names.

    Raises:
        CheckpointError: a tensor of the backbone whose name is unknown.

    Example:
        >>> name = "llm_model.base_model.model.model.transformer.blocks.0.q_proj.base_layer.weight"
        >>> trained, whisper, llada = split_frozen({name: torch.zeros(2, 2)})
        >>> list(llada)
        ['blocks.0.q_proj.weight']
    """
    trained: dict[str, Tensor] = {}
    whisper: dict[str, Tensor] = {}
    llada: dict[str, Tensor] = {}
    for name, tensor in tensors.items():
        if name.startswith(_WHISPER):
            own = name.removeprefix(_WHISPER)
            for prefix in _ENCODER:
                own = own.removeprefix(prefix)
            whisper[own] = tensor
        elif name.startswith(_LLADA):
            own = name.removeprefix(_LLADA).removeprefix(_PEFT).replace(_BASE_LAYER, ".")
            if not own.startswith(_PUBLISHED):
                raise CheckpointError(f"{name}: expected a tensor of LLaDA ({_PUBLISHED}...)")
            llada[own.removeprefix(_PUBLISHED)] = tensor
        else:
            trained[name] = tensor
    return trained, whisper, llada


@torch.no_grad()
def check_frozen(source: str, found: Mapping[str, Tensor], part: nn.Module, what: str) -> None:
    """Make sure that a checkpoint was trained with a part's weights.

    Args:
        source: named in errors.
        found: the frozen tensors of the checkpoint; perhaps not all.
        part: what the model is built with.
        what: how errors call it, such as ``"whisper"``.

    Raises:
        CheckpointError: another name, shape or value; two roundings of one value are the same.
    """
    state = part.state_dict()
    unknown = [name for name in found if name not in state]
    if unknown:
        raise CheckpointError(f"{source}: {what}: unknown tensors {shorten(unknown)}")
    for name, tensor in found.items():
        own = state[name]
        if own.shape != tensor.shape:
            shapes = f"{list(tensor.shape)} there, {list(own.shape)} here"
            raise CheckpointError(f"{source}: {what}: {name}: {shapes}")
        if not _same(tensor, own):
            raise CheckpointError(
                f"{source}: trained with another {what} than the one given: {name} differs"
            )


def _same(there: Tensor, here: Tensor) -> bool:
    here = here.to(there.device)
    if there.dtype == here.dtype:
        return torch.equal(there, here)
    return torch.allclose(there.float(), here.float(), rtol=_ROUNDING, atol=1e-6)
