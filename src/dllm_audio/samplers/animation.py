"""A picture that moves: an answer as it appears, pass by pass, in one SVG file.

Browsers, GitHub and documentation show the file wherever an image may stand; where nothing moves,
it shows the finished answer.  Nothing but the standard library is needed.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from pathlib import Path
from xml.sax.saxutils import escape, quoteattr

import torch
from torch import Tensor

from ..errors import InvalidArgumentError, ShapeError
from ..files import write_text
from ..outputs import Trace
from .coloring import DARK, confidence_color, ink_over, printable

_WIDTH, _MARGIN, _BARS = 760, 20, 150
_CELL_HEIGHT, _GAP, _LETTER = 34, 6, 8.6  # pixels; a letter of the text is about so wide
_HOLD_SECONDS = 2.5  # the finished answer stays
_FAINT, _MASKED = "#8a949e", "#e4e7ea"


def animate_trace(
    trace: Trace,
    labels: Sequence[str],
    path: str | Path,
    *,
    question: str | None = None,
    waveform: Tensor | None = None,
    decode: Callable[[int], str] | None = None,
    seconds_per_pass: float = 0.8,
) -> None:
    """Write an animated SVG: the sound, the question, and the answer being filled in.

    Every position is a box, gray while it is masked; when it is committed its text appears and its
    color is the confidence.  Where tokens were taken back (``trace.drafts``), what stood there is
    shown as long as it stood.

    Args:
        trace: ``step`` and ``confidence`` ``[1, R]`` of one response.
        labels: the text of each of its R positions; boxes of empty texts are left out.
        path: where the picture goes, ending in ``.svg``.
        question: a line above the answer.
        waveform: floating point ``[T]``, drawn above all.
        decode: from a token to its text, for tokens that were taken back; None shows them as dots.
        seconds_per_pass: how long each pass is shown, > 0.

    Raises:
        ShapeError: a trace of more than one response, or labels that do not fit it.
        InvalidArgumentError: another ending, or a duration that is not positive.
        CheckpointError: the file cannot be written.

    Example:
        >>> trace = Trace(torch.tensor([[0, 1]]), torch.tensor([[0.9, 0.6]]))
        >>> animate_trace(trace, ["three", "one"], "answer.svg")  # doctest: +SKIP
    """
    if trace.step.dim() != 2 or trace.step.shape[0] != 1 or not trace.step.numel():
        raise ShapeError("trace.step", "[1, R] with R >= 1", list(trace.step.shape))
    if len(labels) != trace.step.shape[1]:
        raise ShapeError("labels", f"{trace.step.shape[1]} texts", len(labels))
    if Path(path).suffix != ".svg":
        raise InvalidArgumentError("path", "a file that ends in .svg", str(path))
    if not (isinstance(seconds_per_pass, int | float) and 0 < seconds_per_pass < math.inf):
        raise InvalidArgumentError("seconds_per_pass", "a number > 0", seconds_per_pass)
    passes = max(int(trace.step.max()) + 1, 1)
    if trace.drafts is not None:
        passes = len(trace.drafts)
    clock = _Clock(passes, seconds_per_pass)
    top, pieces = float(_MARGIN), []
    if waveform is not None:
        pieces.append(_sound(waveform, top))
        top += 70
    if question is not None:
        pieces.append(_text(_MARGIN, top + 16, question, DARK, 17))
        top += 34
    boxes, top = _boxes(trace, labels, top, decode, clock)
    pieces += boxes
    pieces.append(_counter(clock, top + 22))
    height = top + 36
    style = "".join(clock.styles())
    head = (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {height:.0f}" '
        f'width="{_WIDTH}" height="{height:.0f}" role="img" '
        f"aria-label={quoteattr(_spoken(question, labels))} "
        f'font-family="system-ui, sans-serif">'
    )
    background = f'<rect width="{_WIDTH}" height="{height:.0f}" rx="10" fill="#ffffff"/>'
    write_text(
        Path(path), "\n".join([head, f"<style>{style}</style>", background, *pieces, "</svg>\n"])
    )


class _Clock:
    """When things are to be seen; each distinct interval of passes is one CSS animation."""

    def __init__(self, passes: int, seconds: float) -> None:
        self.passes, self._seconds = passes, seconds
        self._whole = (passes + 1) * seconds + _HOLD_SECONDS  # one pass of nothing but masks first
        self._intervals: set[tuple[int, int]] = set()

    def during(self, first: int, last: int) -> str:
        """Attributes of what is seen after passes ``first`` to ``last``."""
        self._intervals.add((first, last))
        final = "" if last == self.passes - 1 else ' opacity="0"'
        return f'class="p{first}-{last}"{final}'

    def styles(self) -> list[str]:
        """The rules of all intervals that were asked for."""
        found = []
        for first, last in sorted(self._intervals):
            name = f"p{first}-{last}"
            start = 100 * (first + 1) * self._seconds / self._whole
            end = 100 * (last + 2) * self._seconds / self._whole
            frames = "0%{opacity:0}"
            frames += f"{start:.2f}%{{opacity:0}}{start + 0.01:.2f}%{{opacity:1}}"
            if last < self.passes - 1:
                frames += f"{end:.2f}%{{opacity:1}}{end + 0.01:.2f}%{{opacity:0}}100%{{opacity:0}}"
            else:
                frames += "100%{opacity:1}"
            found.append(f"@keyframes {name}{{{frames}}}")
            found.append(
                "@media (prefers-reduced-motion:no-preference)"
                f"{{.{name}{{animation:{name} {self._whole:.2f}s linear infinite}}}}"
            )
        return found


def _boxes(
    trace: Trace,
    labels: Sequence[str],
    top: float,
    decode: Callable[[int], str] | None,
    clock: _Clock,
) -> tuple[list[str], float]:
    """The boxes of all positions, line by line, and where the next thing may begin."""
    pieces, x = [], float(_MARGIN)
    for position, label in enumerate(labels):
        if not label.strip():
            continue
        stays = _stays(trace, position, label, decode, clock.passes)
        letters = max([len(text) for _, _, text, _ in stays] + [len(label)])
        width = max(_LETTER * letters + 18, 40)
        if x + width > _WIDTH - _MARGIN and x > _MARGIN:
            x, top = float(_MARGIN), top + _CELL_HEIGHT + _GAP
        pieces.append(_box(x, top, width, _MASKED))
        if not stays:  # given from the start, or filled
            pieces += [_text(x + width / 2, top + 22, label, _FAINT, 15, middle=True)]
        for first, last, text, sure in stays:
            pieces.append(
                f"<g {clock.during(first, last)}>{_box(x, top, width, confidence_color(sure))}"
                f"{_text(x + width / 2, top + 22, text, ink_over(sure), 15, middle=True)}</g>"
            )
        x += width + _GAP
    return pieces, top + _CELL_HEIGHT


def _stays(
    trace: Trace, position: int, label: str, decode: Callable[[int], str] | None, passes: int
) -> list[tuple[int, int, str, float]]:
    """First and last pass after which a token stands, its text and its confidence."""
    if trace.drafts is None or trace.draft_confidence is None:
        step = int(trace.step[0, position])
        return (
            [(step, passes - 1, label, float(trace.confidence[0, position]))] if step >= 0 else []
        )
    tokens = trace.drafts[:, 0, position].tolist()
    sure = trace.draft_confidence[:, 0, position].tolist()
    found: list[tuple[int, int, str, float]] = []
    for step, (token, confidence) in enumerate(zip(tokens, sure, strict=True)):
        if math.isnan(confidence):
            continue
        if found and found[-1][1] == step - 1 and tokens[step - 1] == token:
            found[-1] = (found[-1][0], step, *found[-1][2:])
            continue
        text = label if token == tokens[-1] else ("…" if decode is None else decode(token))
        found.append((step, step, text, confidence))
    return found


def _sound(waveform: Tensor, top: float) -> str:
    """Peaks of the waveform as bars."""
    if waveform.dim() != 1 or not len(waveform):
        raise ShapeError("waveform", "[T] with T >= 1", list(waveform.shape))
    peaks = torch.stack(
        [part.abs().amax() for part in waveform.float().tensor_split(_BARS) if len(part)]
    )
    heights = 4 + 52 * (peaks / peaks.amax().clamp(min=1e-9))
    step, middle = (_WIDTH - 2 * _MARGIN) / len(heights), top + 28
    lines = "".join(
        f"M{_MARGIN + (n + 0.5) * step:.1f} {middle - h / 2:.1f}v{h:.1f}"
        for n, h in enumerate(heights.tolist())
    )
    return f'<path d="{lines}" stroke="#2f6f9f" stroke-width="2.4" stroke-linecap="round"/>'


def _counter(clock: _Clock, baseline: float) -> str:
    """How many passes it took so far."""
    return "".join(
        f"<g {clock.during(step, step)}>"
        f"{_text(_MARGIN, baseline, f'{step + 1} passes' if step else '1 pass', _FAINT, 13)}</g>"
        for step in range(clock.passes)
    )


def _box(x: float, y: float, width: float, color: str) -> str:
    return (
        f'<rect x="{x:.1f}" y="{y:.1f}" width="{width:.1f}" height="{_CELL_HEIGHT}" rx="6" '
        f'fill="{color}"/>'
    )


def _text(x: float, y: float, text: str, color: str, size: int, middle: bool = False) -> str:
    anchor = ' text-anchor="middle"' if middle else ""
    return (
        f'<text x="{x:.1f}" y="{y:.1f}" font-size="{size}" fill="{color}"{anchor}>'
        f"{escape(printable(text))}</text>"
    )


def _spoken(question: str | None, labels: Sequence[str]) -> str:
    """What a screen reader says."""
    answer = " ".join(label.strip() for label in labels if label.strip())
    return printable(f"{question} {answer}" if question else answer)
