"""``dllm-audio transcribe``: speech to text, JSON or subtitles."""

from __future__ import annotations

import argparse
from typing import Any

from ..evaluation.asr import INSTRUCTION
from .options import (
    add_audio_options,
    add_decode_options,
    add_model_options,
    add_output_options,
    new_command,
)

_DESCRIPTION = """\
Transcribe sound files, or every sound file in a folder.

A recording that is longer than the encoder's window (30 s for Whisper, 4 s for the small model of
this package) is cut at pauses; the parts are transcribed one after another, and their times are in
the JSON and SRT output."""

_EPILOG = """\
examples:
  dllm-audio transcribe talk.flac
  dllm-audio transcribe talk.flac --format srt > talk.srt
  dllm-audio transcribe recordings/ --format json --output-dir transcripts/
  dllm-audio transcribe talk.flac --format srt --window 6

--output-dir writes one file for each input and leaves those alone that are already there, so that
an interrupted run can simply be started again; --overwrite writes them anew.
--window cuts into shorter parts than the encoder needs: more subtitles, more exact times."""


def add_parser(commands: Any) -> None:
    """Add the command to the parser."""
    parser = new_command(
        commands,
        "transcribe",
        summary="transcribe sound files or folders to text, JSON or subtitles",
        usage="FILE_OR_FOLDER [...] [options]",
        description=_DESCRIPTION,
        epilog=_EPILOG,
    )
    parser.add_argument("inputs", nargs="+", metavar="FILE_OR_FOLDER", help="- is standard input")
    parser.add_argument(
        "--format", choices=("text", "json", "srt"), help="default: text, or json with --json"
    )
    parser.add_argument("--output-dir", metavar="DIR", help="write files instead of printing")
    parser.add_argument("--overwrite", action="store_true", help="replace files in --output-dir")
    parser.add_argument("--prompt", default=INSTRUCTION, help=f'default: "{INSTRUCTION}"')
    parser.add_argument("--window", type=float, metavar="SECONDS", help="longest part")
    parser.add_argument(
        "--batch-size", type=int, default=8, metavar="N", help="parts at once; default: 8"
    )
    add_audio_options(parser)
    add_model_options(parser)
    add_decode_options(parser, "without any of these: what the model was saved with")
    add_output_options(parser)
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Run the command."""
    from .transcribing import transcribe_files

    return transcribe_files(arguments)
