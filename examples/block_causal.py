"""Convert the small model to block-causal attention, whose cache is exact, and see what it costs.

    python examples/block_causal.py                    # about 20 minutes; writes docs/results/
    python examples/block_causal.py --max-steps 2      # a smoke test

The prompt attends to itself, a block of the answer to what is before it and to itself; so the
prompt with its audio is computed once, and what is finished never again.  A model that was trained
with full attention has to learn this: one stage of masked diffusion over all of it but the encoder,
noisy blocks beside clean ones in one pass.  The same stage with full attention stands beside it, so
that the difference is the pattern's and not that of more training.
"""

from __future__ import annotations

import argparse
import statistics
from pathlib import Path

import torch

from decoding_table import BLOCK, LENGTH, SEEDS, same
from dllm_audio import AudioDiffusionLM, CachedParallelSampler, FixedQuota, Threshold, toy
from dllm_audio.evaluation.tuning import Candidate, Measured, TuningQuestion, measure
from dllm_audio.toy import QA
from dllm_audio.training import LoopSettings, Optimization, Stage, run_stage, train_only
from toy_data import ToyData

STAGE = Stage(
    name="convert",
    adapter="dual",
    trains=("adapter", "backbone"),
    data="qa",
    optimization=Optimization(
        learning_rate=3e-4,
        schedule="cosine",
        max_steps=600,
        warmup_steps=50,
        batch_size=32,
        weight_decay=0.02,
        bf16=False,
    ),
)
CACHES = {"full": (None, "prefix", "dual"), "block-causal": (None, "prefix", "dual", "exact")}


def starting_model(pattern: str) -> AudioDiffusionLM:
    """The small model with one of the two patterns of attention."""
    model = toy.small_model(torch.float32)
    if pattern == "block-causal":
        model.backbone.config.causal_block_length = BLOCK
    return model


def trained(pattern: str, stage: Stage, data: ToyData, folder: Path) -> AudioDiffusionLM:
    """The same after the stage; an interrupted one goes on."""
    model = starting_model(pattern)
    train_only(model, stage.trains)
    settings = LoopSettings(save_steps=100, eval_steps=100)
    run_stage(stage, model, data.answers(QA), folder / pattern, settings=settings)
    return model.eval()


def decoded(
    model: AudioDiffusionLM, pattern: str, questions: list[TuningQuestion]
) -> list[Measured]:
    """Accuracy, passes and time with every cache; the first is one token a step without one."""
    one_a_step = CachedParallelSampler(LENGTH, BLOCK, FixedQuota(LENGTH), cache=None)
    ways = [Candidate("one token a step", one_a_step)]
    for cache in CACHES[pattern]:
        sampler = CachedParallelSampler(LENGTH, BLOCK, Threshold(0.9), cache=cache)
        ways.append(Candidate("Threshold(0.9)", sampler))
    return measure(model, questions, ways, batch_size=16)


def table(found: dict[str, list[Measured]], questions: int) -> str:
    """Markdown."""
    lines = [
        "| attention | rule | cache | accuracy | as one token a step | passes | ms per answer |",
        "|---|---|---|--:|--:|--:|--:|",
    ]
    for name, ways in found.items():
        for way in ways:
            lines.append(
                f"| {name} | {way.candidate.rule} | {way.candidate.cache} "
                f"| {100 * way.accuracy:.1f} % | {100 * same(way, ways[0]):.1f} % "
                f"| {statistics.fmean(way.passes):.2f} | {way.milliseconds:.2f} |"
            )
    best = next(iter(found.values()))[0].accuracy
    error = 100 * (best * (1 - best) / questions) ** 0.5
    note = (
        f"{questions} held-out questions, {LENGTH} positions in blocks of {BLOCK}, batches of 16; "
        f"standard error of an accuracy about {error:.1f} points; float32, "
        f"{torch.get_num_threads()} threads of a CPU, best of two."
    )
    return "\n".join([*lines, "", note, ""])


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--max-steps", type=int, help="of each training (2: a smoke test)")
    parser.add_argument("--questions", type=int, default=520)
    parser.add_argument("--output", type=Path, default=Path("runs/block_causal"))
    parser.add_argument("--results", type=Path, default=Path("docs/results"))
    args = parser.parse_args()
    stage, smoke = STAGE, args.max_steps is not None
    if smoke:
        stage = STAGE.changed(max_steps=args.max_steps, warmup_steps=1, batch_size=2)
    data = ToyData(args.output, smoke)
    records = toy.ToyDataset("heldout", args.questions, SEEDS[0])
    questions = [TuningQuestion(r.prompt, (r.waveform, 16000), r.target) for r in records]
    found = {}
    for name, pattern in (
        ("full, as shipped", "full"),
        ("block-causal, untrained", "block-causal"),
    ):
        found[name] = decoded(starting_model(pattern), pattern, questions)[:2]
    for pattern in CACHES:
        model = trained(pattern, stage, data, args.output)
        found[f"{pattern}, trained"] = decoded(model, pattern, questions)
    text = table(found, len(questions))
    args.results.mkdir(parents=True, exist_ok=True)
    (args.results / "block_causal.md").write_text(text)
    print(text)


if __name__ == "__main__":
    main()
