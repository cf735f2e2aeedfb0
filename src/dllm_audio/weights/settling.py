"""What a part needs after its weights came: buffers that no file holds, and tied weights."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from ..errors import CheckpointError


def restore_buffers(part: nn.Module, rebuild: Callable[[], Any], *, every: bool = False) -> None:
    """Fill the buffers that are not saved, such as rotary frequencies, in place.

    A part that was built on the meta device has no values in them; they are those of a part that
    is built anew on the CPU. Where none needs a value, nothing is built.

    Args:
        part: its weights are there.
        rebuild: builds it anew.
        every: all that are not saved, because somebody else's loader left any values in them.
    """
    saved = part.state_dict(keep_vars=True).keys()
    empty = {
        name: buffer
        for name, buffer in part.named_buffers()
        if name not in saved and (every or buffer.is_meta)
    }
    if not empty:
        return
    with torch.device("cpu"), torch.random.fork_rng(devices=[]):
        made = dict(rebuild().named_buffers())
    device = next((p.device for p in part.parameters() if not p.is_meta), torch.device("cpu"))
    for name, buffer in empty.items():
        owner, _, leaf = name.rpartition(".")
        place = device if buffer.is_meta else buffer.device
        setattr(part.get_submodule(owner), leaf, made[name].to(place))


def retie(part: nn.Module, source: str) -> None:
    """Tie again what a part ties (its ``tie_weights()``), after a file gave each name its own.

    Args:
        part: a part; without ``tie_weights`` it ties nothing. One that is spread over devices
            stays as it is.
        source: named in errors.

    Raises:
        CheckpointError: the file has two values for one weight.
    """
    tie = getattr(part, "tie_weights", None)
    if tie is None or len({p.device for p in part.parameters()}) > 1:
        return
    before: dict[str, Tensor] = dict(part.state_dict())
    tie()
    for name, tensor in part.state_dict().items():
        # Compared only where another tensor took the name.
        if tensor.data_ptr() != before[name].data_ptr() and not tensor.equal(before[name]):
            raise CheckpointError(f"{source}: {name} differs from the weight that it is tied to")
