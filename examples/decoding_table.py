"""Every commit rule with every cache on the model that ships with the package.

    python examples/decoding_table.py                    # writes docs/results/decoding.*
    python examples/decoding_table.py --questions 39     # a quick look

Measures, on held-out questions, accuracy, agreement with one token a step, positions per forward
pass and time; then sweeps the threshold and draws what it costs and what it gains.
"""

from __future__ import annotations

import argparse
import json
import platform
import statistics
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from tqdm import tqdm

from dllm_audio import (
    AudioDiffusionLM,
    CachedParallelSampler,
    EntropyBound,
    Factor,
    FixedQuota,
    LocalLeap,
    Threshold,
)
from dllm_audio.samplers import CommitRule, Hierarchical, TraceCredit
from dllm_audio.toy import FAMILIES, ToyDataset, small_model

SEED = 23
LENGTH, BLOCK = 16, 8
RULES: dict[str, CommitRule] = {
    "one token a step": FixedQuota(16),
    "two tokens a step": FixedQuota(8),
    "Threshold(0.9)": Threshold(0.9),
    "Threshold(0.9, decay=0.1, floor=0.5)": Threshold(0.9, 0.1, 0.5),
    "Factor(1.0)": Factor(1.0),
    "EntropyBound(0.1)": EntropyBound(0.1),
    "LocalLeap(0.9, 0.75, 4)": LocalLeap(),
    "Hierarchical(0.92, 0.62)": Hierarchical(),
}
CACHES = (None, "prefix", "dual")
TAUS = (0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.98, 0.995)


@dataclass
class Case:
    """One way to decode and what came of it."""

    name: str
    cache: str | None
    sampler: CachedParallelSampler
    texts: list[str] = field(default_factory=list)
    passes: list[int] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)  # the fastest repetition of each batch

    @property
    def label(self) -> str:
        """Rule and cache."""
        return f"{self.name}, {self.cache or 'no cache'}"


@dataclass(frozen=True)
class Row:
    """A line of the table.

    Attributes:
        rule: commit rule.
        cache: ``prefix``, ``dual`` or ``none``.
        accuracy: share of answers equal to the expected text.
        same: share of answers equal to those of the reference.
        passes: forward passes per answer, mean.
        positions_per_forward: response positions per forward pass, mean over answers.
        milliseconds: decoding time per answer, audio and prompt already encoded.
        speedup: the reference's time over this one's.
    """

    rule: str
    cache: str
    accuracy: float
    same: float
    passes: float
    positions_per_forward: float
    milliseconds: float
    speedup: float


def sampler(rule: CommitRule, cache: str | None, **options: Any) -> CachedParallelSampler:
    """The sampler of one case."""
    return CachedParallelSampler(LENGTH, BLOCK, rule, cache=cache, **options)


def decode(model: AudioDiffusionLM, batches: list[Any], cases: list[Case], repeats: int) -> None:
    """Decode every batch in every way, the ways taking turns so that all see the same machine."""
    for batch in tqdm(batches, desc="decode", unit="batch"):
        predictor = model.prepare(
            prompts=[question.prompt for question in batch],
            audio=[torch.from_numpy(question.waveform) for question in batch],
        )
        fastest = [float("inf")] * len(cases)
        for repeat in range(repeats):
            for number, case in enumerate(cases):
                begin = time.perf_counter()
                output = case.sampler(predictor)
                fastest[number] = min(fastest[number], time.perf_counter() - begin)
                if repeat == 0:
                    case.texts += model.decode(output)
                    case.passes += output.row_nfe.tolist()
        for case, seconds in zip(cases, fastest, strict=True):
            case.seconds.append(seconds)


def rows_of(cases: list[Case], targets: Sequence[str]) -> list[Row]:
    """The table; the first case is the reference."""
    reference, rows = cases[0], []
    for case in cases:
        pairs = zip(case.texts, targets, reference.texts, strict=True)
        right, same = zip(*((text == t, text == r) for text, t, r in pairs), strict=True)
        rows.append(
            Row(
                rule=case.name,
                cache=case.cache or "none",
                accuracy=statistics.fmean(right),
                same=statistics.fmean(same),
                passes=statistics.fmean(case.passes),
                positions_per_forward=statistics.fmean(LENGTH / max(p, 1) for p in case.passes),
                milliseconds=1e3 * sum(case.seconds) / len(targets),
                speedup=sum(reference.seconds) / sum(case.seconds),
            )
        )
    return rows


def markdown(rows: list[Row], facts: dict[str, Any]) -> str:
    """The table with what it was measured on."""
    lines = [
        "| rule | cache | accuracy | same as reference | passes | positions per pass "
        "| ms per answer | speed-up |",
        "|---|---|--:|--:|--:|--:|--:|--:|",
    ]
    for row in rows:
        lines.append(
            f"| {row.rule} | {row.cache} | {100 * row.accuracy:.1f} % | {100 * row.same:.1f} % "
            f"| {row.passes:.2f} | {row.positions_per_forward:.2f} | {row.milliseconds:.2f} "
            f"| {row.speedup:.1f}x |"
        )
    error = 100 * (rows[0].accuracy * (1 - rows[0].accuracy) / facts["questions"]) ** 0.5
    note = (
        f"{facts['questions']} held-out questions of {facts['families']} families, batches of "
        f"{facts['batch']}, {LENGTH} response positions in blocks of {BLOCK}; standard error of an "
        f"accuracy about {error:.1f} points. Time: {facts['machine']}, {facts['threads']} threads, "
        f"float32, PyTorch {facts['torch']}, best of {facts['repeats']}, the strategies in turns."
    )
    return "\n".join([*lines, "", note, ""])


LABEL_GAP = 0.6  # positions per pass between two labels, at least


def draw(sweep: list[Row], reference: Row, path: Path) -> None:
    """What the threshold costs and gains: accuracy and agreement against positions per pass."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(10, 4.6), layout="constrained")
    FigureCanvasAgg(figure)
    panels = figure.subplots(1, 2, sharex=True)
    measures = {
        "accuracy": "accuracy on held-out questions, %",
        "same": "answers equal to those of one token a step, %",
    }
    for axes, (measure, title) in zip(panels, measures.items(), strict=True):
        for number, cache in enumerate(("none", "prefix", "dual")):
            rows = [row for row in sweep if row.cache == cache]
            xs = [row.positions_per_forward for row in rows]
            ys = [100 * getattr(row, measure) for row in rows]
            label = "no cache" if cache == "none" else f"{cache} cache"
            axes.plot(xs, ys, marker="os^"[number], markersize=4, linewidth=1, label=label)
        last = -1.0
        for tau, x, y in zip(TAUS, xs, ys, strict=True):
            if abs(x - last) < LABEL_GAP:
                continue
            last = x
            place = {"textcoords": "offset points", "xytext": (-3, -6), "va": "top", "ha": "right"}
            axes.annotate(f"{tau:g}", (x, y), rotation=60, fontsize=7, **place)
        level = 100 * getattr(reference, measure)
        axes.axhline(level, color="gray", linestyle="--", linewidth=1)
        axes.plot(
            reference.positions_per_forward, level, "k*", markersize=10,
            label="one token a step, no EOS stop",
        )  # fmt: skip
        axes.set_ylim(min(60.0, *axes.get_ylim()), 102.0)
        axes.set_xlabel("response positions per forward pass")
        axes.set_ylabel(title)
        axes.grid(alpha=0.3)
    panels[0].legend(fontsize=8, loc="lower left")
    figure.suptitle("Threshold sweep; the numbers are thresholds", fontsize=10)
    figure.savefig(path, dpi=110)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", help="a saved model (default: the one that ships)")
    parser.add_argument("--questions", type=int, default=520)
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--repeats", type=int, default=2)
    parser.add_argument("--out", type=Path, default=Path("docs/results"))
    args = parser.parse_args()
    model = AudioDiffusionLM.from_pretrained(args.model) if args.model else small_model()
    questions = list(ToyDataset("heldout", args.questions, SEED))
    batches = [questions[i : i + args.batch] for i in range(0, len(questions), args.batch)]
    targets = [question.target for question in questions]
    reference = Case("reference: one token a step, no EOS stop", None, sampler(
        FixedQuota(LENGTH), None, eos_stop=False
    ))  # fmt: skip
    table = [
        reference,
        *(Case(n, c, sampler(rule, c)) for n, rule in RULES.items() for c in CACHES),
        *(
            Case("Threshold(0.9), TraceCredit", c, sampler(Threshold(0.9), c, credit=TraceCredit()))
            for c in CACHES
        ),
    ]
    sweep = [Case(f"Threshold({t:g})", c, sampler(Threshold(t), c)) for c in CACHES for t in TAUS]
    decode(model, batches, [*table, *sweep], args.repeats)
    facts = {
        "questions": len(questions),
        "families": len(FAMILIES),
        "batch": args.batch,
        "repeats": args.repeats,
        "machine": platform.processor() or platform.machine(),
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
    }
    rows, swept = rows_of(table, targets), rows_of([reference, *sweep], targets)[1:]
    args.out.mkdir(parents=True, exist_ok=True)
    content = {
        "facts": facts,
        "table": [asdict(row) for row in rows],
        "sweep": [asdict(row) for row in swept],
    }
    (args.out / "decoding.json").write_text(json.dumps(content, indent=1) + "\n")
    text = markdown(rows, facts)
    (args.out / "decoding.md").write_text(text)
    draw(swept, rows[0], args.out / "decoding.png")
    print(text)


if __name__ == "__main__":
    main()
