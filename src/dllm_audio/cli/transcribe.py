"""``dllm-audio transcribe``: speech to text, JSON or subtitles."""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tqdm import tqdm

from ..errors import InvalidArgumentError
from ..evaluation.asr import INSTRUCTION
from ..files import write_text
from . import checks
from .clips import (
    STANDARD_INPUT,
    ask_windows,
    clock,
    describe_windows,
    file_errors,
    find_files,
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
    parser.add_argument(
        "--output-dir", type=checks.name, metavar="DIR", help="write files instead of printing"
    )
    parser.add_argument("--overwrite", action="store_true", help="replace files in --output-dir")
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
    add_model_options(parser)
    add_decode_options(parser, "without any of these: what the model was saved with")
    add_output_options(parser)
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Transcribe every file; the exit code."""
    from .models import load_predictor

    form = arguments.format or ("json" if arguments.json else "text")
    names = find_files(arguments.inputs)
    targets = _targets(names, arguments, form)
    predictor = load_predictor(arguments)
    window = _window(arguments.window, window_of(predictor))
    failed = 0
    # Printed results and a bar would get in each other's way.
    for name in tqdm(names, unit="file", disable=None if targets else True):
        target = targets.get(name)
        if target is not None and target.exists() and not arguments.overwrite:
            continue
        try:
            result = _transcribe(name, window, predictor, arguments)
        except file_errors() as error:
            failed += 1
            complain(reason(name, error))
            if form == "json" and target is None:
                print_json({"file": name, "error": " ".join(str(error).split())})
            continue
        if target is not None:
            target.parent.mkdir(parents=True, exist_ok=True)
            write_text(target, render(result, form) + "\n")
        elif form == "json":
            print_json(result)
        elif form == "srt" and len(names) > 1:
            say(f"# {name}\n{render(result, form)}")
        else:
            prefix = f"{name}: " if len(names) > 1 else ""
            say(f"{prefix}{render(result, form)}")
    return summarize(failed, len(names))


def _window(asked: float | None, longest: float) -> float:
    if asked is None:
        return longest
    if not 0 < asked <= longest:
        raise InvalidArgumentError("--window", f"seconds above 0, at most {longest:g}", asked)
    return asked


def _targets(names: Sequence[str], arguments: argparse.Namespace, form: str) -> dict[str, Path]:
    """Where each result goes; two inputs that would share a file keep their folders' names."""
    if arguments.output_dir is None:
        return {}
    suffix = {"text": ".txt", "json": ".json", "srt": ".srt"}[form]
    root = Path(arguments.output_dir)
    stems = ["stdin" if name == STANDARD_INPUT else Path(name).stem for name in names]
    targets = {}
    for name, stem in zip(names, stems, strict=True):
        if stems.count(stem) > 1:
            stem = "_".join(part for part in Path(name).parts if part not in ("/", "..", "."))
        targets[name] = root / f"{stem}{suffix}"
    if len(set(targets.values())) < len(set(names)):
        raise InvalidArgumentError("inputs", "files whose results get different names", names)
    return targets


def _transcribe(
    name: str, window: float, predictor: ModelPredictor, arguments: argparse.Namespace
) -> dict[str, Any]:
    clip = read_clip(name, window, allow_truncated=arguments.allow_truncated)
    if len(clip.windows) > 1:
        note(describe_windows(clip, window))
    parts = list(
        ask_windows(
            clip,
            arguments.prompt,
            predictor,
            batch_size=arguments.batch_size,
            seed=arguments.seed,
        )
    )
    text = " ".join(part["text"] for part in parts if part["text"])
    return {"file": name, "seconds": clip.seconds, "text": text, "windows": parts}


def render(result: Mapping[str, Any], form: str) -> str:
    """A transcript as text, JSON or SubRip subtitles.

    Example:
        >>> part = {"start": 0.0, "end": 2.5, "text": "three one"}
        >>> print(render({"text": "three one", "windows": [part]}, "srt"))
        1
        00:00:00,000 --> 00:00:02,500
        three one
        <BLANKLINE>
    """
    if form == "json":
        return json.dumps(result, ensure_ascii=False, indent=2)
    if form == "text":
        return str(result["text"])
    spoken = [part for part in result["windows"] if part["text"]]
    return "\n".join(
        f"{number}\n{clock(part['start'], ',')} --> {clock(part['end'], ',')}\n{part['text']}\n"
        for number, part in enumerate(spoken, start=1)
    )
