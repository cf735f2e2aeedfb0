"""Run or score a benchmark as a command line asks."""

from __future__ import annotations

import argparse
import os
from pathlib import Path
from typing import Any

from .. import samplers
from ..errors import InvalidArgumentError
from ..evaluation.asr import Transcription, folder_source
from ..evaluation.benchmarks import get_benchmark
from ..evaluation.predictors import ModelPredictor
from ..evaluation.questions import Benchmark, Task, make_task
from ..evaluation.rendering import Report
from ..evaluation.report import finish_run, read_predictions, score_predictions
from ..evaluation.run_info import start_run
from ..evaluation.runner import run_task
from ..evaluation.sources import Source, open_source
from ..evaluation.store import Shard
from ..evaluation.toy import TOY_SIZE, toy_source
from ..evaluation.voicebench import VoiceBench, export_name
from .exit_codes import summarize
from .models import load_predictor
from .score_table import score_lines
from .terminal import note, print_json

_OWN = "model"  # the preset that means: what the model was saved with


def evaluate(arguments: argparse.Namespace) -> int:
    """Score what the command line asks for; the exit code."""
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
        return folder_source(place, split)
    return open_source(place, audio_root=arguments.audio_root, split=split)


def _predictor(benchmark: Benchmark, arguments: argparse.Namespace) -> ModelPredictor:
    preset = arguments.preset or next(iter(benchmark.presets), _OWN)
    if preset != _OWN and preset not in benchmark.presets:
        known = ", ".join([*benchmark.presets, _OWN])
        raise InvalidArgumentError("--preset", f"one of {known} for {benchmark.name}", preset)
    named = benchmark.presets.get(preset)
    return load_predictor(arguments, None if named is None else samplers.preset(named))


def _run_model(
    task: Task,
    predictor: ModelPredictor,
    folder: Path,
    arguments: argparse.Namespace,
    state: Any,
) -> bool:
    """Answer every question; whether this process is the one that reports."""
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


def _export_name(benchmark: Benchmark, predictor: ModelPredictor, split: str | None) -> str | None:
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
    if as_json:
        print_json(report.to_json())
        return
    for line in score_lines(report):
        print(line)
    for failure in report.failures[:5]:
        note(f"failed: {failure.id}: {failure.error}")
    if len(report.failures) > 5:
        note(f"... and {len(report.failures) - 5} more failures, all in report.json")
    print(f"report: {folder / 'report.md'}")
