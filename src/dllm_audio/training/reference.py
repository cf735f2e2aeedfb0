"""The reference of a preference objective: the policy as it was when the stage began."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from torch import nn

from ..errors import InvalidArgumentError
from ..model import AudioDiffusionLM
from ..modes import evaluating
from .lora import REFERENCE, LoRASettings, add_frozen_reference, lora_layers, lora_switched

REFERENCE_KINDS = ("copy", "adapter", "base")


class Reference(nn.Module):
    """The frozen parts that the reference does not share with the policy.

    Args:
        kind: ``"copy"`` keeps a whole second backbone; ``"adapter"`` keeps a frozen copy of the
            LoRA updates and shares the backbone; ``"base"`` shares it with LoRA switched off,
            which is right where this stage attached the LoRA.  The audio adapter, which is small,
            is copied each time.
        model: the policy as it is now.
        lora: settings of the policy's LoRA, for ``"adapter"``.

    Raises:
        InvalidArgumentError: an unknown kind, one that needs LoRA without any, or one that shares
            a backbone whose own weights train.
    """

    def __init__(
        self, kind: str, model: AudioDiffusionLM, lora: LoRASettings | None = None
    ) -> None:
        super().__init__()
        if kind not in REFERENCE_KINDS:
            raise InvalidArgumentError("kind", f"one of {REFERENCE_KINDS}", kind)
        self.kind = kind
        if kind != "copy":
            _check_only_lora_trains(kind, model.backbone)
        if kind == "adapter":
            if lora is None or not lora_layers(model.backbone):
                raise InvalidArgumentError("lora", "a policy with LoRA, for kind 'adapter'", lora)
            add_frozen_reference(model.backbone, lora)
        self.adapter = _frozen_copy(model.adapter)
        self.backbone = _frozen_copy(model.backbone) if kind == "copy" else None

    def train(self, mode: bool = True) -> Reference:
        """A reference is always in evaluation mode."""
        return super().train(False)

    @contextmanager
    def scope(self, policy: AudioDiffusionLM) -> Iterator[tuple[Any, Any]]:
        """Adapter and backbone of the reference, valid inside the scope.

        Args:
            policy: shares its backbone, unless the reference has its own.
        """
        if self.backbone is not None:
            yield self.adapter, self.backbone
            return
        with (
            evaluating(policy.backbone),
            lora_switched(policy.backbone, REFERENCE if self.kind == "adapter" else None),
        ):
            yield self.adapter, policy.backbone


def _frozen_copy(module: Any) -> Any:
    return copy.deepcopy(module).requires_grad_(False).eval()


def _check_only_lora_trains(kind: str, backbone: nn.Module) -> None:
    for name, parameter in backbone.named_parameters():
        if parameter.requires_grad and ".lora_" not in name:
            raise InvalidArgumentError(
                "kind", "'copy', because the backbone's own weights train", f"{kind!r} ({name})"
            )
