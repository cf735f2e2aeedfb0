"""``dllm-audio eval``: score a model, or a file of predictions, on a benchmark."""

from __future__ import annotations

import argparse
import os
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import InvalidArgumentError
from ..evaluation.asr import Transcription, folder_source
from ..evaluation.benchmarks import BENCHMARKS, get_benchmark
from ..evaluation.questions import Benchmark, Task, make_task
from ..evaluation.sources import Source, open_source
from ..evaluation.store import Shard
from ..evaluation.voicebench import VoiceBench, export_name
from . import checks
from .exit_codes import summarize
from .options import (
    add_batch_option,
    add_decode_options,
    add_model_options,
    add_output_options,
    new_command,
)
from .terminal import note, print_json, say

if TYPE_CHECKING:
    from ..evaluation.predictors import ModelChooser, ModelPredictor
    from ..evaluation.rendering import Report

_OWN = "model"  # the preset that means: what the model was saved with

_DESCRIPTION = """\
Score a model on a benchmark: run it on every question, then write a report.

Results are kept in --output as they come. A run that was interrupted, even killed, goes on where
it stopped when the same command is given again, and ends with the same results.jsonl. Audio that
cannot be read is a failure with a reason, never a reason to stop; failures count as wrong.

Multiple choice is scored twice: "official" follows the published scripts to the letter, "robust"
reads answers as a person would. Both state the share of answers that could not be read; it is 0
with --answers choices, where nothing has to be read. That is another measure than the published
one, and the report says so."""

_EPILOG = """\
benchmarks:
  toy                   questions about embedded sounds, held-out voices; needs nothing
  mmsu, mmau            from the hub, or --data FILE
  mmar                  --data MMAR-meta.json, audio unpacked beside it
  librispeech-clean, librispeech-other
                        from the hub, or --data FOLDER (unpacked)
  asr                   --data MANIFEST (fields: audio, text), a LibriSpeech folder, or a folder of
                        the Free Spoken Digit Dataset
  voicebench-SUBSET     SUBSET: alpacaeval, alpacaeval_full, commoneval, wildvoice, sd-qa, mmsu,
                        openbookqa, bbh, ifeval, advbench; writes what VoiceBench's evaluator reads

examples:
  dllm-audio eval toy --output runs/toy
  dllm-audio eval mmau --data mmau-test-mini.json --audio-root audio/ --batch-size 8
  dllm-audio eval asr --data recordings/ --split test
  dllm-audio eval voicebench-sd-qa --split usa --split gbr
  dllm-audio eval mmau --data mmau-test-mini.json --predictions theirs.json
  dllm-audio eval mmsu --answers choices --batch-size 8
  dllm-audio eval mmsu --choice-seed 1          # the same questions, choices in another order
  accelerate launch --num_processes 4 -m dllm_audio.cli eval mmsu --output runs/mmsu

in --output: results.jsonl, timings.jsonl, report.json, report.md, report.png, run.json, and the
file for the benchmark's own evaluator"""


def add_parser(commands: Any) -> None:
    """Add the command to the parser."""
    parser = new_command(
        commands,
        "eval",
        summary="score a model or a file of predictions on a benchmark",
        usage="BENCHMARK [options]",
        description=_DESCRIPTION,
        epilog=_EPILOG,
    )
    parser.add_argument("benchmark", metavar="BENCHMARK", choices=BENCHMARKS, help="see below")
    group = parser.add_argument_group("data")
    group.add_argument(
        "--data", type=checks.name, metavar="PLACE", help="file, folder or hub id of the questions"
    )
    group.add_argument(
        "--audio-root", type=checks.name, metavar="DIR", help="where relative audio paths start"
    )
    group.add_argument(
        "--split",
        action="append",
        type=checks.name,
        metavar="NAME",
        help="may be repeated; default: the published one",
    )
    group.add_argument(
        "--limit",
        type=checks.integer(high=2**31),
        metavar="N",
        help="only the first N questions",
    )
    group.add_argument(
        "--choice-seed",
        type=checks.seed,
        metavar="N",
        help="show choices in an order drawn from this",
    )
    group.add_argument(
        "--predictions", type=checks.name, metavar="FILE", help="score this file; run no model"
    )
    group = parser.add_argument_group("run")
    group.add_argument("--output", type=checks.name, metavar="DIR", help="default: runs/BENCHMARK")
    add_batch_option(group, "questions at once; default: 1, as published", default=1)
    group.add_argument(
        "--answers",
        choices=("decoded", "choices"),
        default="decoded",
        help="decoded: what the model writes; choices: the most likely choice of each question, "
        "with the probability of every one; default: decoded",
    )
    group.add_argument(
        "--text",
        choices=("answer", "whole"),
        help="of what was decoded: up to the first end token, or the whole response as published "
        "scripts have it; default: answer",
    )
    group.add_argument(
        "--preset",
        choices=("diffa-2", "diffa", "model"),
        help="published decode settings, or the model's own; default: diffa-2, but model for toy "
        "and asr",
    )
    add_model_options(parser)
    add_decode_options(parser, "these change single values of the preset")
    add_output_options(parser)
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Score what the command line asks for; the exit code."""
    from ..evaluation.report import finish_run, read_predictions, score_predictions

    benchmark = get_benchmark(arguments.benchmark)
    output = Path(arguments.output or f"runs/{benchmark.name}")
    splits = arguments.split or [None]
    state = None if arguments.predictions else _processes(arguments.device)
    if state is not None and arguments.device is None:
        arguments.device = str(state.device)  # each process has a device of its own
    reports = []
    predictor = None
    for split in splits:
        source = _source(benchmark, arguments, split)
        task = make_task(
            benchmark, source, choice_seed=arguments.choice_seed, limit=arguments.limit
        )
        folder = output / split if len(splits) > 1 else output
        if arguments.predictions is not None:
            found = read_predictions(arguments.predictions, task.items, benchmark.prediction_keys)
            reports.append(score_predictions(task, found, folder, arguments.predictions))
        else:
            predictor = predictor or _predictor(benchmark, arguments)
            if not _run_model(task, predictor, folder, arguments, state):
                continue
            name = _export_name(benchmark, predictor, split)
            reports.append(finish_run(task, folder, export_name=name))
        _show(reports[-1], folder, arguments.json)
    failed = sum(len(report.failures) for report in reports)
    return summarize(failed, sum(report.rows for report in reports) or 1)


def _source(benchmark: Benchmark, arguments: argparse.Namespace, split: str | None) -> Source:
    from ..evaluation.toy import TOY_SIZE, toy_source

    if arguments.audio_root is not None and not Path(arguments.audio_root).is_dir():
        raise InvalidArgumentError("--audio-root", "a folder", arguments.audio_root)
    if benchmark.name == "toy" and arguments.data is None:
        return toy_source(min(arguments.limit or TOY_SIZE, TOY_SIZE))
    place = arguments.data
    if place is None and benchmark.dataset is not None:
        return open_source(benchmark.dataset, split=split)
    if place is None:
        place = arguments.predictions
    if place is None:
        raise InvalidArgumentError("--data", f"the questions of {benchmark.name}", None)
    if Path(place).is_dir() and isinstance(benchmark, Transcription):
        return folder_source(place, split, arguments.audio_root)
    return open_source(place, audio_root=arguments.audio_root, split=split)


def _predictor(
    benchmark: Benchmark, arguments: argparse.Namespace
) -> ModelPredictor | ModelChooser:
    from .. import samplers
    from ..evaluation.predictors import ModelChooser
    from .models import load_predictor

    choose_by = None
    if arguments.answers == "choices":
        choose_by = benchmark.choose_by
        if choose_by is None:
            expected = f"decoded: the questions of {benchmark.name} have no choices"
            raise InvalidArgumentError("--answers", expected, arguments.answers)
        if arguments.text is not None:
            raise InvalidArgumentError("--text", "nothing beside --answers choices", arguments.text)
    preset = arguments.preset or next(iter(benchmark.presets), _OWN)
    if preset != _OWN and preset not in benchmark.presets:
        known = ", ".join([*benchmark.presets, _OWN])
        raise InvalidArgumentError("--preset", f"one of {known} for {benchmark.name}", preset)
    named = benchmark.presets.get(preset)
    predictor = load_predictor(arguments, None if named is None else samplers.preset(named))
    if choose_by is None:
        return predictor if arguments.text is None else replace(predictor, text=arguments.text)
    said = predictor.description
    return ModelChooser(predictor.model, predictor.sampler, said, predictor.device, choose_by)


def _run_model(
    task: Task,
    predictor: ModelPredictor | ModelChooser,
    folder: Path,
    arguments: argparse.Namespace,
    state: Any,
) -> bool:
    """Answer every question; whether this process is the one that reports."""
    from ..evaluation.run_info import start_run
    from ..evaluation.runner import run_task

    shard = Shard(state.process_index, state.num_processes) if state else Shard()
    start_run(task, predictor.description, folder, device=predictor.device, shard=shard)
    run_task(
        task,
        predictor,
        folder,
        batch_size=arguments.batch_size,
        shard=shard,
        seed=arguments.seed,
    )
    if state is not None:
        state.wait_for_everyone()
    return shard.rank == 0


def _export_name(
    benchmark: Benchmark, predictor: ModelPredictor | ModelChooser, split: str | None
) -> str | None:
    if not isinstance(benchmark, VoiceBench):
        return None
    model = Path(predictor.description["model"]).name.replace(" ", "-")
    return export_name(model, benchmark.subset, split or benchmark.splits[0])


def _processes(device: str | None) -> Any:
    """The processes of ``accelerate launch`` or ``torchrun``; None when this one is alone."""
    if int(os.environ.get("WORLD_SIZE", "1")) < 2:
        return None
    import torch
    from accelerate import PartialState

    # Unless it is told, accelerate takes several processes on a CPU for one.
    on_cpu = device == "cpu" or not torch.accelerator.is_available()
    return PartialState(cpu=on_cpu)


def _show(report: Report, folder: Path, as_json: bool) -> None:
    from .score_table import score_lines

    if as_json:
        print_json(report.to_json())
        return
    for line in score_lines(report):
        say(line)
    for failure in report.failures[:5]:
        note(f"failed: {failure.id}: {failure.error}")
    if len(report.failures) > 5:
        note(f"... and {len(report.failures) - 5} more failures, all in report.json")
    say(f"report: {folder / 'report.md'}")
