"""Save a backbone in the layout that its checkpoints are published in."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from huggingface_hub import save_torch_state_dict
from torch import Tensor

from ..errors import InvalidArgumentError
from ..parts import part_name
from ..weights import replace_files, shorten

if TYPE_CHECKING:
    from .transformer import DiffusionTransformer

# What an earlier save may have left; any other file of the folder is the user's.
_OUTDATED = re.compile(r"model(-\d{5}-of-\d{5})?\.safetensors|model\.safetensors\.index\.json")


def save_backbone(
    model: DiffusionTransformer, directory: str | Path, max_shard_size: int | str = "5GB"
) -> None:
    """Write config and weights; see ``save_pretrained`` of the class."""
    state = {model.names.published(name): t for name, t in state_to_save(model).items()}
    with replace_files(directory, _OUTDATED) as scratch:
        save_torch_state_dict(state, scratch, max_shard_size=max_shard_size)
        text = json.dumps(model.config.to_dict(), indent=2, sort_keys=True) + "\n"
        (scratch / "config.json").write_text(text, encoding="utf-8")


def state_to_save(model: DiffusionTransformer) -> dict[str, Tensor]:
    """The weights of a backbone, provided that its config alone describes where they belong.

    Raises:
        InvalidArgumentError: a class that is not registered (says the line that would), LoRA or
            other modules are attached, weights are quantized, or two names share one tensor.
    """
    part_name("backbone", model)  # a subclass is not saved as its parent
    with torch.device("meta"):
        expected = type(model)(type(model.config).from_dict(model.config.to_dict())).state_dict()
    state = model.state_dict()
    odd = sorted(state.keys() ^ expected.keys())
    if odd:
        wanted = "the weights that its config describes (merge LoRA into it first)"
        raise InvalidArgumentError("backbone", wanted, shorten(odd))
    owners: dict[tuple[object, ...], str] = {}
    for name, tensor in state.items():
        if not tensor.is_floating_point() or tensor.shape != expected[name].shape:
            got = f"{name} of {tensor.dtype}, {list(tensor.shape)}"
            raise InvalidArgumentError("backbone", "weights that are not quantized", got)
        if tensor.is_meta:
            raise InvalidArgumentError("backbone", "weights that hold data", name)
        place = (tensor.device, tensor.data_ptr(), tensor.shape)
        other = owners.setdefault(place, name)
        if other != name:
            wanted = "weights of their own (weight_tying=True in the config ties the output head)"
            raise InvalidArgumentError("backbone", wanted, f"{name} is {other}")
    return state
