"""What the commands' parsers share: layout of the help, and options for model and decoding.

Nothing here imports torch, so that help and mistakes on the command line answer at once.
"""

from __future__ import annotations

import argparse
from functools import partial
from typing import Any, NoReturn

from . import checks

HELP_LAYOUT = partial(argparse.RawDescriptionHelpFormatter, max_help_position=28, width=100)
DTYPES = ("float32", "bfloat16", "float16")


class Parser(argparse.ArgumentParser):
    """A parser that tells what is wrong on one line."""

    def error(self, message: str) -> NoReturn:
        """Say what is wrong, and end with exit code 2."""
        usage = " ".join(self.format_usage().split())
        self.exit(2, f"{self.prog}: error: {' '.join(message.split())} ({usage})\n")


def new_command(
    commands: Any, name: str, *, summary: str, usage: str, description: str, epilog: str
) -> argparse.ArgumentParser:
    """Add a command whose help is laid out like that of the others.

    Args:
        commands: what ``add_subparsers`` returned.
        name: of the command.
        summary: one line for the list of commands.
        usage: arguments in short, behind the command's name.
        description: what it does.
        epilog: examples, and what else must be known.
    """
    return commands.add_parser(
        name,
        help=summary,
        usage=f"dllm-audio {name} {usage}",
        description=description,
        epilog=epilog,
        formatter_class=HELP_LAYOUT,
    )


def add_output_options(parser: argparse.ArgumentParser) -> None:
    """``--json`` and ``--debug``."""
    group = parser.add_argument_group("output")
    group.add_argument("--json", action="store_true", help="print JSON, one object a line")
    group.add_argument("--debug", action="store_true", help="show the traceback of an error")


def add_result_options(parser: argparse.ArgumentParser) -> None:
    """Where results go, and which of them are marked."""
    parser.add_argument(
        "--output-dir", type=checks.name, metavar="DIR", help="write files instead of printing"
    )
    parser.add_argument("--overwrite", action="store_true", help="replace files in --output-dir")
    parser.add_argument(
        "--min-confidence",
        type=checks.number(0, 1),
        metavar="P",
        help="mark answers of which the model is less sure as doubtful",
    )


def add_audio_options(parser: argparse.ArgumentParser) -> None:
    """How sound files are read."""
    parser.add_argument(
        "--allow-truncated", action="store_true", help="use what is left of a file that ends early"
    )


def add_import_option(group: Any) -> None:
    """``--import``."""
    group.add_argument(
        "--import",
        dest="imports",
        action="append",
        default=[],
        type=checks.name,
        metavar="MODULE_OR_FILE",
        help="a module or .py file that registers parts of yours; may be repeated",
    )


def add_model_options(parser: argparse.ArgumentParser) -> None:
    """Which model, and where it runs."""
    group = parser.add_argument_group("model")
    group.add_argument(
        "--model",
        type=checks.name,
        metavar="DIR_OR_ID",
        help="folder or hub id of a saved model, or of a published DIFFA checkpoint; "
        "default: the small model of this package",
    )
    group.add_argument(
        "--device",
        type=checks.name,
        metavar="NAME",
        help="cpu, cuda, cuda:1, mps ...; default: cuda if there is one",
    )
    group.add_argument("--dtype", choices=DTYPES, help="default: as the model was saved")
    add_import_option(group)
    published = parser.add_argument_group("published DIFFA checkpoints only")
    for part, what in (("--whisper", "the Whisper encoder"), ("--llada", "the LLaDA backbone")):
        published.add_argument(part, type=checks.name, metavar="DIR_OR_ID", help=what)
    published.add_argument(
        "--stage", type=checks.integer(1, 4), metavar="N", help="training stage; default: 2"
    )


def add_prior_options(parser: argparse.ArgumentParser) -> None:
    """What somebody else heard, and whom to believe."""
    group = parser.add_argument_group("prior", "a transcript to mend where the model is surer")
    group.add_argument(
        "--prior",
        type=checks.name,
        metavar="whisper|FILE",
        help="Whisper's own decoder (whisper:FOLDER names its weights), a text, or JSON Lines",
    )
    group.add_argument(
        "--prior-model",
        type=checks.name,
        metavar="DIR_OR_ID",
        help="weights for --prior whisper; default: openai/whisper-base",
    )
    group.add_argument(
        "--prior-language",
        type=checks.name,
        metavar="CODE",
        help="what is spoken, such as en, for --prior whisper; default: what it hears",
    )
    for name, purpose in (
        ("keep", "words at least this sure stay; default: 0.99"),
        ("unknown", "what words without a confidence count as; default: 0.95"),
        ("threshold", "confidence that every change must exceed; default: 0.9"),
        ("margin", "how much surer than the prior the model must be; default: 0"),
        ("agreement", "share of words that both must hear, else nothing changes; default: 0.5"),
    ):
        group.add_argument(f"--prior-{name}", type=checks.number(0, 1), metavar="P", help=purpose)


def add_decode_options(parser: argparse.ArgumentParser, default: str) -> None:
    """How a response is decoded; ``default`` says what happens without any of these."""
    group = parser.add_argument_group("decoding", default)
    count, length = checks.integer(), "tokens of the longest answer"
    group.add_argument(
        "--sampler",
        type=checks.text,
        metavar="NAME_OR_JSON",
        help="a preset, or a description as JSON or its file",
    )
    group.add_argument("--steps", type=count, metavar="N", help="forward passes a whole answer")
    group.add_argument("--gen-length", type=count, metavar="N", help=length)
    group.add_argument("--block-length", type=count, metavar="N", help="tokens of a block")
    group.add_argument(
        "--threshold",
        type=checks.number(0, 1),
        metavar="P",
        help="commit every token at least this sure",
    )
    group.add_argument(
        "--factor", type=checks.number(0), metavar="F", help="commit by the factor rule instead"
    )
    group.add_argument(
        "--cache", choices=("prefix", "dual", "exact", "none"), help="keys and values to reuse"
    )
    group.add_argument(
        "--temperature",
        type=checks.number(0, 1e6),  # beyond, the noise has no room in a float
        default=0.0,
        metavar="T",
        help="default: 0, greedy",
    )
    add_seed_option(group, "for temperatures above 0; default: 0")


def add_seed_option(group: Any, purpose: str) -> None:
    """``--seed``."""
    group.add_argument("--seed", type=checks.seed, default=0, metavar="N", help=purpose)


def add_batch_option(group: Any, what: str, default: int = 8) -> None:
    """``--batch-size``."""
    group.add_argument(
        "--batch-size", type=checks.integer(), default=default, metavar="N", help=what
    )
