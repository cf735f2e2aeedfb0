"""How the time of an answer grows with its length, with the prompt, and with the batch.

    python -m benchmarks.growth                          # the 60 million parameter shape, on a CPU
    python -m benchmarks.growth --model-size tiny        # the same in seconds, to see that it runs

One length is varied at a time, under the simulated confidences of transcription; the strategies
take turns at each point.  Through each curve goes the law ``seconds = fixed + slope * n`` that is
nearest in relative terms, with what it misses at worst.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from .decoding import measure_case, measure_peer
from .plots import LAYOUT_COLORS, save
from .report import RESULTS, Record, Report, terminal, write
from .run import Run, base_mode
from .shapes import SHAPES
from .strategies import Axes, Case

LAYOUTS = ("dual", "kept_prompt", "exact")
PEER = "autoregressive"
NAMES = {"answer": "new tokens", "prompt": "prompt positions", "batch": "batch"}


@dataclass(frozen=True)
class Law:
    """``seconds = fixed + slope * n``.

    Attributes:
        fixed: seconds.
        slope: seconds for one more.
        miss: largest relative distance of a measured point from it.
    """

    fixed: float
    slope: float
    miss: float


def fit(points: Sequence[tuple[float, float]]) -> Law:
    """The straight line through points (n, seconds), nearest in relative terms.

    Raises:
        ValueError: fewer than two different n.
    """
    n, seconds = np.array(points, dtype=float).T
    if len(set(n)) < 2:
        raise ValueError(f"points: expected two different n at least, got {sorted(set(n))}")
    design = np.stack([1 / seconds, n / seconds], axis=1)
    (fixed, slope), *_ = np.linalg.lstsq(design, np.ones_like(n), rcond=None)
    miss = np.abs(fixed + slope * n - seconds) / seconds
    return Law(float(fixed), float(slope), float(miss.max()))


def points_of(size: str) -> dict[str, tuple[int, ...]]:
    """What is varied, and its values."""
    if size == "tiny":
        return {"answer": (4, 8), "prompt": (9, 24), "batch": (1, 2)}
    return {
        "answer": (16, 32, 64, 128, 256),
        "prompt": (128, 256, 512, 1024, 2048),
        "batch": (1, 2, 4, 8),
    }


def measure(run: Run, varied: dict[str, tuple[int, ...]]) -> Report:
    """Every layout at every point, and the autoregressive peer at every batch."""
    report, shape = run.report("decoding"), run.shape
    report.theme = f"growth-{shape.name}"
    done: dict[Case, Record] = {}
    for axis, values in varied.items():
        for value in values:
            for layout in LAYOUTS:
                case = Case(f"{layout}/threshold", 1, shape.prompt, shape.answer, shape.block,
                            "asr", run.axes.mode)  # fmt: skip
                changed: dict[str, Any] = {axis: value}
                case = replace(case, **changed)
                case = replace(case, block=min(case.block, case.answer))
                if case in done:  # the point that all axes share
                    report.records.append(replace(done[case], group=NAMES[axis]))
                    continue
                done[case] = measure_case(run, case)
                done[case].group = NAMES[axis]
            if axis == "batch":
                mode = "packed" if run.axes.mode == "packed" else "static"
                measure_peer(run, value, mode).group = NAMES[axis]
    return report


def curves(report: Report, axis: str) -> dict[str, list[tuple[int, float]]]:
    """Points (n, seconds) of each layout along an axis."""
    found: dict[str, list[tuple[int, float]]] = {}
    for r in report.records:
        if r.group == NAMES[axis]:
            layout = str(r.settings["strategy"]).partition("/")[0]
            found.setdefault(layout, []).append((r.settings[axis], r.median))
    return found


def laws(report: Report) -> str:
    """The laws of all curves as a table."""
    lines = [
        "| grows with | strategy | fixed | for one more | misses by at most |",
        "|---|---|--:|--:|--:|",
    ]
    for axis, name in NAMES.items():
        for layout, points in curves(report, axis).items():
            law = fit(points)
            lines.append(
                f"| {name} | {_title(layout)} | {1e3 * law.fixed:.0f} ms "
                f"| {1e3 * law.slope:.3g} ms | {100 * law.miss:.0f} % |"
            )
    return "\n".join(lines)


def _title(layout: str) -> str:
    titles = {"dual": "dual cache", "kept_prompt": "dual, prompt once", "exact": "exact cache"}
    return titles.get(layout, layout)


def draw(report: Report, path: Path) -> Path:
    """The curves and their laws, one panel for each axis."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    figure, panels = plt.subplots(1, len(NAMES), figsize=(12, 3.8), layout="constrained")
    for panel, (axis, name) in zip(panels, NAMES.items(), strict=True):
        for layout, points in curves(report, axis).items():
            law, color = fit(points), LAYOUT_COLORS[layout]
            n = np.geomspace(points[0][0], points[-1][0], 50)
            panel.plot(*zip(*points, strict=True), "o", color=color, label=_title(layout))
            panel.plot(n, law.fixed + law.slope * n, color=color, lw=1)
        ticks = [n for n, _ in points]
        panel.set(xscale="log", yscale="log", xlabel=name)
        panel.set_xticks(ticks, [str(n) for n in ticks])
        panel.minorticks_off()
        low, high = panel.get_ylim()
        seconds = [s for s in (0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 20) if low <= s <= high]
        panel.set_yticks(seconds, [f"{s:g}" for s in seconds])
        panel.spines[["top", "right"]].set_visible(False)
    panels[0].set_ylabel("seconds for all answers of the batch")
    panels[-1].legend(frameon=False, fontsize=8)
    return save(
        figure, report, "Time against length (simulated ASR confidences); lines: laws", path
    )


def main(argv: Sequence[str] | None = None) -> int:
    """Measure, fit, draw; returns the exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.growth",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--model-size", choices=sorted(SHAPES), default="60m")
    parser.add_argument("--repeats", type=int, default=3, help="timed repetitions (default: 3)")
    parser.add_argument("--output", type=Path, default=RESULTS, help="folder of the results")
    given = parser.parse_args(argv)
    device, dtype = torch.device("cpu"), torch.float32
    run = Run(
        shape=SHAPES[given.model_size],
        device=device,
        dtype=dtype,
        repeats=max(given.repeats, 1),
        axes=Axes(mode=base_mode(device, dtype)),
        chosen=(),
        say=lambda line: print(line, flush=True),
        full=given.model_size != "tiny",
    )
    report = measure(run, points_of(given.model_size))
    data, page = write(report, given.output)
    page.write_text(f"{page.read_text(encoding='utf-8')}\n## Laws\n\n{laws(report)}\n", "utf-8")
    picture = draw(report, given.output / f"{report.stem}.png")
    lines = [*terminal(report), "", laws(report)]
    print(*lines, *(f"wrote {path}" for path in (data, page, picture)), sep="\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
