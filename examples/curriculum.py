"""What the training examples share: the toy curriculum, the command line, the table of results.

At toy scale the frozen encoder and language model are those of the small model that ships with
the package; adapters, prompts and LoRA start from nothing.  Clips and questions come from
``dllm_audio.toy``; nothing is downloaded.
"""

from __future__ import annotations

import argparse
import copy
import gc
import json
import logging
import multiprocessing
import os
import sys
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from functools import cached_property, partial
from pathlib import Path
from typing import TypeVar

import numpy as np
import torch
from tqdm import tqdm

from dllm_audio import AudioDiffusionLM, ChatTemplate, LogMel, LowConfidenceSampler
from dllm_audio.data import (
    DiffusionCollator,
    EncoderFeatures,
    EosPadding,
    Example,
    PreferenceCollator,
    PreferencePair,
    StoredAudio,
    content_key,
)
from dllm_audio.data.synthesis import RuleCorruptions
from dllm_audio.toy import (
    ASSETS,
    Scene,
    SceneMaker,
    ToyDataset,
    ToyRecord,
    ask,
    askable,
    embedded_bank,
)
from dllm_audio.errors import DataError, DllmAudioError
from dllm_audio.losses import ElboSampling, SimPOLoss
from dllm_audio.training import (
    AdapterSettings,
    Foundation,
    PreferenceTask,
    Recipe,
    Stage,
    StageData,
    assemble,
    check_settings,
    count_parameters,
    estimate_memory,
    is_complete,
    load_stage,
    merge_lora,
    meta_foundation,
    run_settings,
    run_stage,
    stage_parameters,
)
from dllm_audio.training.config import RunConfig
from dllm_audio.training.noise import EVALUATION, row_seeds

Collator = TypeVar("Collator", DiffusionCollator, PreferenceCollator)

RESPONSE = 16  # tokens of an answer of the small model
SUBJECTS = {"digits": 0.5, "command": 0.1, "sound": 0.19, "music": 0.21}
LAYOUTS = {None: 0.75, "plain": 0.15, "mmau": 0.1}
FAMILIES = {"asr": ("digits", "command")}
QUESTIONS_PER_CLIP = 3
CURVE_ROWS = 64
CLIPS_PER_BLOCK = 50

# What differs from the published settings: everything that has to do with size.
TOY = {
    "stage1": {"max_steps": 250, "learning_rate": 2e-3, "warmup_steps": 30, "batch_size": 32},
    "stage2": {"max_steps": 650, "learning_rate": 2e-3, "warmup_steps": 50, "batch_size": 32},
    "stage3": {"max_steps": 150, "learning_rate": 3e-4, "warmup_steps": 20, "batch_size": 32},
    "stage4": {"max_steps": 160, "learning_rate": 2e-4, "warmup_steps": 10, "batch_size": 16},
}
# Of short answers two masks say enough; more pairs say more.
TOY_SAMPLING = ElboSampling(num_samples=2)
TOY_COMMON = {"schedule": "cosine", "weight_decay": 0.02, "accumulation": 1, "bf16": False}


@dataclass
class ToyWorld:
    """Foundation and data of the toy curriculum.

    Args:
        folder: where encoder features are kept.
        clips: for training.
        questions: held-out, per family.
        model: directory of the small model.
    """

    folder: Path
    clips: int
    questions: int
    model: Path = ASSETS / "tiny"

    @cached_property
    def foundation(self) -> Foundation:
        """What makes the features and the prompts."""
        return self.load_foundation()

    def load_foundation(self) -> Foundation:
        """Encoder, language model and tokenizer of the small model."""
        small = AudioDiffusionLM.from_pretrained(self.model, dtype=torch.float32)
        acoustic = small.adapter.acoustic
        sizes = AdapterSettings(
            num_prompts=20,
            num_queries=acoustic.num_queries,
            intermediate_size=256,
            taps=acoustic.taps,
        )
        return Foundation(small.encoder, small.backbone, small.tokenizer, sizes, small.generation)

    @cached_property
    def log_mel(self) -> LogMel:
        encoder = self.foundation.encoder
        return LogMel(encoder.n_mels, chunk_length=encoder.window_seconds)

    @cached_property
    def features(self) -> EncoderFeatures:
        """The frozen encoder's output, computed once per clip."""
        taps = self.foundation.adapters.taps or ()
        return EncoderFeatures(self.folder / "features", self.foundation.encoder, taps)

    def data(self, stage: Stage) -> StageData:
        """What a stage learns from and is evaluated on."""
        train = self._asr if stage.data == "asr" else self._qa
        # A few rows are enough for the curve; the table at the end uses all.
        held_out = self._held_out_examples(FAMILIES.get(stage.data))[:CURVE_ROWS]
        if stage.preference is not None:
            return StageData(_pairs(train), self.pair_collator, _pairs(held_out))
        return StageData(train, self._collator(DiffusionCollator), held_out)

    @property
    def pair_collator(self) -> PreferenceCollator:
        """Makes batches of pairs."""
        return self._collator(PreferenceCollator)

    def _collator(self, kind: type[Collator]) -> Collator:
        """Batches of stored features; the prompt ends as it does when the model answers."""
        template = ChatTemplate(self.foundation.tokenizer)
        return kind(template, self.features, EosPadding(RESPONSE), header_in_target=False)

    @cached_property
    def held_out_pairs(self) -> list[PreferencePair]:
        """Right and wrong answers about clips that training never hears."""
        return _pairs(self._held_out_examples(None))

    def _held_out_examples(self, families: tuple[str, ...] | None) -> list[Example]:
        records = [r for r in self.held_out if families is None or r.family in families]
        return [self._example(row, record) for row, record in enumerate(records)]

    @cached_property
    def _asr(self) -> list[Example]:
        return self._training_records("asr")

    @cached_property
    def _qa(self) -> list[Example]:
        return self._training_records("qa")

    @cached_property
    def held_out(self) -> list[ToyRecord]:
        """Questions about clips with voices that training never hears."""
        return list(ToyDataset("heldout", 13 * self.questions, seed=1))

    def _training_records(self, name: str) -> list[Example]:
        """Questions about training clips; the clips are made by several processes."""
        blocks = [
            range(first, min(first + CLIPS_PER_BLOCK, self.clips))
            for first in range(0, self.clips, CLIPS_PER_BLOCK)
        ]
        bar = partial(tqdm, total=len(blocks), desc=f"clips ({name})", unit="block")
        if len(blocks) == 1:
            made = [self.records(name, block) for block in bar(blocks)]
        else:
            workers, context = os.cpu_count() or 1, multiprocessing.get_context("spawn")
            start = (_start_worker, (self.folder, self.model))
            with ProcessPoolExecutor(workers, context, *start) as pool:
                made = list(bar(pool.map(partial(_work, name), blocks)))
        examples = [example for block in made for example in block]
        return [replace(example, row=row) for row, example in enumerate(examples)]

    def records(self, name: str, clips: range) -> list[Example]:
        """Questions about some training clips, which depend on their numbers alone."""
        examples: list[Example] = []
        subjects = list(SUBJECTS) if name != "asr" else ["digits", "command"]
        share = np.array([SUBJECTS[subject] for subject in subjects])
        for clip in clips:
            rng = np.random.default_rng([0 if name == "asr" else 1, clip])
            scene = self._maker.draw(rng, str(rng.choice(subjects, p=share / share.sum())))
            wanted = FAMILIES.get(name, askable(scene))
            families = [family for family in askable(scene) if family in wanted]
            if families:
                examples += self._questions(scene, families, rng, name)
        return examples

    @cached_property
    def _maker(self) -> SceneMaker:
        return SceneMaker(embedded_bank(), "train")

    def _questions(
        self, scene: Scene, families: list[str], rng: np.random.Generator, name: str
    ) -> list[Example]:
        count = 1 if name == "asr" else min(QUESTIONS_PER_CLIP, len(families))
        audio, made = self._stored(scene.waveform), []
        for family in rng.permutation(families)[:count]:
            layout = list(LAYOUTS)[int(rng.choice(len(LAYOUTS), p=list(LAYOUTS.values())))]
            layout = None if name == "asr" else layout
            record = ask(scene, str(family), rng, layout=layout)
            made.append(Example(0, audio, record.prompt, record.target))
        return made

    def _example(self, row: int, record: ToyRecord) -> Example:
        return Example(row, self._stored(record.waveform), record.prompt, record.target)

    def _stored(self, waveform: np.ndarray) -> StoredAudio:
        source = (waveform, 16000)
        self.features.compute([source], self.foundation.encoder, self.log_mel, progress=False)
        return StoredAudio(content_key(source))


_world: ToyWorld  # of a worker process


def _start_worker(folder: Path, model: Path) -> None:
    global _world
    torch.set_num_threads(1)  # the processes share the cores
    _world = ToyWorld(folder, 0, 0, model)


def _work(name: str, clips: range) -> list[Example]:
    return _world.records(name, clips)


def _pairs(examples: list[Example]) -> list[PreferencePair]:
    """The true answer against one with a single wrong word, where rules find one."""
    corrupt = RuleCorruptions()
    pairs: list[PreferencePair] = []
    for example in examples:
        try:
            rejected = corrupt(example.instruction, example.target).rejected
        except DataError:
            continue
        pairs.append(
            PreferencePair(len(pairs), example.audio, example.instruction, example.target, rejected)
        )
    return pairs


# Results.


def answer_accuracy(model: AudioDiffusionLM, records: list[ToyRecord]) -> dict[str, float]:
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
    return {name: float(np.mean(values)) for name, values in right.items()}


def preference_accuracy(model: AudioDiffusionLM, world: ToyWorld) -> float:
    """Share of held-out pairs whose right answer the model finds more likely, token by token."""
    pairs, collate = world.held_out_pairs, world.pair_collator
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


# The command line.


def parser(description: str, recipe: Recipe, default: str) -> argparse.ArgumentParser:
    """Options that all training examples share."""
    made = argparse.ArgumentParser(
        description=description, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    made.add_argument(
        "--config", type=Path,
        help="JSON file of a full-scale run (weights, data, settings; see examples/configs); "
        "without it the toy curriculum is trained on embedded data",
    )  # fmt: skip
    made.add_argument(
        "--output", type=Path,
        help="folder of the run; start the same command again and an interrupted run goes on "
        f"(default: {Path('runs') / recipe.name}, with --max-steps N "
        f"{Path('runs') / recipe.name}-N-steps)",
    )  # fmt: skip
    made.add_argument(
        "--stage", default=default, choices=[*(n[-1] for n in recipe.names), "all"],
        help=f"which stage to run (default: {default}); each starts from the one before, which "
        "must be complete",
    )  # fmt: skip
    made.add_argument(
        "--max-steps", type=int, help="stop each stage after so many steps (2: smoke)"
    )
    made.add_argument("--seed", type=int, default=0, help="of weights, order, noise and dropout")
    made.add_argument(
        "--report-to",
        help="tensorboard, wandb, ...: what transformers knows (default: the config's, or none)",
    )
    made.add_argument("--skip-evaluation", action="store_true", help="train only, no table")
    made.add_argument(
        "--estimate", action="store_true",
        help="only report parameters and memory per GPU of the published model, and stop",
    )  # fmt: skip
    made.add_argument("--gpus", type=int, default=1, help="for --estimate: number of GPUs")
    made.add_argument("--sharded", action="store_true", help="for --estimate: FSDP2")
    made.add_argument(
        "--sequence-length", type=int, default=1024,
        help="for --estimate: positions of prompt, audio and response",
    )  # fmt: skip
    return made


def main(description: str, recipe: Recipe, encoder: str, default: str = "all") -> None:
    """Run an example.

    Args:
        description: what ``--help`` says first.
        recipe: its stages.
        encoder: of the published model, for ``--estimate``.
        default: stage to run unless told.
    """
    args = parser(description, recipe, default).parse_args()
    if args.output is None:  # a smoke run must not be taken for the real one
        suffix = "" if args.max_steps is None else f"-{args.max_steps}-steps"
        args.output = Path("runs") / f"{recipe.name}{suffix}"
    logging.basicConfig(level=logging.WARNING, format="%(message)s")
    try:
        if args.estimate:
            estimate(recipe, encoder, args)
        else:
            train(recipe, args)
    except DllmAudioError as error:
        sys.exit(f"{type(error).__name__}: {error}")


def estimate(recipe: Recipe, encoder: str, args: argparse.Namespace) -> None:
    """Print parameters and memory of every stage of the published model."""
    foundation = meta_foundation(encoder)
    print(f"{recipe.name}: {encoder}, LLaDA-8B, {args.gpus} GPU(s)")
    for stage in recipe.stages:
        if args.config:
            stage = RunConfig.from_file(args.config).stage(stage)
        memory = estimate_memory(
            foundation, stage, sequence_length=args.sequence_length,
            gpus=args.gpus, sharded=args.sharded,
        )  # fmt: skip
        print(f"{stage.name}: {stage_parameters(foundation, stage)}")
        print(f"    batch {stage.optimization.batch_size}: {memory}")


def train(recipe: Recipe, args: argparse.Namespace) -> None:
    """Train the chosen stages in turn."""
    config = RunConfig.from_file(args.config) if args.config else None
    smoke = args.max_steps is not None and args.max_steps < 20
    world = ToyWorld(args.output, 16 if smoke else 2500, 1 if smoke else 30)
    results: dict[str, dict[str, float]] = {}
    for stage in recipe.stages:
        if args.stage not in ("all", stage.name[-1]):
            continue
        stage = config.stage(stage) if config else toy_stage(stage)
        if args.max_steps is not None:
            stage = stage.changed(max_steps=args.max_steps)
        if smoke and not config:
            stage = stage.changed(batch_size=2, warmup_steps=1)
        folder = args.output / stage.name
        model = run_one(stage, config or world, folder, args)
        if model is None or int(os.environ.get("RANK", 0)):
            continue
        if not args.skip_evaluation:
            results[stage.name] = evaluate(model, world, folder)
        save(model, folder / "model")
    if results:
        text = table(results)
        (args.output / "results.md").write_text(text + "\n")
        print(f"\nHeld-out accuracy (exact answers; preference: share of pairs)\n\n{text}")


def toy_stage(stage: Stage) -> Stage:
    """The stage with the settings of the toy curriculum."""
    stage = stage.changed(**TOY_COMMON, **TOY[stage.name])
    if stage.preference is None:
        return stage
    return replace(stage, preference=replace(stage.preference, sampling=TOY_SAMPLING))


def run_one(
    stage: Stage, source: RunConfig | ToyWorld, folder: Path, args: argparse.Namespace
) -> AudioDiffusionLM | None:
    """Train one stage unless it is complete; the trained model, at full scale None."""
    full_scale = isinstance(source, RunConfig)
    origin = {"encoder": source.encoder, "backbone": source.backbone} if full_scale else {}
    if is_complete(folder):
        check_settings(folder, run_settings(stage, args.seed, origin))
        print(f"{stage.name}: complete, in {folder}")
        return None if full_scale else load_stage(source.load_foundation(), stage, folder)
    # Each stage loads its own: the one before may have left its model sharded over the GPUs.
    gc.collect()
    foundation = source.load_foundation()
    previous = None if stage.starts_from is None else folder.parent / stage.starts_from
    model = assemble(foundation, stage, args.seed, previous)
    print(f"{stage.name}: {count_parameters(model)}", flush=True)
    if full_scale:
        data, options = source.load_data(stage, foundation), dict(source.arguments)
    else:
        data, steps = source.data(stage), stage.optimization.max_steps
        options = {"save_steps": max(steps // 10, 1), "eval_steps": max(steps // 5, 1)}
    if args.report_to is not None:
        options["report_to"] = args.report_to
    run_stage(stage, model, data, folder, seed=args.seed, origin=origin, **options)
    return None if full_scale else model.eval()


def evaluate(model: AudioDiffusionLM, world: ToyWorld, folder: Path) -> dict[str, float]:
    """Accuracy of a trained stage, kept in its folder."""
    path = folder / "results.json"
    if path.exists():
        return json.loads(path.read_text())
    found = answer_accuracy(model, world.held_out)
    found["preference"] = preference_accuracy(model, world)
    path.write_text(json.dumps(found, indent=1))
    return found


def save(model: AudioDiffusionLM, folder: Path) -> None:
    """Write a model that ``from_pretrained`` and the quickstart can use, LoRA merged."""
    merged = copy.deepcopy(model)  # the next stage needs the weights without LoRA
    merge_lora(merged.backbone)
    merged.save_pretrained(folder)
    print(f"saved to {folder}; try: python examples/quickstart.py --model {folder}")
