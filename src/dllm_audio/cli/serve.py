"""``dllm-audio serve``: a server with OpenAI's interface."""

from __future__ import annotations

import argparse
import os
from pathlib import Path
from typing import Any

from ..errors import MissingDependencyError
from ..evaluation.asr import INSTRUCTION
from . import checks
from .options import add_decode_options, add_model_options, add_output_options, new_command
from .terminal import note, print_json, say

_KEY = "DLLM_AUDIO_API_KEY"
LOOPBACK = ("127.0.0.1", "::1", "localhost")
_DESCRIPTION = """\
Answer questions about sound and transcribe speech over HTTP, for OpenAI's clients:
POST /v1/chat/completions (with input_audio blocks, and streaming), POST /v1/audio/transcriptions,
GET /v1/models, GET /health, GET /metrics (for Prometheus).

Requests share every denoising step: one that waits comes in as soon as another one is done. Every
limit below is a bound on memory or time; who asks for more gets an error that says so."""

_EPILOG = f"""\
examples:
  dllm-audio serve
  dllm-audio serve --model ./my-model --device cuda --max-batch 16 --port 9000
  {_KEY}=secret dllm-audio serve --host 0.0.0.0

It listens at the loopback address alone unless --host says otherwise; the connection is not
encrypted, so whoever serves strangers puts a proxy in front that is. SIGTERM (and Ctrl-C) finishes
what is in work, refuses the rest with 503, and ends. The decoding options are the default of
requests that ask for nothing else."""


def add_parser(commands: Any) -> None:
    """Add the command to the parser."""
    parser = new_command(
        commands,
        "serve",
        summary="answer over HTTP, with OpenAI's interface",
        usage="[--model DIR_OR_ID] [options]",
        description=_DESCRIPTION,
        epilog=_EPILOG,
    )
    count, seconds = checks.integer(), checks.number(0, 1e6, above=True, unit="seconds")
    place = parser.add_argument_group("address")
    place.add_argument(
        "--host", type=checks.name, default="127.0.0.1", metavar="HOST", help="default: 127.0.0.1"
    )
    place.add_argument(
        "--port",
        type=checks.integer(0, 65535),
        default=8000,
        metavar="N",
        help="0 takes a free one; default: 8000",
    )
    place.add_argument(
        "--api-key",
        type=checks.text,
        metavar="KEY",
        help=f"that clients must send; default: what {_KEY} holds, or none",
    )
    limits = parser.add_argument_group("limits")
    limits.add_argument(
        "--max-batch", type=checks.integer(1, 256), default=8, metavar="N",
        help="requests in work at once; default: 8",
    )  # fmt: skip
    limits.add_argument(
        "--max-queue", type=checks.integer(0, 65536), default=32, metavar="N",
        help="requests that may wait; default: 32",
    )  # fmt: skip
    limits.add_argument(
        "--max-tokens", type=count, default=1024, metavar="N",
        help="longest answer that may be asked for; default: 1024",
    )  # fmt: skip
    limits.add_argument(
        "--max-audio-seconds", type=seconds, default=600.0, metavar="SECONDS",
        help="sound of a request; default: 600",
    )  # fmt: skip
    limits.add_argument(
        "--max-request-mb", type=checks.number(0, 4096, above=True), default=25.0, metavar="MB",
        help="size of a request; default: 25",
    )  # fmt: skip
    limits.add_argument(
        "--timeout", type=seconds, default=120.0, metavar="SECONDS",
        help="of a request, waiting included; default: 120",
    )  # fmt: skip
    add_model_options(parser)
    add_decode_options(parser, "without any of these: what the model was saved with")
    add_output_options(parser)
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Serve until it is told to stop; the exit code."""
    try:
        from ..serving.server import Server
    except ImportError as error:
        raise MissingDependencyError("fastapi", "the server", "serve") from error
    from ..serving.listening import url_of
    from ..serving.settings import ServerSettings
    from .models import load_predictor

    key = arguments.api_key or os.environ.get(_KEY) or None
    settings = ServerSettings(
        name=public_name(arguments.model),
        instruction=INSTRUCTION,
        api_key=key,
        max_batch=arguments.max_batch,
        max_queue=arguments.max_queue,
        max_tokens=arguments.max_tokens,
        max_audio_seconds=arguments.max_audio_seconds,
        max_request_mb=arguments.max_request_mb,
        timeout=arguments.timeout,
        seed=arguments.seed,
    )
    predictor = load_predictor(arguments)
    predictor.model.sampler = predictor.sampler
    if arguments.host not in LOOPBACK and key is None:
        note(f"anybody who reaches {arguments.host} may ask: there is no --api-key")
    server = Server(predictor.model, settings, arguments.host, arguments.port)

    def ready() -> None:
        url = url_of(server.address)
        if arguments.json:
            print_json({"model": settings.name, "url": url})
        else:
            say(f"serving {settings.name} at {url}")

    server.serve_forever(ready)
    return 0


def public_name(model: str | None) -> str:
    """What clients call it: never a path of this machine."""
    if model is None:
        return "dllm-audio-small"
    return Path(model).resolve().name if Path(model).exists() else model
