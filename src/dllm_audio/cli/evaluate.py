"""``dllm-audio eval``: score a model, or a file of predictions, on a benchmark."""

from __future__ import annotations

import argparse
from typing import Any

from ..evaluation.benchmarks import BENCHMARKS
from .options import add_decode_options, add_model_options, add_output_options, new_command

_DESCRIPTION = """\
Score a model on a benchmark: run it on every question, then write a report.

Results are kept in --output as they come. A run that was interrupted, even killed, goes on where
it stopped when the same command is given again, and ends with the same results.jsonl. Audio that
cannot be read is a failure with a reason, never a reason to stop; failures count as wrong.

Multiple choice is scored twice: "official" follows the published scripts to the letter, "robust"
reads answers as a person would. Both state the share of answers that could not be read."""

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
    group.add_argument("--data", metavar="PLACE", help="file, folder or hub id of the questions")
    group.add_argument("--audio-root", metavar="DIR", help="where relative audio paths start")
    group.add_argument(
        "--split",
        action="append",
        metavar="NAME",
        help="may be repeated; default: the published one",
    )
    group.add_argument("--limit", type=int, metavar="N", help="only the first N questions")
    group.add_argument(
        "--choice-seed", type=int, metavar="N", help="show choices in an order drawn from this"
    )
    group.add_argument("--predictions", metavar="FILE", help="score this file; run no model")
    group = parser.add_argument_group("run")
    group.add_argument("--output", metavar="DIR", help="default: runs/BENCHMARK")
    group.add_argument(
        "--batch-size",
        type=int,
        default=1,
        metavar="N",
        help="questions at once; default: 1, as published",
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
    """Run the command."""
    from .evaluating import evaluate

    return evaluate(arguments)
