"""``dllm-audio answer``: a question about sound files."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from . import checks
from .clips import (
    Clip,
    ask_windows,
    clock,
    describe_windows,
    file_errors,
    read_clip,
    reason,
    window_of,
)
from .exit_codes import summarize
from .options import (
    add_audio_options,
    add_batch_option,
    add_decode_options,
    add_model_options,
    add_output_options,
    new_command,
)
from .terminal import complain, note, print_json, say

if TYPE_CHECKING:
    from ..evaluation.predictors import ModelPredictor

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
    parser.add_argument(
        "files",
        nargs="+",
        type=checks.name,
        metavar="FILE",
        help="sound files; - is standard input",
    )
    parser.add_argument(
        "-q", "--question", type=checks.text, required=True, help="what to ask about each file"
    )
    parser.add_argument("--stream", action="store_true", help="show the answer while it is decoded")
    add_batch_option(parser, "windows at once; default: 8")
    add_audio_options(parser)
    add_model_options(parser)
    add_decode_options(parser, "without any of these: what the model was saved with")
    add_output_options(parser)
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Answer the question for every file; the exit code."""
    from .models import load_predictor

    predictor = load_predictor(arguments)
    failed = 0
    for name in arguments.files:
        try:
            clip = read_clip(name, window_of(predictor), allow_truncated=arguments.allow_truncated)
            if len(clip.windows) > 1:
                note(describe_windows(clip, window_of(predictor)))
            _answer(clip, predictor, arguments)
        except file_errors() as error:
            failed += 1
            complain(reason(name, error))
            if arguments.json:
                print_json({"file": name, "error": " ".join(str(error).split())})
    return summarize(failed, len(arguments.files))


def _answer(clip: Clip, predictor: ModelPredictor, arguments: argparse.Namespace) -> None:
    several = len(arguments.files) > 1
    if arguments.stream:
        windows = list(_stream(clip, predictor, arguments, several))
    else:
        windows = list(
            ask_windows(
                clip,
                arguments.question,
                predictor,
                batch_size=arguments.batch_size,
                seed=arguments.seed,
            )
        )
    if arguments.json:
        text = " ".join(window["text"] for window in windows if window["text"])
        print_json({"file": clip.name, "answer": text, "windows": windows})
    elif not arguments.stream:
        for window in windows:
            say(f"{_prefix(clip, several, window['start'], window['end'])}{window['text']}")


def _stream(
    clip: Clip, predictor: ModelPredictor, arguments: argparse.Namespace, several: bool
) -> Iterator[dict[str, Any]]:
    from .streaming import show_progressively, stream_answer

    for number, window in enumerate(clip.windows):
        steps = stream_answer(
            predictor.model,
            window.cut(clip.waveform),
            arguments.question,
            sampler=predictor.sampler,
            seed=arguments.seed + number,
        )
        if arguments.json:
            nfe, text = 0, ""
            for nfe, text, final in steps:
                if not final:
                    record = {"file": clip.name, "start": window.start, "nfe": nfe, "partial": text}
                    print_json(record)
        else:
            nfe = 0
            text = show_progressively(steps, _prefix(clip, several, window.start, window.end))
        yield {"start": window.start, "end": window.end, "text": text, "nfe": nfe}


def _prefix(clip: Clip, several: bool, start: float, end: float) -> str:
    name = f"{clip.name}: " if several else ""
    return name + (f"[{clock(start)} - {clock(end)}] " if len(clip.windows) > 1 else "")
