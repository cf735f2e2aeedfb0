"""Curves of a run as a picture, drawn anew whenever a checkpoint is saved and at the end."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path

from ..errors import MissingDependencyError

# Left out of the picture: what says nothing about learning.
_SKIPPED = ("epoch", "step")


def curve_points(history: Sequence[Mapping[str, float]]) -> dict[str, list[tuple[int, float]]]:
    """``(step, value)`` of every logged quantity."""
    curves: dict[str, list[tuple[int, float]]] = {}
    for entry in history:
        for name, value in entry.items():
            if name not in _SKIPPED:
                curves.setdefault(name, []).append((int(entry["step"]), float(value)))
    return curves


def plot_curves(history: Sequence[Mapping[str, float]], path: str | Path) -> None:
    """Draw a panel per quantity; training and evaluation of the same one share it.

    Args:
        history: of a :class:`Loop`.
        path: PNG file.

    Raises:
        MissingDependencyError: matplotlib is not installed.
    """
    if find_spec("matplotlib") is None:
        raise MissingDependencyError("matplotlib", "drawing curves", "plot")
    from matplotlib.figure import Figure

    curves = curve_points(history)
    panels = list(dict.fromkeys(name.removeprefix("eval_") for name in curves))
    if not panels:
        return
    figure = Figure(figsize=(7, 2.6 * len(panels)), layout="constrained")
    for axis, panel in zip(figure.subplots(len(panels), squeeze=False)[:, 0], panels, strict=True):
        for name, style in ((panel, "-"), (f"eval_{panel}", "o-")):
            if name in curves:
                label = "evaluation" if name.startswith("eval_") else "training"
                axis.plot(*zip(*curves[name], strict=True), style, label=label, markersize=4)
        axis.set(xlabel="step", ylabel=panel.replace("_", " "))
        axis.grid(alpha=0.3)
        axis.legend(loc="best", frameon=False)
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=110)


def draw_curves(history: Sequence[Mapping[str, float]], folder: Path) -> None:
    """Keep ``curves.png`` in a run's folder up to date; does nothing without matplotlib."""
    if find_spec("matplotlib") is not None:
        plot_curves(history, folder / "curves.png")
