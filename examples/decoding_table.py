"""Every commit rule with every cache on the model that ships with the package.

    python examples/decoding_table.py                    # writes docs/results/decoding.*
    python examples/decoding_table.py --questions 39     # a quick look

Measures, on held-out questions of two seeds, accuracy, agreement with one token a step, tokens per
forward pass and time, and draws the front that no way beats in both; then sweeps the threshold and
draws what it costs and what it gains.
"""

from __future__ import annotations

import argparse
import json
import platform
import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from dllm_audio import (
    DAEDAL,
    KLASS,
    WINO,
    AdaptiveSampler,
    AudioDiffusionLM,
    CachedParallelSampler,
    Editing,
    EntropyBound,
    Factor,
    FixedQuota,
    LocalLeap,
    Prophet,
    Remasking,
    RhoEOS,
    Threshold,
)
from dllm_audio.evaluation.tuning import (
    Candidate,
    Measured,
    TuningQuestion,
    draw_tuning,
    measure,
    pareto_front,
    recommend,
)
from dllm_audio.samplers import (
    CommitRule,
    Hierarchical,
    LengthPolicy,
    SamplingOptions,
    TraceCredit,
)
from dllm_audio.toy import FAMILIES, ToyDataset, small_model

SEEDS = (23, 24)
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
    "KLASS": KLASS(16),
    "Prophet": Prophet(16),
    "WINO(0.6, 0.9)": WINO(),
    "Editing(0.9, 0.9)": Editing(0.9, 0.9, 4),
    "Remasking": Remasking(),
}
LENGTHS: dict[str, LengthPolicy] = {
    "DAEDAL": DAEDAL(BLOCK, LENGTH, expansion_factor=4, eos_check_tokens=4),
    "rho-EOS": RhoEOS(BLOCK, LENGTH, expansion_factor=4),
}
CACHES = (None, "prefix", "dual")
TAUS = (0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.98, 0.995)


def sampler(rule: CommitRule, cache: str | None, **options: Any) -> CachedParallelSampler:
    """The sampler of one way to decode."""
    return CachedParallelSampler(LENGTH, BLOCK, rule, cache=cache, **options)


def ways() -> tuple[list[Candidate], list[Candidate]]:
    """The table's ways, the reference first; and those of the threshold sweep."""
    reference = sampler(FixedQuota(LENGTH), None, eos_stop=False)
    table = [Candidate("reference: one token a step, no EOS stop", reference)]
    table += [Candidate(name, sampler(rule, c)) for name, rule in RULES.items() for c in CACHES]
    options = SamplingOptions(eos_stop=True)
    for name, length in LENGTHS.items():
        found = [AdaptiveSampler(length, BLOCK, cache=c, options=options) for c in (None, "prefix")]
        table += [Candidate(name, made) for made in found]
    credited = [sampler(Threshold(0.9), c, credit=TraceCredit()) for c in CACHES]
    table += [Candidate("Threshold(0.9), TraceCredit", made) for made in credited]
    sweep = [Candidate(f"{t:g}", sampler(Threshold(t), c)) for c in CACHES for t in TAUS]
    return table, sweep


def positions_per_pass(way: Measured) -> float:
    """Response positions per forward pass, mean over answers; what EOS fills counts here."""
    return statistics.fmean(LENGTH / max(passes, 1) for passes in way.passes)


def same(way: Measured, reference: Measured) -> float:
    """Share of answers equal to those of the reference."""
    return statistics.fmean(a == b for a, b in zip(way.texts, reference.texts, strict=True))


def by_seed(way: Measured) -> list[float]:
    """Accuracy on the questions of each seed."""
    size = len(way.scores) // len(SEEDS)
    return [statistics.fmean(way.scores[n * size :][:size]) for n in range(len(SEEDS))]


def markdown(measured: Sequence[Measured], facts: dict[str, Any]) -> str:
    """The table with what it was measured on; the front in bold."""
    lines = [
        "| rule | cache | accuracy | of each seed | same as reference | passes | tokens a pass "
        "| ms an answer | speed-up |",
        "|---|---|--:|--:|--:|--:|--:|--:|--:|",
    ]
    reference, front = measured[0], pareto_front(measured)
    for way in measured:
        rule = f"**{way.candidate.rule}**" if way in front else way.candidate.rule
        seeds = " / ".join(f"{100 * accuracy:.1f}" for accuracy in by_seed(way))
        lines.append(
            f"| {rule} | {way.candidate.cache} | {100 * way.accuracy:.1f} % | {seeds} "
            f"| {100 * same(way, reference):.1f} % | {statistics.fmean(way.passes):.2f} "
            f"| {way.tokens_per_pass:.2f} | {way.milliseconds:.2f} "
            f"| {reference.seconds / way.seconds:.1f}x |"
        )
    error = 100 * (reference.accuracy * (1 - reference.accuracy) / facts["questions"]) ** 0.5
    note = (
        f"Bold: no way is both faster and more accurate. "
        f"{facts['questions']} held-out questions of {facts['families']} families, half of them "
        f"of each seed, batches of "
        f"{facts['batch']}, {LENGTH} response positions in blocks of {BLOCK}; standard error of an "
        f"accuracy about {error:.1f} points; what fills the canvas behind an answer is no token. "
        f"Time: {facts['machine']}, {facts['threads']} threads, float32, PyTorch {facts['torch']}, "
        f"best of {facts['repeats']}, the ways in turns."
    )
    return "\n".join([*lines, "", note, ""])


LABEL_GAP = 0.6  # positions per pass between two labels, at least


def draw(sweep: Sequence[Measured], reference: Measured, path: Path) -> None:
    """What the threshold costs and gains: accuracy and agreement against positions per pass."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(10, 4.6), layout="constrained")
    panels = figure.subplots(1, 2, sharex=True)
    measures = {
        "accuracy on held-out questions, %": lambda way: way.accuracy,
        "answers equal to those of one token a step, %": lambda way: same(way, reference),
    }
    for axes, (title, measure_of) in zip(panels, measures.items(), strict=True):
        for number, cache in enumerate(("none", "prefix", "dual")):
            ways = [way for way in sweep if way.candidate.cache == cache]
            xs = [positions_per_pass(way) for way in ways]
            ys = [100 * measure_of(way) for way in ways]
            label = "no cache" if cache == "none" else f"{cache} cache"
            axes.plot(xs, ys, marker="os^"[number], markersize=4, linewidth=1, label=label)
        last = -1.0
        for way, x, y in zip(ways, xs, ys, strict=True):
            if abs(x - last) < LABEL_GAP:
                continue
            last = x
            place = {"textcoords": "offset points", "xytext": (-3, -6), "va": "top", "ha": "right"}
            axes.annotate(way.candidate.rule, (x, y), rotation=60, fontsize=7, **place)
        level = 100 * measure_of(reference)
        axes.axhline(level, color="gray", linestyle="--", linewidth=1)
        axes.plot(
            positions_per_pass(reference), level, "k*", markersize=10,
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
    records = [r for seed in SEEDS for r in ToyDataset("heldout", args.questions // 2, seed)]
    questions = [TuningQuestion(r.prompt, (r.waveform, 16000), r.target) for r in records]
    table, sweep = ways()
    options = {"batch_size": args.batch, "repeats": args.repeats}
    measured = measure(model, questions, [*table, *sweep], **options)
    facts = {
        "questions": len(questions),
        "families": len(FAMILIES),
        "batch": args.batch,
        "repeats": args.repeats,
        "machine": platform.processor() or platform.machine(),
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
    }
    rows, swept = measured[: len(table)], measured[len(table) :]
    args.out.mkdir(parents=True, exist_ok=True)
    numbers = [
        {
            "rule": way.candidate.rule,
            "sampler": way.candidate.sampler.to_dict(),
            "accuracy": way.accuracy,
            "accuracy_by_seed": by_seed(way),
            "same": same(way, rows[0]),
            "passes": statistics.fmean(way.passes),
            "tokens_per_pass": way.tokens_per_pass,
            "milliseconds": way.milliseconds,
        }
        for way in measured
    ]
    content = {"facts": facts, "ways": numbers}
    (args.out / "decoding.json").write_text(json.dumps(content, indent=1) + "\n")
    text = markdown(rows, facts)
    (args.out / "decoding.md").write_text(text)
    draw(swept, rows[0], args.out / "decoding.png")
    draw_tuning(rows, recommend(rows), args.out / "decoding_front.png")
    print(text)


if __name__ == "__main__":
    main()
