"""``dllm-audio train``: train the stages of a run file, on one GPU or on many."""

from __future__ import annotations

import argparse
import logging
import os
from pathlib import Path
from typing import Any

from . import checks
from .options import add_import_option, add_seed_option, new_command
from .terminal import say

_DESCRIPTION = """\
Train a model in stages, as a run file says: which encoder and backbone, which data, which recipe.

Start the same command again and an interrupted run goes on from its last checkpoint, to the same
weights; complete stages are passed over. The folder of a finished stage is a model: give it to
--model of the other commands, to the evaluation, or as "start" to another run."""

_EPILOG = """\
examples:
  dllm-audio train --explain
  dllm-audio train run.json --output runs/mine
  dllm-audio train run.json --stage stage3 --output runs/mine
  dllm-audio train run.json --estimate --gpus 8
  torchrun --nproc_per_node 8 -m dllm_audio.cli train run.json --output runs/mine
  accelerate launch --config_file fsdp2.yaml -m dllm_audio.cli train run.json"""


def add_parser(commands: Any) -> None:
    """Add the command to the parser."""
    parser = new_command(
        commands,
        "train",
        summary="train the stages of a run file",
        usage="RUN.json [options]",
        description=_DESCRIPTION,
        epilog=_EPILOG,
    )
    parser.add_argument(
        "run_file",
        type=checks.name,
        metavar="RUN.json",
        nargs="?",
        help="what to train; see --explain",
    )
    parser.add_argument(
        "--explain", action="store_true", help="print what every key of a run file means, and stop"
    )
    parser.add_argument(
        "--stage",
        type=checks.name,
        metavar="NAME",
        default="all",
        help="name of the one stage to run (default: all)",
    )
    parser.add_argument(
        "--output",
        type=checks.name,
        metavar="DIR",
        help="folder of the run (default: runs/ and the file's name)",
    )
    add_seed_option(parser, "of fresh weights, order, noise and dropout (default 0)")
    add_import_option(parser)
    parser.add_argument(
        "--estimate", action="store_true", help="print parameters and memory per GPU, and stop"
    )
    parser.add_argument(
        "--gpus",
        type=checks.integer(),
        metavar="N",
        default=1,
        help="for --estimate: number of GPUs",
    )
    parser.add_argument(
        "--sequence-length",
        metavar="N",
        type=checks.integer(),
        default=1024,
        help="for --estimate: positions of prompt, audio and response (default 1024)",
    )
    parser.add_argument("--debug", action="store_true", help="show the traceback of an error")
    parser.set_defaults(run=run, needs_file=parser.error)


def run(arguments: argparse.Namespace) -> int:
    """Run the command."""
    main = os.environ.get("RANK", "0") == "0"
    logging.basicConfig(level=logging.WARNING if main else logging.ERROR, format="%(message)s")
    if arguments.explain:
        from ..training import explain

        say(explain(), end="")
        return 0
    if arguments.run_file is None:
        arguments.needs_file("the following arguments are required: RUN.json (or --explain)")

    from ..training import RunConfig, run_recipe

    config = RunConfig.from_file(arguments.run_file)
    if arguments.estimate:
        say(_estimate(config, arguments.gpus, arguments.sequence_length))
        return 0
    output = arguments.output or Path("runs") / Path(arguments.run_file).stem
    only = None if arguments.stage == "all" else arguments.stage
    try:
        folders = run_recipe(config, output, only=only, seed=arguments.seed)
    except KeyboardInterrupt as stop:
        stop.args = (f"the same command goes on from the last checkpoint in {output}",)
        raise
    _leave_the_others()
    if main:
        for folder in folders:
            say(str(folder))
    return 0


def _estimate(config: Any, gpus: int, sequence_length: int) -> str:
    """A line or two for each stage of the published model of that encoder."""
    from ..training import estimate_memory, meta_foundation, stage_parameters

    foundation = meta_foundation(config.encoder, adapters=config.adapters)
    lines = [f"{config.encoder}, LLaDA-8B, {gpus} GPU(s)"]
    for stage in config.stages.stages:
        memory = estimate_memory(
            foundation,
            stage,
            sequence_length=sequence_length,
            gpus=gpus,
            sharded=config.loop.shard,
        )
        lines.append(f"{stage.name}: {stage_parameters(foundation, stage)}")
        lines.append(f"    batch {stage.optimization.batch_size}: {memory}")
    return "\n".join(lines)


def _leave_the_others() -> None:
    """End the communication between processes, which torch complains about otherwise."""
    from accelerate import PartialState

    state = PartialState()
    if state.num_processes > 1:
        state.destroy_process_group()
