"""A sampler's description with another length of the answer."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..parts import Description


def with_length(described: Mapping[str, Any], length: int) -> Description:
    """A description, as of ``Sampler.to_dict``, whose answers have ``length`` tokens.

    Blocks that would be longer become as long; of a sampler that finds its length itself,
    ``length`` is the most.

    Args:
        described: of any sampler; left as it is.
        length: tokens of the answer, at least 1.

    Example:
        >>> from dllm_audio.samplers import preset
        >>> with_length(preset("answers").to_dict(), 4)["block_length"]
        4
    """
    found = {**described, "gen_length": length}
    block = found.get("block_length")
    if isinstance(block, int):
        found["block_length"] = min(block, length)
    policy = found.get("length")
    if isinstance(policy, Mapping) and isinstance(policy.get("settings"), Mapping):
        settings = {**policy["settings"], "max_gen_length": length}
        if isinstance(first := settings.get("initial_gen_length"), int):
            settings["initial_gen_length"] = min(first, length)
        found["length"] = {**policy, "settings": settings}
    return found
