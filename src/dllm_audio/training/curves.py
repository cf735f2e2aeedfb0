"""Curves of a run as a picture, drawn anew whenever a checkpoint is saved and at the end."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from transformers import TrainerCallback
from transformers.utils import is_matplotlib_available

from ..errors import MissingDependencyError

# Left out of the picture: what says nothing about learning.
_SKIPPED = ("runtime", "per_second", "flos", "epoch", "step", "train_loss")


def curve_points(history: Sequence[Mapping[str, Any]]) -> dict[str, list[tuple[int, float]]]:
    """``(step, value)`` of every logged quantity."""
    curves: dict[str, list[tuple[int, float]]] = {}
    for entry in history:
        for name, value in entry.items():
            if not any(skipped in name for skipped in _SKIPPED):
                curves.setdefault(name, []).append((entry["step"], float(value)))
    return curves


def plot_curves(history: Sequence[Mapping[str, Any]], path: str | Path) -> None:
    """Draw a panel per quantity; training and evaluation of the same one share it.

    Args:
        history: ``log_history`` of a trainer's state.
        path: PNG file.

    Raises:
        MissingDependencyError: matplotlib is not installed.
    """
    if not is_matplotlib_available():
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


class CurvePlot(TrainerCallback):
    """Keeps ``curves.png`` in the output folder up to date; does nothing without matplotlib."""

    def on_save(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Draw what there is so far."""
        self._draw(args, state)

    def on_train_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Draw the whole run."""
        self._draw(args, state)

    @staticmethod
    def _draw(args: Any, state: Any) -> None:
        if state.is_world_process_zero and is_matplotlib_available():
            plot_curves(state.log_history, Path(args.output_dir) / "curves.png")
