"""A picture of the scores by group."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

_MAX_BARS = 40


def plot_scores(report: Mapping[str, Any], path: Path) -> str | None:
    """Draw the scores of every group, both modes side by side, and save them as PNG.

    Args:
        report: as made by ``finish_run``.
        path: the picture's file.

    Returns:
        The file's name; None where matplotlib is not installed or nothing was scored.
    """
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ImportError:
        return None
    modes = report["scores"]["modes"]
    if not modes:
        return None
    measure = "wer" if "wer" in modes else "accuracy"
    # The coarsest groupings first; what does not fit is in the tables.
    labels: list[tuple[str, str]] = []
    for grouping, groups in next(iter(modes.values()))["groups"].items():
        if len(labels) + len(groups) <= _MAX_BARS:
            labels += [(grouping, name) for name in groups]
    figure = Figure(figsize=(8, 1.6 + 0.32 * len(labels)), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    height = 0.8 / len(modes)
    for offset, (mode, result) in enumerate(modes.items()):
        values = [_value(result, group, name, measure) for group, name in labels]
        places = [i + (offset - (len(modes) - 1) / 2) * height for i in range(len(labels))]
        bars = axes.barh(places, values, height, label=mode)
        axes.bar_label(bars, [f"{100 * v:.1f}" for v in values], padding=2, fontsize=7)
    axes.set_yticks(range(len(labels)), [_label(*label) for label in labels], fontsize=8)
    axes.invert_yaxis()
    axes.set_xlim(0, max(1.0, axes.get_xlim()[1]) * 1.06)
    axes.set_xlabel("word error rate" if measure == "wer" else "accuracy (all rows)")
    failed, settings = report["failures"], report["settings"]["task"]
    axes.set_title(
        f"{settings['benchmark']}: {failed['rows']} rows, {failed['count']} without prediction",
        fontsize=10,
    )
    if len(modes) > 1:
        axes.legend(loc="lower right", fontsize=8)
    axes.grid(axis="x", alpha=0.3)
    axes.set_axisbelow(True)
    figure.savefig(path, dpi=120)
    return path.name


def _value(result: Mapping[str, Any], grouping: str, name: str, measure: str) -> float:
    return result["groups"].get(grouping, {}).get(name, {}).get(measure) or 0.0


def _label(grouping: str, name: str) -> str:
    return "overall" if grouping == "overall" else f"{grouping}: {name}"
