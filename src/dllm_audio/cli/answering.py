"""Answer a question about every file of a command line."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from typing import Any

from ..evaluation.predictors import ModelPredictor
from .clips import (
    FILE_ERRORS,
    Clip,
    ask_windows,
    clock,
    describe_windows,
    read_clip,
    reason,
    window_of,
)
from .exit_codes import summarize
from .models import load_predictor
from .streaming import show_progressively, stream_answer
from .terminal import complain, note, print_json


def answer_files(arguments: argparse.Namespace) -> int:
    """Answer the question for every file; the exit code."""
    predictor = load_predictor(arguments)
    failed = 0
    for name in arguments.files:
        try:
            clip = read_clip(name, window_of(predictor), allow_truncated=arguments.allow_truncated)
            if len(clip.windows) > 1:
                note(describe_windows(clip, window_of(predictor)))
            _answer(clip, predictor, arguments)
        except FILE_ERRORS as error:
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
            print(f"{_prefix(clip, several, window['start'], window['end'])}{window['text']}")


def _stream(
    clip: Clip, predictor: ModelPredictor, arguments: argparse.Namespace, several: bool
) -> Iterator[dict[str, Any]]:
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
