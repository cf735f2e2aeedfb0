"""``dllm-audio transcribe``: speech to text, JSON or subtitles."""

from __future__ import annotations

import argparse
from typing import Any

from ..evaluation.asr import INSTRUCTION
from . import checks
from .options import (
    add_audio_options,
    add_batch_option,
    add_decode_options,
    add_model_options,
    add_output_options,
    add_prior_options,
    add_result_options,
    new_command,
)
from .results import Layout

_DESCRIPTION = """\
Transcribe sound files, or every sound file in a folder.

A recording that is longer than the encoder's window (30 s for Whisper, 4 s for the small model of
this package) is cut at pauses; the parts are transcribed as they are heard, and their times are in
the JSON and SRT output."""

_EPILOG = """\
examples:
  dllm-audio transcribe talk.flac
  dllm-audio transcribe talk.flac --format srt > talk.srt
  dllm-audio transcribe recordings/ --format json --output-dir transcripts/
  dllm-audio transcribe talk.flac --format srt --window 6
  dllm-audio transcribe talk.flac --prior whisper:./whisper-base
  dllm-audio transcribe recordings/ --prior hypotheses.jsonl --output-dir transcripts/
  accelerate launch --num_processes 4 -m dllm_audio.cli transcribe recordings/ --output-dir out/

--output-dir writes one file for each input and leaves those alone that are already there, so that
an interrupted run can simply be started again; --overwrite writes them anew. Inside a recording it
goes on where it stopped: what has been heard stands in a .partial file until all is done.
--min-confidence marks what the model is less sure of with "[doubtful]", and in the JSON.
--window cuts into shorter parts than the encoder needs: more subtitles, more exact times.
--prior starts from what somebody else heard: a text, or JSON Lines with a row a recording (file or
id, and text; perhaps confidences, words with times, or an n-best list of hypotheses). Sure words
stay letter by letter; others change where the model is surer than the prior."""


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
    parser.add_argument(
        "inputs",
        nargs="+",
        type=checks.name,
        metavar="FILE_OR_FOLDER",
        help="- is standard input",
    )
    parser.add_argument(
        "--format", choices=("text", "json", "srt"), help="default: text, or json with --json"
    )
    add_result_options(parser)
    parser.add_argument(
        "--prompt", type=checks.text, default=INSTRUCTION, help=f'default: "{INSTRUCTION}"'
    )
    parser.add_argument(
        "--window",
        type=checks.number(0, above=True, unit="seconds"),
        metavar="SECONDS",
        help="longest part",
    )
    add_batch_option(parser, "parts at once; default: 8")
    add_audio_options(parser)
    add_prior_options(parser)
    add_model_options(parser)
    add_decode_options(parser, "without any of these: what the model was saved with")
    add_output_options(parser)
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Transcribe every file; the exit code."""
    from .inputs import ask_files  # torch, which help need not wait for

    form = arguments.format or ("json" if arguments.json else "text")
    return ask_files(
        arguments,
        arguments.inputs,
        arguments.prompt,
        Layout(form, "text", arguments.min_confidence),
        window=arguments.window,
        takes_prior=True,
    )
