"""``dllm-audio demo``: a page in the browser that shows answers as they are denoised."""

from __future__ import annotations

import argparse
import os
import tempfile
from typing import Any

from ..errors import MissingDependencyError
from . import checks
from .options import add_decode_options, add_model_options, add_output_options, new_command
from .serve import LOOPBACK, public_name
from .terminal import note, print_json, say

_DESCRIPTION = """\
A page in the browser: record or drop a clip, or take one that ships with the package; ask; choose
how to decode; and watch which positions are committed in which pass, colored by confidence. Two
ways to decode can be watched side by side."""

_EPILOG = """\
examples:
  dllm-audio demo
  dllm-audio demo --model ./my-model --device cuda --port 9000

Nothing is fetched from, or sent to, anywhere else; clips are kept until the command ends, an hour
at most. It listens at the loopback address alone unless --host says otherwise; a microphone is
given by browsers to pages of this machine or behind TLS only. Ctrl-C (and SIGTERM) ends it. The
decoding options change what stands first among the strategies."""


def add_parser(commands: Any) -> None:
    """Add the command to the parser."""
    parser = new_command(
        commands,
        "demo",
        summary="watch answers being denoised, in the browser",
        usage="[--model DIR_OR_ID] [options]",
        description=_DESCRIPTION,
        epilog=_EPILOG,
    )
    place = parser.add_argument_group("address")
    place.add_argument(
        "--host", type=checks.name, default="127.0.0.1", metavar="HOST", help="default: 127.0.0.1"
    )
    place.add_argument(
        "--port", type=checks.integer(0, 65535), default=7860, metavar="N",
        help="0 takes a free one; default: 7860",
    )  # fmt: skip
    limits = parser.add_argument_group("limits")
    limits.add_argument(
        "--max-queue", type=checks.integer(1, 65536), default=16, metavar="N",
        help="visitors who may wait; default: 16",
    )  # fmt: skip
    limits.add_argument(
        "--max-file-mb", type=checks.number(0, 4096, above=True), default=25.0, metavar="MB",
        help="size of a clip's file; default: 25",
    )  # fmt: skip
    add_model_options(parser)
    add_decode_options(parser, "without any of these: what the model was saved with")
    add_output_options(parser)
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Show the page until it is told to stop; the exit code."""
    with tempfile.TemporaryDirectory(prefix="dllm-audio-demo-") as folder:
        os.environ["GRADIO_TEMP_DIR"] = folder  # visitors' recordings go with the command
        try:
            from ..demo.server import DemoServer
        except ImportError as error:
            raise MissingDependencyError("gradio", "the demo page", "demo") from error
        from ..demo.page import build_page
        from ..demo.settings import DemoSettings
        from ..demo.strategies import strategies
        from ..serving.listening import url_of
        from .models import load_predictor

        settings = DemoSettings(
            name=public_name(arguments.model),
            max_queue=arguments.max_queue,
            max_file_mb=arguments.max_file_mb,
            seed=arguments.seed,
        )
        predictor = load_predictor(arguments)
        if arguments.host not in LOOPBACK:
            note(f"anybody who reaches {arguments.host} may ask")
        ways = strategies(predictor.model, predictor.sampler)
        page = build_page(predictor.model, ways, settings)
        server = DemoServer(page, settings, arguments.host, arguments.port)

        def ready() -> None:
            url = url_of(server.address)
            if arguments.json:
                print_json({"model": settings.name, "url": url})
            else:
                say(f"showing {settings.name} at {url}")

        server.serve_forever(ready)
    return 0
