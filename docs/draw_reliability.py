"""Draws ``results/reliability.png``: is the model as often right as it is sure?

    python docs/draw_reliability.py                     # the picture of the page on decoding
    python docs/draw_reliability.py --questions 130     # a quick look

Asks the model that ships with the package questions about clips of voices and scenes that it was
never trained on, and compares the confidence of its answers with how many of them are right.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import torch
from tqdm import tqdm

from dllm_audio.samplers import preset
from dllm_audio.toy import FAMILIES, ToyDataset, small_model

SEED, BATCH, BINS = 47, 8, 8
INK, LINE = "#22303c", "#2f6f9f"


def ask(questions: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Confidence of every answer that has one, and whether it is right."""
    model, sampler = small_model(), preset("answers", gen_length=16, block_length=16)
    data = ToyDataset("heldout", size=questions, seed=SEED, families=FAMILIES)
    sure, right = [], []
    for start in tqdm(range(0, questions, BATCH), unit="batch"):
        rows = [data[index] for index in range(start, min(start + BATCH, questions))]
        found = model.generate(
            audio=[torch.from_numpy(row.waveform) for row in rows],
            prompts=[row.prompt for row in rows],
            sampler=sampler,
        )
        pairs = zip(found.texts or [], rows, strict=True)
        right += [text == row.target for text, row in pairs]
        sure.append(found.output.confidence)
    confidence = torch.cat(sure)
    known = ~confidence.isnan()
    return confidence[known], torch.tensor(right)[known]


def bins_of(confidence: torch.Tensor, right: torch.Tensor) -> list[dict[str, float]]:
    """Equally many answers a bin, the least sure first."""
    order = confidence.argsort()
    return [
        {
            "answers": len(part),
            "confidence": float(confidence[part].mean()),
            "right": float(right[part].double().mean()),
        }
        for part in order.tensor_split(BINS)
    ]


def draw(confidence: torch.Tensor, right: torch.Tensor, path: Path) -> None:
    """Left: how often right at which confidence. Right: what asking for more confidence gains."""
    bins = bins_of(confidence, right)
    figure, (left, kept) = plt.subplots(1, 2, figsize=(8.0, 3.4), layout="constrained")
    xs, ys = [b["confidence"] for b in bins], [b["right"] for b in bins]
    errors = [(b["right"] * (1 - b["right"]) / b["answers"]) ** 0.5 for b in bins]
    left.plot([0, 1], [0, 1], color=INK, lw=0.8, ls=":")
    left.errorbar(xs, ys, errors, color=LINE, marker="o", ms=4, lw=1.2, capsize=2)
    low = max(0.0, min(*xs, *(y - e for y, e in zip(ys, errors, strict=True))) - 0.05)
    left.set(xlim=(low, 1.01), ylim=(low, 1.01), xlabel="mean confidence", ylabel="share right")
    left.set_title(f"{len(right)} answers in {len(bins)} bins", fontsize=10)
    best = right[confidence.argsort(descending=True)].double()
    count = torch.arange(1, len(best) + 1)
    shares = (count / len(best)).tolist()
    kept.plot(shares[9:], (best.cumsum(0) / count)[9:].tolist(), color=LINE, lw=1.2)
    kept.axhline(float(best.mean()), color=INK, lw=0.8, ls=":")
    kept.set(xlim=(0, 1), xlabel="share of answers kept, the surest first", ylabel="share right")
    kept.set_title("keeping only sure answers", fontsize=10)
    for axes in (left, kept):
        axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(path, dpi=110)


def main() -> None:
    """Ask, draw, and keep the numbers beside the picture."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--questions", type=int, default=520)
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results")
    args = parser.parse_args()
    confidence, right = ask(args.questions)
    bins = bins_of(confidence, right)
    gap = sum(b["answers"] * abs(b["confidence"] - b["right"]) for b in bins) / len(right)
    content = {
        "seed": SEED,
        "questions": args.questions,
        "accuracy": float(right.double().mean()),
        "confidence": float(confidence.mean()),
        "mean_gap": gap,
        "bins": bins,
    }
    (args.out / "reliability.json").write_text(json.dumps(content, indent=1) + "\n")
    draw(confidence, right, args.out / "reliability.png")
    print({name: value for name, value in content.items() if name != "bins"})


if __name__ == "__main__":
    main()
