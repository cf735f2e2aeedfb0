"""The ``dllm-audio`` command."""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from .. import __version__
from ..errors import DllmAudioError
from . import answer, convert, demo, evaluate, info, serve, train, transcribe, tune
from .exit_codes import ERROR, INTERRUPTED, TERMINATED
from .options import HELP_LAYOUT, Parser
from .stopping import Terminated, stoppable
from .terminal import OutputError, complain, prepare_streams, silence

_DESCRIPTION = """\
Ask a masked-diffusion language model about sound, transcribe speech, and measure models.

Without --model every command uses the small model that ships with the package: it answers
questions about spoken digits, simple sounds and short melodies, and runs anywhere."""

_EPILOG = """\
examples:
  dllm-audio answer clip.wav -q "Is the speaker a man or a woman?"
  dllm-audio transcribe recordings/ --format srt --output-dir subtitles/
  dllm-audio serve --port 8000
  dllm-audio demo
  dllm-audio train run.json --output runs/mine
  dllm-audio eval toy --output runs/toy
  dllm-audio tune --output tuning/
  dllm-audio info ./my-model
  dllm-audio convert ./DIFFA-2 ./diffa-2-safetensors

exit codes:
  0  everything worked
  1  nothing could be done; one line on standard error says why
  2  the command line was wrong
  3  some inputs failed (each is named with its reason), the others gave results
  130  interrupted (143: by SIGTERM); commands that keep results go on where they stopped

`dllm-audio COMMAND --help` explains each command."""


def build_parser() -> argparse.ArgumentParser:
    """The parser of the whole command."""
    parser = Parser(
        prog="dllm-audio",
        description=_DESCRIPTION,
        epilog=_EPILOG,
        formatter_class=HELP_LAYOUT,
    )
    parser.add_argument("--version", action="version", version=f"%(prog)s {__version__}")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND [options]", required=True)
    for command in (answer, transcribe, serve, demo, train, evaluate, tune, convert, info):
        command.add_parser(commands)
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command.

    Args:
        argv: arguments without the program's name; None: those of the process.

    Returns:
        The exit code; see ``dllm-audio --help``.
    """
    prepare_streams()
    arguments = build_parser().parse_args(argv)
    try:
        with stoppable():
            return _run(arguments)
    except KeyboardInterrupt as error:
        if arguments.debug:
            raise
        terminated = isinstance(error, Terminated)
        complain("; ".join(("terminated" if terminated else "interrupted", *map(str, error.args))))
        return TERMINATED if terminated else INTERRUPTED
    except OutputError as error:
        silence()
        # Whoever read our output (head, less) has had enough.
        if not isinstance(error.__cause__, BrokenPipeError):
            complain(f"error: {error}")
        return ERROR
    except (DllmAudioError, OSError, MemoryError, RuntimeError) as error:  # the device's, too
        if arguments.debug:
            raise
        complain(f"error: {error or type(error).__name__}")
        return ERROR


def _run(arguments: argparse.Namespace) -> int:
    for source in getattr(arguments, "imports", ()):
        from ..parts import import_parts

        import_parts(source, "--import")
    return arguments.run(arguments)
