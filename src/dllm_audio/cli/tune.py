"""``dllm-audio tune``: which sampler for these questions?"""

from __future__ import annotations

import argparse
import random
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from ..errors import InvalidArgumentError, MissingDependencyError
from ..files import write_json, write_text
from . import checks
from .options import (
    add_batch_option,
    add_model_options,
    add_output_options,
    add_seed_option,
    new_command,
)
from .terminal import note, print_json, say

if TYPE_CHECKING:
    from ..evaluation.tuning import TuningQuestion

_DESCRIPTION = """\
Decode questions with known answers in every way that is worth it - commit rules, caches - and
write the fastest sampler that is as accurate as one token a step, within a standard error.

The data are those of training: a JSON list, JSON Lines or a table with audio, question and answer
(or instruction and target). Without --data the questions are those of the package's toy world."""

_EPILOG = """\
examples:
  dllm-audio tune --output tuning/
  dllm-audio tune --data questions.jsonl --model ./my-model --rows 200 --output tuning/
  dllm-audio answer clip.wav -q "What is said?" --model ./my-model --sampler tuning/sampler.json

The folder holds sampler.json (for --sampler, or samplers.from_dict), tuning.md (the table),
tuning.json (every answer) and, with matplotlib, tuning.png."""


def add_parser(commands: Any) -> None:
    """Add the command to the parser."""
    parser = new_command(
        commands,
        "tune",
        summary="choose a sampler by measurement",
        usage="--output DIR [--data FILE] [options]",
        description=_DESCRIPTION,
        epilog=_EPILOG,
    )
    parser.add_argument("--data", type=checks.name, metavar="FILE", help="questions with answers")
    parser.add_argument(
        "--audio-root", type=checks.name, metavar="DIR", help="where relative audio paths start"
    )
    parser.add_argument(
        "--rows",
        type=checks.integer(),
        metavar="N",
        default=200,
        help="questions to ask, drawn at random where there are more; default: 200",
    )
    parser.add_argument(
        "--gen-length", type=checks.integer(), metavar="N", help="tokens of the longest answer"
    )
    parser.add_argument(
        "--block-length", type=checks.integer(), metavar="N", help="tokens of a block"
    )
    parser.add_argument(
        "--repeats", type=checks.integer(), metavar="N", default=2, help="timed runs; default: 2"
    )
    parser.add_argument(
        "--output", type=checks.name, metavar="DIR", required=True, help="folder of the results"
    )
    add_seed_option(parser, "of the draw of questions; default: 0")
    add_batch_option(parser, "questions at once; default: 8")
    add_model_options(parser)
    add_output_options(parser)
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Measure, and write what came of it; the exit code."""
    from ..evaluation.tuning import candidates, draw_tuning, measure, recommend, tuning_table
    from ..protocols import causal_block_length
    from .models import load_model

    questions = _questions(arguments)
    model, description, _ = load_model(arguments)
    default = model.default_sampler()
    length = arguments.gen_length or default.gen_length
    block = min(arguments.block_length or default.block_length, length)
    causal = causal_block_length(model.backbone) is not None
    ways = candidates(length, block, causal=causal)
    measured = measure(
        model, questions, ways, batch_size=arguments.batch_size, repeats=arguments.repeats
    )
    chosen = recommend(measured)
    folder = Path(arguments.output)
    folder.mkdir(parents=True, exist_ok=True)
    table = tuning_table(measured, chosen)
    record = {
        "model": description,
        "questions": [{"prompt": q.prompt, "target": q.target} for q in questions],
        "measured": [
            {
                "sampler": way.candidate.sampler.to_dict(),
                "seconds": way.seconds,
                "scores": way.scores,
                "texts": way.texts,
                "passes": way.passes,
                "tokens": way.tokens,
            }
            for way in measured
        ],
    }
    write_json(folder / "sampler.json", chosen.candidate.sampler.to_dict())
    write_text(folder / "tuning.md", table)
    write_json(folder / "tuning.json", record)
    try:
        draw_tuning(measured, chosen, folder / "tuning.png")
    except MissingDependencyError as error:
        note(str(error))
    if arguments.json:
        print_json({"sampler": chosen.candidate.sampler.to_dict(), "accuracy": chosen.accuracy})
    else:
        say(table, end="")
        say(f"wrote {folder / 'sampler.json'}")
    return 0


def _questions(arguments: argparse.Namespace) -> list[TuningQuestion]:
    """The questions of the file, or of the toy world."""
    from ..evaluation.tuning import TuningQuestion

    if arguments.data is None:
        from ..toy import ToyDataset

        records = ToyDataset("heldout", arguments.rows, arguments.seed)
        return [TuningQuestion(r.prompt, (r.waveform, 16000), r.target) for r in records]
    from ..data import Example, ExampleParser, RecordDataset

    rows = RecordDataset.from_file(arguments.data, ExampleParser(), arguments.audio_root)
    if not len(rows):
        raise InvalidArgumentError("--data", "at least one row", f"none in {arguments.data}")
    rows.validate(progress=False)
    drawn = list(range(len(rows)))
    if len(rows) > arguments.rows:
        drawn = sorted(random.Random(arguments.seed).sample(drawn, arguments.rows))
    examples = [cast(Example, rows[index]) for index in drawn]
    return [TuningQuestion(e.instruction, e.audio, e.target) for e in examples]
