"""Nested settings as one level with dotted names."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def flatten(settings: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested settings with dotted names; lists stay lists.

    Example:
        >>> flatten({"encoder": {"d_model": 128}, "dtype": "float16"})
        {'encoder.d_model': 128, 'dtype': 'float16'}
    """
    flat: dict[str, Any] = {}
    for name, value in settings.items():
        if isinstance(value, Mapping) and value:
            flat |= flatten(value, f"{prefix}{name}.")
        else:
            flat[prefix + name] = value
    return flat
