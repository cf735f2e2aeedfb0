"""Held-out accuracy of the tiny model: a table as text, Markdown and JSON.

    python examples/tiny/evaluate.py --model DIR [--ablation DIR] [--human-data DIR] [--out DIR]

Rows: sequences of digits and commands by synthetic voices that training never heard, single digits
by people (with ``--human-data``), and every family of questions.  An answer counts when it equals
the expected text.
"""

from __future__ import annotations

import argparse
import json
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from tqdm import tqdm

from dllm_audio import AudioDiffusionLM, LowConfidenceSampler, load_audio
from dllm_audio.toy import (
    ACOUSTIC_FAMILIES,
    FAMILIES,
    HumanDigits,
    ToyDataset,
    ToyRecord,
    small_model,
)

SEED = 7
STEPS = 16
TARGETS = {"spoken sequences": 0.9, "human digits": 0.85, **dict.fromkeys(ACOUSTIC_FAMILIES, 0.85)}
MARGIN = 0.15  # by which both adapters must beat the semantic one alone, on acoustic families


@dataclass(frozen=True)
class Score:
    """One row of the table."""

    name: str
    kind: str
    rows: int
    accuracy: float
    semantic_only: float | None = None

    @property
    def verdict(self) -> str:
        """How the row stands against its target."""
        target = TARGETS.get(self.name)
        if target is None:
            return ""
        missing = max(target - self.accuracy, 0.0)
        if self.name in ACOUSTIC_FAMILIES and self.semantic_only is not None:
            missing = max(missing, MARGIN - (self.accuracy - self.semantic_only))
        return "met" if missing <= 1e-9 else f"misses by {100 * missing:.1f} points"


def accuracy(model: AudioDiffusionLM, records: list[ToyRecord], batch_size: int = 64) -> float:
    """Share of exact answers, decoded in batches."""
    sampler = LowConfidenceSampler(steps=STEPS, gen_length=STEPS)
    right = 0
    for start in range(0, len(records), batch_size):
        batch = records[start : start + batch_size]
        audio = [torch.from_numpy(record.waveform) for record in batch]
        prompts = [record.prompt for record in batch]
        texts = model.generate(audio=audio, prompts=prompts, sampler=sampler).texts
        right += sum(text == record.answer for text, record in zip(texts or [], batch, strict=True))
    return right / len(records)


def human_accuracy(model: AudioDiffusionLM, people: HumanDigits, batch_size: int = 64) -> float:
    """Share of single digits understood, from the files as they are."""
    sampler = LowConfidenceSampler(steps=STEPS, gen_length=STEPS)
    right = 0
    for start in range(0, len(people), batch_size):
        batch = people.recordings[start : start + batch_size]
        audio = [load_audio(recording.path) for recording in batch]
        prompts = ["Which digit is it?"] * len(batch)
        texts = model.generate(audio=audio, prompts=prompts, sampler=sampler).texts or []
        right += sum(text == each.text for text, each in zip(texts, batch, strict=True))
    return right / len(people)


def questions(rows: int) -> dict[tuple[str, str], list[ToyRecord]]:
    """Held-out questions by row of the table: sequences first, then each family."""
    spoken = ToyDataset(
        "heldout", 3 * rows, SEED, families=("digits",), choice_share=0.0, layouts=("plain",)
    )
    sequences = [record for record in spoken if len(record.scene.words) > 1]
    table = {("spoken sequences", "semantic"): sequences}
    for family in FAMILIES:
        records = list(ToyDataset("heldout", rows, SEED + 1, families=(family,)))
        table[family, records[0].kind] = records
    return table


def evaluate(
    model: AudioDiffusionLM,
    ablation: AudioDiffusionLM | None,
    rows: int,
    people: HumanDigits | None,
) -> list[Score]:
    """All rows of the table."""
    scores = []
    for (name, kind), records in tqdm(questions(rows).items(), desc="evaluate", unit="family"):
        alone = accuracy(ablation, records) if ablation is not None else None
        scores.append(Score(name, kind, len(records), accuracy(model, records), alone))
    if people is not None:
        alone = human_accuracy(ablation, people) if ablation is not None else None
        found = human_accuracy(model, people)
        scores.insert(1, Score("human digits", "semantic", len(people), found, alone))
    return scores


def markdown(scores: list[Score]) -> str:
    """The table as Markdown."""
    lines = [
        "| questions | kind | rows | both adapters | semantic alone | target |",
        "|---|---|--:|--:|--:|---|",
    ]
    for score in scores:
        alone = "" if score.semantic_only is None else f"{100 * score.semantic_only:.1f} %"
        lines.append(
            f"| {score.name} | {score.kind} | {score.rows} | {100 * score.accuracy:.1f} % "
            f"| {alone} | {score.verdict} |"
        )
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", type=Path, help="default: the one that ships")
    parser.add_argument("--ablation", type=Path, help="the model with the semantic adapter alone")
    parser.add_argument("--human-data", type=Path, help="folder of the Free Spoken Digit Dataset")
    parser.add_argument("--speakers", nargs="*", help="people to measure on (default: all)")
    parser.add_argument("--rows", type=int, default=200, help="questions per family")
    parser.add_argument("--out", type=Path, help="folder for table.md and table.json")
    args = parser.parse_args()
    model = AudioDiffusionLM.from_pretrained(args.model) if args.model else small_model()
    ablation = AudioDiffusionLM.from_pretrained(args.ablation) if args.ablation else None
    people = HumanDigits(args.human_data, args.speakers) if args.human_data else None
    scores = evaluate(model, ablation, args.rows, people)
    table = markdown(scores)
    print(table)
    if args.out:
        args.out.mkdir(parents=True, exist_ok=True)
        (args.out / "table.md").write_text(table + "\n")
        content = [{**asdict(score), "target": score.verdict} for score in scores]
        (args.out / "table.json").write_text(json.dumps(content, indent=1) + "\n")


if __name__ == "__main__":
    main()
