"""What the training examples share: the command line, the order of stages, the table of results.

At toy scale the frozen encoder and language model are those of the small model that ships with
the package; adapters, prompts and LoRA start from nothing, and nothing is downloaded.
"""

from __future__ import annotations

import argparse
import gc
import json
import logging
import signal
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from types import FrameType
from typing import NoReturn

import torch
from tqdm import tqdm

from dllm_audio import AudioDiffusionLM, LowConfidenceSampler, toy
from dllm_audio.data import PreferenceCollator
from dllm_audio.errors import DllmAudioError
from dllm_audio.losses import SimPOLoss
from dllm_audio.parts import describe
from dllm_audio.training import (
    Foundation,
    LoopSettings,
    PreferenceTask,
    Stage,
    StageData,
    assemble,
    check_settings,
    count_parameters,
    is_complete,
    load_stage,
    run_settings,
    run_stage,
)
from dllm_audio.training.noise import EVALUATION, row_seeds
from toy_data import RESPONSE, ToyData

SMOKE = 20  # a stage of fewer steps is a test and gets little data
Planned = tuple[Stage, Callable[[ToyData], StageData]]


def main(description: str, recipe: str, stages: Sequence[Planned], run: str = "all") -> int:
    """Run an example.

    Args:
        description: what ``--help`` says first.
        recipe: names the folder of the run.
        stages: each with what it learns from, in order.
        run: number of the stage to run unless told, or ``all``.

    Returns:
        Exit status.
    """
    args = parse(description, recipe, stages, run)
    logging.basicConfig(level=logging.WARNING, format="%(message)s")
    signal.signal(signal.SIGTERM, _interrupt)  # as Ctrl-C
    try:
        train(stages, args)
    except DllmAudioError as error:
        print(f"{type(error).__name__}: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt as error:
        print(
            f"\nstopped; the same command goes on from the last checkpoint in {args.output}",
            file=sys.stderr,
        )
        return 128 + (error.args[0] if error.args else signal.SIGINT)
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
    return 0


def parse(description: str, recipe: str, stages: Sequence[Planned], run: str) -> argparse.Namespace:
    """The command line that all training examples have."""
    made = argparse.ArgumentParser(
        description=description, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    numbers = [stage.name.removeprefix("stage") for stage, _ in stages]
    made.add_argument(
        "--output", type=Path,
        help="folder of the run; start the same command again and an interrupted run goes on "
        f"(default: {Path('runs') / recipe}, with --max-steps N "
        f"{Path('runs') / recipe}-N-steps)",
    )  # fmt: skip
    made.add_argument(
        "--stage", default=run, choices=[*numbers, "all"],
        help=f"which stage to run (default: {run}); each starts from the one before, which "
        f"must be complete, in the folder of the run or else in {Path('runs') / recipe}",
    )  # fmt: skip
    made.add_argument(
        "--max-steps", type=int, help="stop each stage after so many steps (2: a smoke test)"
    )
    made.add_argument("--seed", type=int, default=0, help="of weights, order, noise and dropout")
    args = made.parse_args()
    args.whole = args.output or Path("runs") / recipe
    if args.output is None:  # a smoke test must not be taken for the real run
        suffix = "" if args.max_steps is None else f"-{args.max_steps}-steps"
        args.output = Path("runs") / f"{recipe}{suffix}"
    return args


def train(stages: Sequence[Planned], args: argparse.Namespace) -> None:
    """Train the chosen stages in turn and show what came of them."""
    smoke = args.max_steps is not None and args.max_steps < SMOKE
    data, results = ToyData(args.output, smoke), {}
    for stage, learns_from in stages:
        if args.stage not in ("all", stage.name.removeprefix("stage")):
            continue
        if args.max_steps is not None:
            stage = stage.changed(max_steps=args.max_steps)
        if smoke:
            stage = stage.changed(batch_size=2, warmup_steps=1)
        model = train_stage(stage, lambda: learns_from(data), args)  # noqa: B023
        results[stage.name] = evaluate(model, data, args.output / stage.name)
    text = table(results)
    (args.output / "results.md").write_text(text + "\n")
    print(f"\nHeld-out accuracy (exact answers; preference: share of pairs)\n\n{text}")


def foundation() -> Foundation:
    """What no stage trains, and the sizes of the adapters; both are those of the small model."""
    small = toy.small_model(torch.float32)
    dual = describe("adapter", small.adapter)["settings"]
    sizes = {"dual": dual, "prompted": {"num_prompts": 20}}
    return Foundation(
        small.encoder, small.backbone, small.tokenizer, sizes, sampler=small.default_sampler()
    )


def train_stage(
    stage: Stage, learns_from: Callable[[], StageData], args: argparse.Namespace
) -> AudioDiffusionLM:
    """Train a stage from where the one before ended, unless it is complete."""
    folder = args.output / stage.name
    if is_complete(folder):
        check_settings(folder, run_settings(stage, args.seed))
        print(f"{stage.name}: complete, in {folder}")
        return load_stage(foundation(), stage, folder)
    gc.collect()
    previous = stage_before(stage, args)
    model = assemble(foundation(), stage, args.seed, previous)
    start = "" if previous is None else f", starts from {previous}"
    print(f"{stage.name}: {count_parameters(model)}{start}", flush=True)
    steps = stage.optimization.max_steps
    settings = LoopSettings(save_steps=max(steps // 10, 1), eval_steps=max(steps // 5, 1))
    run_stage(stage, model, learns_from(), folder, seed=args.seed, settings=settings)
    print(f"{stage.name}: try dllm-audio answer --model {folder}")
    return model.eval()


def stage_before(stage: Stage, args: argparse.Namespace) -> Path | None:
    """The folder that a stage starts from: of this run, or else of the run of all steps."""
    if stage.starts_from is None:
        return None
    own, whole = args.output / stage.starts_from, args.whole / stage.starts_from
    return whole if is_complete(whole) and not is_complete(own) else own


def evaluate(model: AudioDiffusionLM, data: ToyData, folder: Path) -> dict[str, float]:
    """Accuracy of a trained stage, kept in its folder."""
    path = folder / "results.json"
    if path.exists():
        return json.loads(path.read_text())
    found = answer_accuracy(model, data.held_out)
    found["preference"] = preference_accuracy(model, data)
    path.write_text(json.dumps(found, indent=1))
    return found


def answer_accuracy(model: AudioDiffusionLM, records: list[toy.ToyRecord]) -> dict[str, float]:
    """Share of exact answers by kind of question, and of all."""
    sampler = LowConfidenceSampler(steps=RESPONSE, gen_length=RESPONSE)
    right: dict[str, list[bool]] = {}
    for start in tqdm(range(0, len(records), 64), desc="answers", unit="batch"):
        batch = records[start : start + 64]
        texts = model.generate(
            audio=[torch.from_numpy(record.waveform) for record in batch],
            prompts=[record.prompt for record in batch],
            sampler=sampler,
        ).texts
        for text, record in zip(texts or [], batch, strict=True):
            for name in (record.kind, "all"):
                right.setdefault(name, []).append(text == record.target)
    return {name: sum(values) / len(values) for name, values in right.items()}


def preference_accuracy(model: AudioDiffusionLM, data: ToyData) -> float:
    """Share of held-out pairs whose right answer the model finds more likely, token by token."""
    pairs, collate = data.held_out_pairs, data.collator(PreferenceCollator)
    task, margins = PreferenceTask(model, SimPOLoss()).eval(), []
    with torch.no_grad():
        for start in tqdm(range(0, len(pairs), 32), desc="pairs", unit="batch"):
            batch = collate(pairs[start : start + 32])
            seeds = row_seeds(0, EVALUATION, batch.pop("row"))
            margins.append(task(**batch, seeds=seeds)["margin"])
    return float((torch.cat(margins) > 0).float().mean())


def table(results: dict[str, dict[str, float]]) -> str:
    """Markdown."""
    names = ["semantic", "acoustic", "mixed", "all", "preference"]
    lines = ["| after | " + " | ".join(names) + " |", "|---" * (len(names) + 1) + "|"]
    for stage, values in results.items():
        cells = [f"{100 * values[n]:.1f} %" if n in values else "" for n in names]
        lines.append(f"| {stage} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def _interrupt(number: int, frame: FrameType | None) -> NoReturn:
    raise KeyboardInterrupt(number)
