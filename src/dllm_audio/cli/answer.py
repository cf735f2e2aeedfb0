"""``dllm-audio answer``: a question about sound files."""

from __future__ import annotations

import argparse
from typing import Any

from ..errors import InvalidArgumentError
from . import checks
from .options import (
    add_audio_options,
    add_batch_option,
    add_decode_options,
    add_model_options,
    add_output_options,
    add_result_options,
    new_command,
)
from .results import Layout

_DESCRIPTION = """\
Answer a question about each sound file, or every sound file in a folder.

Files may be WAV, FLAC, OGG, MP3 or any other format that libsndfile knows, at any rate and with
any number of channels, of any length. A recording that is longer than the encoder's window (30 s
for Whisper, 4 s for the small model of this package) is cut at pauses and the question is answered
for every part as it is heard; the parts and their times are in the output."""

_EPILOG = """\
examples:
  dllm-audio answer clip.wav -q "Which digits are spoken?"
  dllm-audio answer *.wav -q "Is the speaker a man or a woman?" --json > answers.jsonl
  dllm-audio answer calls/ -q "Is it noisy?" --choices yes no --output-dir answers/
  dllm-audio answer clip.wav -q "What is said?" --stream
  cat clip.wav | dllm-audio answer - -q "What is said?"
  dllm-audio answer clip.wav -q "What happens?" --model ./DIFFA-2 --stage 4 \\
      --whisper openai/whisper-large-v3 --llada GSAI-ML/LLaDA-8B-Instruct --device cuda

--stream shows the answer while it is decoded. A diffusion model fills in tokens in any order:
each underscore is a token that is still open. --choices allows these answers only; how likely each
of them is, is in the JSON. How sure the model is of its answer is said on standard error and in
the JSON. --json prints one object a file:
  {"file": ..., "seconds": 2.5, "answer": ..., "confidence": 0.98, "windows":
    [{"start": 0.0, "end": 2.5, "text": ..., "nfe": 4, "confidence": 0.98}]}
and {"file": ..., "error": ...} for a file that cannot be used.

--output-dir writes one file for each input and leaves those alone that are already there, so that
an interrupted run can simply be started again; torchrun and accelerate launch share the files."""


def add_parser(commands: Any) -> None:
    """Add the command to the parser."""
    parser = new_command(
        commands,
        "answer",
        summary="answer a question about sound files or folders",
        usage="FILE_OR_FOLDER [...] -q QUESTION [options]",
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
        "-q", "--question", type=checks.text, required=True, help="what to ask about each file"
    )
    parser.add_argument(
        "--choices",
        nargs="+",
        type=checks.text,
        metavar="TEXT",
        help="the answer is one of these",
    )
    parser.add_argument("--stream", action="store_true", help="show the answer while it is decoded")
    add_result_options(parser)
    add_batch_option(parser, "windows at once; default: 8")
    add_audio_options(parser)
    add_model_options(parser)
    add_decode_options(parser, "without any of these: what the model was saved with")
    add_output_options(parser)
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Answer the question for every file; the exit code."""
    for option in ("choices", "output_dir"):
        if arguments.stream and getattr(arguments, option) is not None:
            name = f"--{option.replace('_', '-')}"
            raise InvalidArgumentError(name, "nothing beside --stream", getattr(arguments, option))
    choices = arguments.choices
    if choices is not None and len({choice.strip() for choice in choices}) < len(choices):
        raise InvalidArgumentError("--choices", "texts that differ", choices)
    from .inputs import ask_files  # torch, which help need not wait for

    return ask_files(
        arguments,
        arguments.inputs,
        arguments.question,
        Layout("json" if arguments.json else "text", "answer", arguments.min_confidence, True),
        choices=choices,
        stream=arguments.stream,
    )
