"""``dllm-audio answer``: a question about sound files."""

from __future__ import annotations

import argparse
from typing import Any

from .options import (
    add_audio_options,
    add_decode_options,
    add_model_options,
    add_output_options,
    new_command,
)

_DESCRIPTION = """\
Answer a question about each sound file.

Files may be WAV, FLAC, OGG, MP3 or any other format that libsndfile knows, at any rate and with
any number of channels. A recording that is longer than the encoder's window (30 s for Whisper,
4 s for the small model of this package) is cut at pauses and the question is answered for every
part; the parts and their times are in the output."""

_EPILOG = """\
examples:
  dllm-audio answer clip.wav -q "Which digits are spoken?"
  dllm-audio answer *.wav -q "Is the speaker a man or a woman?" --json > answers.jsonl
  dllm-audio answer clip.wav -q "What is said?" --stream
  cat clip.wav | dllm-audio answer - -q "What is said?"
  dllm-audio answer clip.wav -q "What happens?" --model ./DIFFA-2 --stage 4 \\
      --whisper openai/whisper-large-v3 --llada GSAI-ML/LLaDA-8B-Instruct --device cuda

--stream shows the answer while it is decoded. A diffusion model fills in tokens in any order:
each underscore is a token that is still open. --json prints one object a file:
  {"file": ..., "answer": ..., "windows": [{"start": 0.0, "end": 2.5, "text": ..., "nfe": 4}]}
and {"file": ..., "error": ...} for a file that cannot be used."""


def add_parser(commands: Any) -> None:
    """Add the command to the parser."""
    parser = new_command(
        commands,
        "answer",
        summary="answer a question about sound files",
        usage="FILE [FILE ...] -q QUESTION [options]",
        description=_DESCRIPTION,
        epilog=_EPILOG,
    )
    parser.add_argument("files", nargs="+", metavar="FILE", help="sound files; - is standard input")
    parser.add_argument("-q", "--question", required=True, help="what to ask about each file")
    parser.add_argument("--stream", action="store_true", help="show the answer while it is decoded")
    parser.add_argument(
        "--batch-size", type=int, default=8, metavar="N", help="windows at once; default: 8"
    )
    add_audio_options(parser)
    add_model_options(parser)
    add_decode_options(parser, "without any of these: what the model was saved with")
    add_output_options(parser)
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Run the command."""
    from .answering import answer_files

    return answer_files(arguments)
