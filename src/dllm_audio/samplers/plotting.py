"""A picture of the order in which a response was denoised."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from ..errors import InvalidArgumentError, MissingDependencyError, ShapeError
from ..outputs import Trace

_MASKED, _KNOWN = "#eeeeee", "#ffffff"


def plot_trace(
    trace: Trace,
    labels: Sequence[Sequence[str]],
    path: str | Path,
    titles: Sequence[str] | None = None,
) -> None:
    """Draw which position was committed at which step, and how sure the model was.

    One panel a response: columns are positions, rows are forward passes from top to bottom.  A
    gray cell is still masked; the colored cell is where the position was committed, and its color
    is the confidence. Where tokens were taken back (``trace.drafts``), each cell shows whether a
    token stood there, every commit and replacement is colored, and a reopened cell has a cross.

    Args:
        trace: ``step`` and ``confidence`` ``[B, R]`` of a sampler's output.
        labels: for every response the text of each of its R positions.
        path: where the picture goes; the suffix names the format.
        titles: for every response a line above its panel.

    Raises:
        ShapeError: labels or titles that do not fit the trace.
        MissingDependencyError: matplotlib is not installed.

    Example:
        >>> trace = Trace(torch.tensor([[0, 1]]), torch.tensor([[0.9, 0.6]]))
        >>> plot_trace(trace, [["three", "one"]], "order.png")  # doctest: +SKIP
    """
    if trace.step.dim() != 2 or not trace.step.numel():
        raise ShapeError("trace.step", "[B, R] with B, R >= 1", list(trace.step.shape))
    batch, length = trace.step.shape
    if len(labels) != batch or any(len(row) != length for row in labels):
        raise ShapeError("labels", f"{batch} rows of {length} texts", [len(row) for row in labels])
    if titles is not None and len(titles) != batch:
        raise InvalidArgumentError("titles", f"{batch} texts", len(titles))
    try:
        import matplotlib
    except ImportError as error:
        raise MissingDependencyError("matplotlib", "pictures", "plot") from error
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    steps = [max(int(row.max()) + 1, 1) for row in trace.step]
    if trace.drafts is not None:
        steps = [len(trace.drafts)] * batch
    size = (1.5 + 0.75 * length, 0.3 + sum(0.3 * n + 0.9 for n in steps))
    figure = Figure(figsize=size, layout="constrained")
    FigureCanvasAgg(figure)
    panels = figure.subplots(batch, 1, squeeze=False, gridspec_kw={"height_ratios": steps})[:, 0]
    colors = matplotlib.colormaps["viridis"]
    for row, panel in enumerate(panels):
        committed = trace.step[row], trace.confidence[row], labels[row]
        if trace.drafts is None or trace.draft_confidence is None:
            _draw(panel, *committed, colors)
        else:
            drafts = trace.drafts[:, row], trace.draft_confidence[:, row]
            _draw_drafts(panel, *drafts, trace.step[row], colors)
            _label(panel, *committed, steps[row])
        if titles is not None:
            panel.set_title(titles[row], fontsize=10, loc="left")
    scale = matplotlib.cm.ScalarMappable(matplotlib.colors.Normalize(0, 1), colors)
    figure.colorbar(scale, ax=list(panels), label="confidence", fraction=0.03)
    figure.savefig(path, dpi=110)


def _draw(
    panel: Any, step: torch.Tensor, confidence: torch.Tensor, labels: Sequence[str], colors: Any
) -> None:
    steps = max(int(step.max()) + 1, 1)
    for column, (when, sure) in enumerate(zip(step.tolist(), confidence.tolist(), strict=True)):
        for row in range(steps):
            color: Any = _MASKED if row < when else _KNOWN
            _cell(panel, column, row, colors(sure) if row == when else color)
    _label(panel, step, confidence, labels, steps)


def _draw_drafts(
    panel: Any, tokens: torch.Tensor, sure: torch.Tensor, last: torch.Tensor, colors: Any
) -> None:
    """Tokens ``[S, R]`` after every pass, how surely they stood, and the ``last [R]`` commits."""
    stands = ~sure.isnan()
    for step in range(len(tokens)):
        for column in range(tokens.shape[1]):
            now, before = bool(stands[step, column]), bool(step and stands[step - 1, column])
            changed = now and not (before and tokens[step, column] == tokens[step - 1, column])
            color: Any = colors(float(sure[step, column])) if changed else _KNOWN
            if not now and last[column] >= 0:
                color = _MASKED
            _cell(panel, column, step, color)
            if before and not now:
                panel.plot(column + 0.5, step + 0.5, "x", color="#c0392b", markersize=7)


def _cell(panel: Any, column: int, row: int, color: Any) -> None:
    from matplotlib.patches import Rectangle

    panel.add_patch(Rectangle((column, row), 1, 1, facecolor=color, edgecolor="white"))


def _label(
    panel: Any, step: torch.Tensor, confidence: torch.Tensor, labels: Sequence[str], steps: int
) -> None:
    """The text of every position where it was committed last, and the axes."""
    length = len(labels)
    for column, (when, sure) in enumerate(zip(step.tolist(), confidence.tolist(), strict=True)):
        text = "white" if when >= 0 and sure < 0.6 else "black"
        # A dollar sign would start a formula.
        label, style = labels[column].replace("$", r"\$"), {"ha": "center", "va": "center"}
        panel.text(column + 0.5, max(when, 0) + 0.5, label, fontsize=8, color=text, **style)
    panel.set_xlim(0, length)
    panel.set_ylim(steps, 0)
    panel.set_xticks([i + 0.5 for i in range(length)], [str(i) for i in range(length)])
    ticks = range(0, steps, max(1, steps // 8))
    panel.set_yticks([i + 0.5 for i in ticks], [str(i) for i in ticks])
    panel.set_xlabel("position")
    panel.set_ylabel("step")
    panel.tick_params(length=0, labelsize=8)
