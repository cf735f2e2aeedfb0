"""Adapters as plain settings, for saving a model and building it again."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..errors import CheckpointError, InvalidArgumentError
from .acoustic import AcousticAdapter
from .dual import DualAdapter, PromptedSemanticAdapter
from .semantic import SemanticAdapter

_SEMANTIC = ("encoder_dim", "lm_dim", "stride")
_ACOUSTIC = (
    *("encoder_dim", "lm_dim", "taps", "num_heads"),
    *("num_queries", "num_layers", "intermediate_size", "dropout"),
)


def adapter_to_config(adapter: DualAdapter | PromptedSemanticAdapter) -> dict[str, Any]:
    """JSON-ready settings of an adapter.

    Raises:
        InvalidArgumentError: an adapter of another class.

    Example:
        >>> adapter_to_config(PromptedSemanticAdapter(SemanticAdapter(8, 16), num_prompts=2))
        {'type': 'prompted', 'semantic': {'encoder_dim': 8, 'lm_dim': 16, 'stride': 4}, \
'num_prompts': 2}
    """
    if isinstance(adapter, DualAdapter):
        return {
            "type": "dual",
            "semantic": _settings(adapter.semantic, _SEMANTIC),
            "acoustic": _settings(adapter.acoustic, _ACOUSTIC),
            "mask_frames": adapter.mask_frames,
        }
    if isinstance(adapter, PromptedSemanticAdapter):
        return {
            "type": "prompted",
            "semantic": _settings(adapter.semantic, _SEMANTIC),
            "num_prompts": adapter.num_prompts,
        }
    expected = "a DualAdapter or a PromptedSemanticAdapter"
    raise InvalidArgumentError("adapter", expected, type(adapter).__name__)


def adapter_from_config(config: Mapping[str, Any]) -> DualAdapter | PromptedSemanticAdapter:
    """Build an adapter from its settings.

    Raises:
        CheckpointError: unknown or missing settings.
    """
    try:
        semantic = SemanticAdapter(**config["semantic"])
        if config["type"] == "dual":
            acoustic = AcousticAdapter(**config["acoustic"])
            return DualAdapter(semantic, acoustic, config.get("mask_frames", False))
        if config["type"] == "prompted":
            return PromptedSemanticAdapter(semantic, config["num_prompts"])
    except (KeyError, TypeError) as error:
        raise CheckpointError(f"adapter config: {error} is missing or unknown") from error
    raise CheckpointError(f"adapter config: expected type dual or prompted, got {config['type']!r}")


def _settings(module: object, names: tuple[str, ...]) -> dict[str, Any]:
    values = {name: getattr(module, name) for name in names}
    return {k: list(v) if isinstance(v, tuple) else v for k, v in values.items()}
