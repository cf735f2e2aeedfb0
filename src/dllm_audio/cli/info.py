"""``dllm-audio info``: what a checkpoint holds and how much memory it takes."""

from __future__ import annotations

import argparse
from typing import Any

from .options import add_output_options, new_command

_DESCRIPTION = """\
Show what a checkpoint holds: parameters and memory of each part, dtypes, the main settings.

Reads headers only, so it is quick whatever the size, and never runs code from a checkpoint."""

_EPILOG = """\
examples:
  dllm-audio info                      # the small model of this package
  dllm-audio info ./my-model --tensors
  dllm-audio info ./DIFFA-2            # published layout; also its stage1/
  dllm-audio info weights.safetensors --json

Memory is that of the weights alone. While a model decodes, keys and values and the activations
come on top; a hub id is downloaded first."""


def add_parser(commands: Any) -> None:
    """Add the command to the parser."""
    parser = new_command(
        commands,
        "info",
        summary="show parameters, memory and content of a checkpoint",
        usage="[DIR_OR_ID] [options]",
        description=_DESCRIPTION,
        epilog=_EPILOG,
    )
    parser.add_argument(
        "model", nargs="?", metavar="DIR_OR_ID", help="default: the small model of this package"
    )
    parser.add_argument("--tensors", action="store_true", help="list every tensor")
    add_output_options(parser)
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Run the command."""
    from .inspecting import inspect_checkpoint

    return inspect_checkpoint(arguments)
