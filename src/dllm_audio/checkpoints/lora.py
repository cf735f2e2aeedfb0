"""Low-rank updates in published checkpoints, and merging them into a backbone.

arXiv 2106.09685, equation 3: ``W + (alpha / r) B A``.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from ..errors import CheckpointError
from ..weights import shorten

PUBLISHED_ALPHA = 16.0
_LORA = re.compile(
    r"llm_model\.base_model\.model\.(?P<target>.+)\.lora_(?P<side>[AB])\.default\.weight"
)


@dataclass(frozen=True, slots=True)
class LowRankUpdate:
    """One update: ``down [r, in]`` then ``up [out, r]``."""

    down: Tensor
    up: Tensor


def split_lora(
    tensors: Mapping[str, Tensor],
) -> tuple[dict[str, Tensor], dict[str, LowRankUpdate]]:
    """Separate low-rank updates from all other tensors.

    Args:
        tensors: under the published names.

    Returns:
        The other tensors, and the updates by the published name of the weight they change.

    Raises:
        CheckpointError: one side of an update is missing, or the sides do not fit.

    Example:
        >>> name = "llm_model.base_model.model.model.q_proj"
        >>> others, updates = split_lora({
        ...     f"{name}.lora_A.default.weight": torch.zeros(2, 6),
        ...     f"{name}.lora_B.default.weight": torch.zeros(4, 2),
        ...     "trainable_prompts.weight": torch.zeros(3, 4)})
        >>> list(others), list(updates)
        (['trainable_prompts.weight'], ['model.q_proj.weight'])
    """
    others: dict[str, Tensor] = {}
    sides: dict[str, dict[str, Tensor]] = {}
    for name, tensor in tensors.items():
        match = _LORA.fullmatch(name)
        if match is None:
            others[name] = tensor
        else:
            sides.setdefault(f"{match['target']}.weight", {})[match["side"]] = tensor
    halves = [target for target, pair in sides.items() if len(pair) != 2]
    if halves:
        raise CheckpointError(f"lora_A or lora_B is missing for: {shorten(halves)}")
    updates = {target: LowRankUpdate(pair["A"], pair["B"]) for target, pair in sides.items()}
    for target, update in updates.items():
        down, up = update.down, update.up
        matrices = down.ndim == up.ndim == 2 and down.is_floating_point() and up.is_floating_point()
        if not matrices or down.shape[0] != up.shape[1]:
            raise CheckpointError(
                f"{target}: expected lora_A [r, in] and lora_B [out, r] of floats, got "
                f"{list(down.shape)} {down.dtype} and {list(up.shape)} {up.dtype}"
            )
    return others, updates


@torch.no_grad()
def merge_lora(
    module: nn.Module, updates: Mapping[str, LowRankUpdate], alpha: float = PUBLISHED_ALPHA
) -> None:
    """Add updates to a module's weights in place, computed in float32.

    Nothing is changed unless every update fits.

    Args:
        module: the backbone.
        updates: by the module's own parameter name.
        alpha: numerator of the scale ``alpha / r``.

    Raises:
        CheckpointError: a name that the module lacks, or a shape that does not fit.

    Example:
        >>> layer = nn.Linear(2, 2, bias=False)
        >>> _ = nn.init.zeros_(layer.weight)
        >>> update = LowRankUpdate(down=torch.ones(1, 2), up=torch.tensor([[1.0], [2.0]]))
        >>> merge_lora(layer, {"weight": update}, alpha=0.5)
        >>> layer.weight.data  # 0.5 / 1 times up @ down
        tensor([[0.5000, 0.5000],
                [1.0000, 1.0000]])
    """
    weights = dict(module.named_parameters())
    for name, update in updates.items():
        if name not in weights:
            raise CheckpointError(f"LoRA: the backbone has no weight named {name}")
        expected, got = list(weights[name].shape), [update.up.shape[0], update.down.shape[1]]
        if expected != got:
            raise CheckpointError(
                f"LoRA: {name}: expected an update of shape {expected}, got {got}"
            )
    for name, update in updates.items():
        weight = weights[name]
        up, down = (t.to(weight.device, torch.float32) for t in (update.up, update.down))
        scale = alpha / down.shape[0]
        weight.copy_(torch.addmm(weight.float(), up, down, alpha=scale))
