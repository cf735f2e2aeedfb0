"""Adapters as plain settings, for saving a model and building it again."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..errors import CheckpointError, InvalidArgumentError
from .acoustic import AcousticAdapter
from .dual import DualAdapter, PromptedSemanticAdapter
from .semantic import SemanticAdapter

_SEMANTIC = ("encoder_dim", "lm_dim", "stride")
# Far above any adapter; a stranger's config must not keep us building layers for hours.
_LARGEST = 2**24
_LIMITS = {"dropout": 1, "num_layers": 2**10}
_ACOUSTIC = (
    *("encoder_dim", "lm_dim", "taps", "num_heads"),
    *("num_queries", "num_layers", "intermediate_size", "dropout"),
)


def adapter_to_config(adapter: DualAdapter | PromptedSemanticAdapter) -> dict[str, Any]:
    """JSON-ready settings of an adapter.

    Args:
        adapter: one of the two assembled adapters.

    Returns:
        What :func:`.adapter_from_config` builds the same adapter from, weights apart.

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

    Args:
        config: as :func:`.adapter_to_config` gives it.

    Returns:
        The adapter, with new weights.

    Raises:
        CheckpointError: unknown or missing settings.

    Example:
        >>> settings = {"encoder_dim": 8, "lm_dim": 16, "stride": 4}
        >>> config = {"type": "prompted", "semantic": settings, "num_prompts": 2}
        >>> adapter_from_config(config).num_prompts
        2
    """
    try:
        kind = config["type"]
        semantic = SemanticAdapter(**_checked("semantic", config["semantic"]))
        if kind == "dual":
            acoustic = AcousticAdapter(**_checked("acoustic", config["acoustic"]))
            return DualAdapter(semantic, acoustic, config.get("mask_frames", False) is True)
        if kind == "prompted":
            count = _checked("prompted", {"num_prompts": config["num_prompts"]})["num_prompts"]
            return PromptedSemanticAdapter(semantic, count)
    except KeyError as error:
        raise CheckpointError(f"adapter config: {error} is missing") from error
    except (InvalidArgumentError, TypeError) as error:
        raise CheckpointError(f"adapter config: {error}") from error
    raise CheckpointError(f"adapter config: expected type dual or prompted, got {kind!r}")


def _checked(part: str, settings: Any) -> dict[str, Any]:
    """Settings whose types are right; what they are worth the adapters judge."""
    if not isinstance(settings, Mapping):
        raise CheckpointError(f"adapter config: {part}: expected an object, got {settings!r}")
    for name, value in settings.items():
        values = value if name == "taps" and isinstance(value, list) else [value]
        kind = int | float if name == "dropout" else int
        most = _LIMITS.get(name, _LARGEST)
        if not all(isinstance(v, kind) and 0 <= v <= most for v in values):
            expected = f"{'a number' if name == 'dropout' else 'integers'} in [0, {most}]"
            got = f"expected {expected}, got {value!r}"
            raise CheckpointError(f"adapter config: {part}.{name}: {got}")
    return dict(settings)


def _settings(module: object, names: tuple[str, ...]) -> dict[str, Any]:
    values = {name: getattr(module, name) for name in names}
    return {k: list(v) if isinstance(v, tuple) else v for k, v in values.items()}
