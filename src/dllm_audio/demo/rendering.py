"""HTML of what stands in a response.  Every text is escaped: none of it is the page's own."""

from __future__ import annotations

import math
from collections.abc import Sequence
from html import escape
from importlib.resources import files

from ..samplers.coloring import COLORS, confidence_color, ink_over, printable
from .watching import Cell, View

_SHOWN = {" ": "␣", "\n": "⏎", "\t": "⇥"}  # tokens that nobody could see


def style() -> str:
    """The style sheet of all that this module makes."""
    return files(__package__).joinpath("page.css").read_text(encoding="utf-8")


def panels(views: Sequence[tuple[str, View | None]], note: str = "") -> str:
    """Responses side by side; below one another where the screen is narrow.

    Args:
        views: the name of each strategy, and what stands there; None before its first pass.
        note: a remark above them.
    """
    remark = f'<p class="dd-note">{_escaped(note)}</p>' if note else ""
    inner = "".join(panel(name, view) for name, view in views)
    return f'<div class="dd">{remark}<div class="dd-panels">{inner}</div>{legend()}</div>'


def panel(name: str, view: View | None) -> str:
    """One response: its text, its positions colored by confidence, and the figures."""
    title = f'<h3 class="dd-name">{_escaped(name)}</h3>'
    if view is None:
        return f'<section class="dd-panel">{title}<p class="dd-answer">…</p></section>'
    cells = "".join(_cell(number, cell) for number, cell in enumerate(view.cells, 1))
    if view.unused:
        unused = "1 position" if view.unused == 1 else f"{view.unused} positions"
        cells += f'<li class="dd-cell dd-unused">end, {unused} unused</li>'
    state = "dd-final" if view.final else "dd-open"
    spoken = ' role="status"' if view.final else ""
    text = _escaped(view.text) or ("(no words)" if view.final else "…")
    return (
        f'<section class="dd-panel {state}">{title}'
        f'<p class="dd-answer"{spoken}>{text}</p>'
        f'<ol class="dd-cells" aria-label="positions">{cells}</ol>{_figures(view)}</section>'
    )


def failure(message: str) -> str:
    """What went wrong, for the visitor."""
    return f'<div class="dd"><p class="dd-failure" role="alert">{_escaped(message)}</p></div>'


def legend() -> str:
    """What the colors say."""
    scale = ", ".join(COLORS)
    return (
        '<p class="dd-legend"><span>confidence 0</span>'
        f'<span class="dd-scale" style="background:linear-gradient(90deg, {scale})"></span>'
        '<span>1</span><span class="dd-cell dd-masked dd-sample"></span><span>masked</span></p>'
    )


def _cell(number: int, cell: Cell) -> str:
    if cell.text is None:
        state = "dd-masked dd-reopened" if cell.reopened else "dd-masked"
        what = "taken back" if cell.reopened else "masked"
        return f'<li class="dd-cell {state}" title="position {number}: {what}"></li>'
    text = "end" if cell.ends else _visible(cell.text)
    fresh = " dd-fresh" if cell.fresh else ""
    if math.isnan(cell.confidence):
        return (
            f'<li class="dd-cell dd-filled{fresh}" title="position {number}: filled in">{text}</li>'
        )
    sure = cell.confidence
    color = f"background:{confidence_color(sure)};color:{ink_over(sure)}"
    ends = " dd-end" if cell.ends else ""
    return (
        f'<li class="dd-cell{ends}{fresh}" style="{color}" '
        f'title="position {number}: {100 * sure:.0f} % sure">{text}</li>'
    )


def _figures(view: View) -> str:
    figures = {
        "passes": f"{view.passes}",
        "tokens": f"{view.tokens}",
        "tokens a pass": f"{view.tokens_per_pass:.2f}",
        "time": _duration(view.seconds),
    }
    if view.final and not math.isnan(view.confidence):
        figures["confidence"] = f"{view.confidence:.2f}"
    pairs = "".join(
        f"<div><dt>{name}</dt><dd>{value}</dd></div>" for name, value in figures.items()
    )
    return f'<dl class="dd-figures">{pairs}</dl>'


def _duration(seconds: float) -> str:
    return f"{1000 * seconds:.0f} ms" if seconds < 1 else f"{seconds:.1f} s"


def _visible(text: str) -> str:
    shown = "".join(_SHOWN.get(c, c) for c in text) if not text.strip() else text.strip()
    return _escaped(shown) or "∅"


def _escaped(text: str) -> str:
    # Gradio fills ${...} in templates; what is no such thing cannot be taken for one.
    return escape(printable(text), quote=True).replace("$", "&#36;")
