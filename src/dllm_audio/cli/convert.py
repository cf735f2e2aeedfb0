"""``dllm-audio convert``: published checkpoints to safetensors and back."""

from __future__ import annotations

import argparse
from typing import Any

from . import checks
from .options import add_output_options, new_command
from .terminal import human_bytes, print_json, say

_DESCRIPTION = """\
Rewrite the weights of a published DIFFA checkpoint in another container, bit for bit.

To safetensors: a file that cannot hold code, and that loads faster. Pickles are read without ever
running what they contain; one that tries is refused. A folder stage1/ is converted too."""

_EPILOG = """\
examples:
  dllm-audio convert ./DIFFA-2 ./diffa-2-safetensors
  dllm-audio convert ./diffa-2-safetensors ./DIFFA-2-again --to published

The target must not hold other weights. A file appears under its name only when it is whole: an
interrupted conversion can be started again."""


def add_parser(commands: Any) -> None:
    """Add the command to the parser."""
    parser = new_command(
        commands,
        "convert",
        summary="rewrite a published checkpoint as safetensors, or back",
        usage="SOURCE TARGET [options]",
        description=_DESCRIPTION,
        epilog=_EPILOG,
    )
    parser.add_argument(
        "source", type=checks.name, metavar="SOURCE", help="folder in the published layout"
    )
    parser.add_argument("target", type=checks.name, metavar="TARGET", help="folder to write")
    parser.add_argument(
        "--to", choices=("safetensors", "published"), default="safetensors", help="container"
    )
    parser.add_argument(
        "--unsafe-pickle",
        action="store_true",
        help="also read pickles in old or compressed formats; code is not run with this either",
    )
    add_output_options(parser)
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Run the command."""
    from ..checkpoints import convert_checkpoint

    written = convert_checkpoint(
        arguments.source,
        arguments.target,
        arguments.to,
        unsafe_pickle=arguments.unsafe_pickle,
    )
    for path in written:
        size = path.stat().st_size
        if arguments.json:
            print_json({"file": str(path), "bytes": size})
        else:
            say(f"{path}  {human_bytes(size)}")
    return 0
