"""Options that choose a model and how it decodes, shared by the commands.

Nothing here imports torch, so that help and mistakes on the command line answer at once.
"""

from __future__ import annotations

import argparse

from ..evaluation.settings import SAMPLERS

DTYPES = ("float32", "bfloat16", "float16")


def add_output_options(parser: argparse.ArgumentParser) -> None:
    """``--json`` and ``--debug``."""
    group = parser.add_argument_group("output")
    group.add_argument("--json", action="store_true", help="print JSON, one object a line")
    group.add_argument("--debug", action="store_true", help="show the traceback of an error")


def add_model_options(parser: argparse.ArgumentParser) -> None:
    """Which model, and where it runs."""
    group = parser.add_argument_group("model")
    group.add_argument(
        "--model",
        metavar="DIR_OR_ID",
        help="folder or hub id of a saved model or of a published DIFFA checkpoint; "
        "default: the small model of this package",
    )
    group.add_argument("--device", help="cpu, cuda, cuda:1, mps ...; default: cuda if there is one")
    group.add_argument("--dtype", choices=DTYPES, help="default: as the model was saved")
    published = parser.add_argument_group("published DIFFA checkpoints only")
    published.add_argument("--whisper", metavar="DIR_OR_ID", help="the Whisper encoder")
    published.add_argument("--llada", metavar="DIR_OR_ID", help="the LLaDA backbone")
    published.add_argument("--stage", type=int, help="training stage (default: 2)")


def add_decode_options(parser: argparse.ArgumentParser) -> None:
    """How a response is decoded."""
    group = parser.add_argument_group(
        "decoding", "without any of these: what the model was saved with"
    )
    group.add_argument("--sampler", choices=SAMPLERS, help='default: "cached"')
    group.add_argument("--steps", type=int, help="forward passes for the whole answer")
    group.add_argument("--gen-length", type=int, metavar="TOKENS", help="longest answer")
    group.add_argument("--block-length", type=int, metavar="TOKENS", help="tokens of a block")
    group.add_argument(
        "--threshold", type=float, help="commit every token at least this sure (cached)"
    )
    group.add_argument("--factor", type=float, help="commit by the factor rule (cached)")
    group.add_argument("--cache", choices=("prefix", "dual", "none"), help="(cached)")
    group.add_argument("--temperature", type=float, default=0.0, help="default: 0, greedy")
    group.add_argument("--seed", type=int, default=0, help="for temperatures above 0; default: 0")
