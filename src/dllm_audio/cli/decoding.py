"""The sampler that the decoding options ask for, on top of another one."""

from __future__ import annotations

import argparse
from pathlib import Path

from ..errors import InvalidArgumentError
from ..files import parse_json, read_json
from ..parts import Description
from ..samplers import PRESETS, Sampler, from_dict

_OPTIONS = (
    *("sampler", "steps", "gen_length", "block_length"),
    *("threshold", "factor", "cache"),
)


def chosen_sampler(arguments: argparse.Namespace, default: Sampler) -> Sampler | None:
    """What the options make of a sampler; None where they ask for nothing.

    Args:
        arguments: the command line.
        default: what single options change.

    Raises:
        InvalidArgumentError: options that contradict each other, or a value that cannot be.
    """
    asked = {name: value for name in _OPTIONS if (value := getattr(arguments, name)) is not None}
    if not asked and not arguments.temperature:
        return None
    described = default.to_dict() if "sampler" not in asked else _named(asked["sampler"])
    if "threshold" in asked and "factor" in asked:
        raise InvalidArgumentError("--factor", "no value beside --threshold", asked["factor"])
    if "gen_length" in asked:
        described["gen_length"] = length = asked["gen_length"]
        block = described.get("block_length")
        described["block_length"] = None if block is None else min(block, length)
    if "block_length" in asked:
        described["block_length"] = asked["block_length"]
    for name, key in (("threshold", "tau"), ("factor", "factor")):
        if name in asked:
            described |= {"commit": {"name": name, "settings": {key: asked[name]}}, "steps": None}
            described["eos_stop"] = True
    if "steps" in asked:
        described["steps"] = asked["steps"]
        if not asked.keys() & {"threshold", "factor"}:
            described["commit"] = None  # as many passes, evenly spread
    if "cache" in asked:
        kind = asked["cache"]
        described["cache"] = None if kind == "none" else {"kind": kind}
    if arguments.temperature:
        described["temperature"] = arguments.temperature
    return from_dict(described)


def _named(name: str) -> Description:
    """A preset, a JSON file, or JSON itself."""
    if name in PRESETS:
        return dict(PRESETS[name])
    if name.lstrip().startswith("{"):
        found = parse_json(name, "--sampler")
        if isinstance(found, dict):
            return found
    elif Path(name).is_file():
        return read_json(name)
    expected = f"one of {sorted(PRESETS)}, a JSON file, or JSON"
    raise InvalidArgumentError("--sampler", expected, repr(name))
