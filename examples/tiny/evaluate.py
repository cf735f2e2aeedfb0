"""Held-out accuracy of the tiny model: a table as text, Markdown and JSON.

    python examples/tiny/evaluate.py --model DIR [--ablation DIR] [--human-data DIR]
        [--other-speech PATH ...] [--out DIR]

Rows: sequences of digits by synthetic voices that training never heard, single digits by people
(with ``--human-data``), every family of questions, other speech of people (with
``--other-speech``: windows of 4 s), and speech of the toy world that is called unknown.  An answer
counts when it equals the expected text.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from torch import Tensor
from tqdm import tqdm

from dllm_audio import AudioDiffusionLM, LowConfidenceSampler, load_audio
from dllm_audio.toy import (
    ACOUSTIC_FAMILIES,
    FAMILIES,
    MAX_SECONDS,
    UNKNOWN,
    HumanDigits,
    ToyDataset,
    ToyRecord,
    small_model,
)

SEED = 7
STEPS = 16
TARGETS = {
    "human digits": 0.97,
    "spoken sequences": 0.98,
    **dict.fromkeys(("speaker", "rate", "noise", "event", "count"), 0.95),
    **dict.fromkeys(("contour", "mode", "tempo"), 0.97),
    **dict.fromkeys(("position", "contains", "command"), 0.95),
    "describe": 0.9,
    "other speech": 0.9,
}
TRANSCRIPT = "What is said?"
MARGIN = 0.15  # by which both adapters must beat the semantic one alone, on acoustic families
MOST_UNKNOWN = 0.02  # of speech of the toy world
FALSE_ALARMS = "known speech called unknown"


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
        if self.name == FALSE_ALARMS:
            missing = max(self.accuracy - MOST_UNKNOWN, 0.0)
        elif self.name in TARGETS:
            missing = max(TARGETS[self.name] - self.accuracy, 0.0)
        else:
            return ""
        if self.name in ACOUSTIC_FAMILIES and self.semantic_only is not None:
            missing = max(missing, MARGIN - (self.accuracy - self.semantic_only))
        return "met" if missing <= 1e-9 else f"misses by {100 * missing:.1f} points"


def answers(
    model: AudioDiffusionLM, audio: Sequence[Tensor], prompts: Sequence[str], batch_size: int = 64
) -> list[str]:
    """What the model says, decoded in batches."""
    sampler = LowConfidenceSampler(steps=STEPS, gen_length=STEPS)
    texts: list[str] = []
    for start in range(0, len(audio), batch_size):
        rows = slice(start, start + batch_size)
        found = model.generate(
            audio=list(audio[rows]), prompts=list(prompts[rows]), sampler=sampler
        )
        texts += found.texts or []
    return texts


def accuracy(model: AudioDiffusionLM, records: list[ToyRecord]) -> float:
    """Share of exact answers."""
    audio = [torch.from_numpy(record.waveform) for record in records]
    texts = answers(model, audio, [record.prompt for record in records])
    return exact(texts, [record.answer for record in records])


def human_answers(model: AudioDiffusionLM, people: HumanDigits) -> list[str]:
    """What is understood of single digits, from the files as they are."""
    audio = [load_audio(recording.path) for recording in people.recordings]
    return answers(model, audio, ["Which digit is it?"] * len(people))


def windows(paths: Sequence[Path]) -> list[Tensor]:
    """Pieces of at most 4 s of all recordings below some paths; a rest under a second is left."""
    files = [f for path in paths for f in (sorted(path.rglob("*")) if path.is_dir() else [path])]
    pieces = []
    for file in files:
        if file.suffix in (".wav", ".flac", ".ogg", ".mp3"):
            whole = list(load_audio(file).split(int(MAX_SECONDS * 16_000)))
            pieces += [piece for piece in whole if len(piece) >= 16_000] or whole[:1]
    return pieces


def exact(texts: Sequence[str], expected: Sequence[str]) -> float:
    """Share of the texts that are as expected."""
    hits = [text == right for text, right in zip(texts, expected, strict=True)]
    return sum(hits) / len(hits)


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
    other_speech: Sequence[Path] = (),
) -> list[Score]:
    """All rows of the table."""
    scores, table = [], questions(rows)
    for (name, kind), records in tqdm(table.items(), desc="evaluate", unit="family"):
        alone = accuracy(ablation, records) if ablation is not None else None
        scores.append(Score(name, kind, len(records), accuracy(model, records), alone))
    spoken = [records for (_, kind), records in table.items() if kind == "semantic"]
    known = [record for records in spoken for record in records]
    heard = [torch.from_numpy(record.waveform) for record in known]
    said = answers(model, heard, [TRANSCRIPT] * len(heard))
    if people is not None:
        expected = [recording.text for recording in people.recordings]
        found = human_answers(model, people)
        said += found
        right = exact(found, expected)
        alone = exact(human_answers(ablation, people), expected) if ablation is not None else None
        scores.insert(1, Score("human digits", "semantic", len(people), right, alone))
    if other_speech:
        pieces = windows(other_speech)
        found = answers(model, pieces, [TRANSCRIPT] * len(pieces))
        right = exact(found, [UNKNOWN] * len(found))
        scores.append(Score("other speech", "semantic", len(pieces), right))
    alarms = exact(said, [UNKNOWN] * len(said))
    scores.append(Score(FALSE_ALARMS, "semantic", len(said), alarms))
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
    parser.add_argument("--other-speech", type=Path, nargs="*", default=[], help="files, folders")
    parser.add_argument("--rows", type=int, default=200, help="questions per family")
    parser.add_argument("--out", type=Path, help="folder for table.md and table.json")
    args = parser.parse_args()
    model = AudioDiffusionLM.from_pretrained(args.model) if args.model else small_model()
    ablation = AudioDiffusionLM.from_pretrained(args.ablation) if args.ablation else None
    people = HumanDigits(args.human_data, args.speakers) if args.human_data else None
    scores = evaluate(model, ablation, args.rows, people, args.other_speech)
    table = markdown(scores)
    print(table)
    if args.out:
        args.out.mkdir(parents=True, exist_ok=True)
        (args.out / "table.md").write_text(table + "\n")
        content = [{**asdict(score), "target": score.verdict} for score in scores]
        (args.out / "table.json").write_text(json.dumps(content, indent=1) + "\n")


if __name__ == "__main__":
    main()
