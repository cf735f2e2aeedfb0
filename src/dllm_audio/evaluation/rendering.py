"""A report and its three forms: JSON, Markdown, and a picture of the scores by group."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from ..files import replacing, write_json, write_text
from .run_info import Run, flatten
from .scoring import ROBUST, Scores

_MAX_LISTED = 20  # failures and unreadable answers in Markdown; JSON lists them all
_MAX_SHOWN = 200  # characters of an answer
_MAX_BARS = 40
_MAX_LABEL = 60  # characters


@dataclass(frozen=True, slots=True)
class Failure:
    """A row without a prediction.

    Attributes:
        id: of the question.
        error: why, in one line.
    """

    id: str
    error: str


@dataclass(frozen=True, slots=True)
class Speed:
    """How fast the rows that succeeded were answered.

    Attributes:
        rtf: real-time factor: compute seconds over audio seconds. Reading and decoding audio is
            excluded; the front end, the encoder and everything behind it are included. None
            without audio.
        compute_seconds: of all rows.
        audio_seconds: of all rows.
        nfe_mean: forward passes of the backbone a row; None where they are not known.
        tokens_per_forward: mean over rows; None where forward passes are not known.
        rows_cut_to_window: rows whose audio was longer than the encoder's window.
        seconds_cut: of audio, in these.
    """

    rtf: float | None
    compute_seconds: float
    audio_seconds: float
    nfe_mean: float | None
    tokens_per_forward: float | None
    rows_cut_to_window: int
    seconds_cut: float
    rtf_definition: str = "compute seconds / audio seconds, audio decoding excluded"


@dataclass(frozen=True, slots=True)
class Report:
    """What is known of a run or of a file of predictions once all is scored.

    Attributes:
        run: settings, prompt of the first row, and where it ran.
        rows: number of questions.
        failures: rows without a prediction, each with its reason.
        scores: the benchmark's.
        speed: None where the predictions were made elsewhere.
        exported: name of the file for the benchmark's own evaluator; None where there is none.
    """

    run: Run
    rows: int
    failures: tuple[Failure, ...]
    scores: Scores
    speed: Speed | None = None
    exported: str | None = None

    def to_json(self) -> dict[str, object]:
        """Content of ``report.json``."""
        reasons = [asdict(failure) for failure in self.failures]
        return {
            **asdict(self.run),
            "failures": {"count": len(reasons), "rows": self.rows, "reasons": reasons},
            "speed": None if self.speed is None else asdict(self.speed),
            "exported": self.exported,
            "scores": self.scores.to_json(),
        }


def write_report(report: Report, folder: Path) -> None:
    """Write it as JSON, as Markdown and, where matplotlib is installed, as a picture."""
    folder.mkdir(parents=True, exist_ok=True)
    picture = draw_scores(report, folder / "report.png")
    write_json(folder / "report.json", report.to_json())
    write_text(folder / "report.md", markdown(report, picture))


def markdown(report: Report, picture: str | None = None) -> str:
    """A report as Markdown.

    Args:
        report: what to show.
        picture: name of the file of ``draw_scores``.
    """
    settings, failed = report.run.settings, report.failures
    lines = [f"# {settings.task.benchmark}", "", *_scores(report.scores)]
    if picture:
        lines += [f"![Scores by group]({picture})", ""]
    lines += ["## Failures", "", f"{len(failed)} of {report.rows} rows have no prediction.", ""]
    lines += [f"- `{_cell(each.id)}`: {_cell(each.error)}" for each in failed[:_MAX_LISTED]]
    if len(failed) > _MAX_LISTED:
        lines.append(f"- and {len(failed) - _MAX_LISTED} more, all in `report.json`")
    lines += _unreadable(report.scores)
    if report.speed is not None:
        measures = list(asdict(report.speed).items())
        lines += ["", "## Speed", "", *_table(["measure", "value"], measures)]
    named = flatten({**asdict(settings.task), **settings.model})
    lines += ["", "## Settings", "", *_table(["name", "value"], list(named.items()))]
    for start in report.run.starts[-1:]:
        where = list(flatten(asdict(start)).items())
        lines += ["## Where it ran", "", *_table(["name", "value"], where)]
    lines += ["## Prompt of the first row", "", "```text", report.run.prompt_of_first_row, "```"]
    return "\n".join(lines).replace("\n\n\n", "\n\n").rstrip() + "\n"


def _unreadable(scores: Scores) -> list[str]:
    """The answers that a person would have to read, where the scorer that reads them is robust."""
    answers = scores.modes[ROBUST].unreadable if ROBUST in scores.modes else {}
    if not answers:
        return []
    lines = ["", "## Unreadable answers", "", f"{len(answers)}, which count as wrong.", ""]
    shown = list(answers.items())[:_MAX_LISTED]
    lines += [f"- `{_cell(name)}`: {_cell(answer[:_MAX_SHOWN])}" for name, answer in shown]
    if len(answers) > _MAX_LISTED:
        lines.append(f"- and {len(answers) - _MAX_LISTED} more, all in `report.json`")
    return lines


def _scores(scores: Scores) -> list[str]:
    lines = [f"Scored by {scores.scorer}.", ""]
    if not scores.modes:
        return lines
    for grouping, groups in next(iter(scores.modes.values())).groups.items():
        lines += [f"## {grouping.capitalize()}", ""]
        rows = [
            [name, mode, *counts.to_json().values()]
            for mode, result in scores.modes.items()
            for name, counts in result.groups.get(grouping, {}).items()
        ]
        measures = next(iter(groups.values())).to_json()
        header = [grouping, "mode", *(name.replace("_", " ") for name in measures)]
        lines += _table(header, sorted(rows, key=lambda row: str(row[0])))
    return lines


def _table(header: Sequence[str], rows: Sequence[Sequence[object]]) -> list[str]:
    lines = ["| " + " | ".join(header) + " |", "|" + " --- |" * len(header)]
    lines += ["| " + " | ".join(map(_cell, row)) + " |" for row in rows]
    return [*lines, ""]


def _cell(value: object) -> str:
    if isinstance(value, float):
        return f"{value:.4g}"
    return "-" if value is None else " ".join(str(value).replace("|", "\\|").split())


def draw_scores(report: Report, path: Path) -> str | None:
    """Draw the scores of every group, both modes side by side, and save them as PNG.

    Args:
        report: what to show.
        path: the picture's file.

    Returns:
        The file's name; None where matplotlib is not installed or nothing was scored.
    """
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ImportError:
        return None
    modes = report.scores.modes
    if not modes:
        return None
    # The coarsest groupings first; what does not fit is in the tables.
    labels: list[tuple[str, str]] = []
    for grouping, groups in next(iter(modes.values())).groups.items():
        if len(labels) + len(groups) <= _MAX_BARS:
            labels += [(grouping, name) for name in groups]
    figure = Figure(figsize=(8, 1.6 + 0.32 * len(labels)), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    height = 0.8 / len(modes)
    for offset, (mode, result) in enumerate(modes.items()):
        values = [result.groups[grouping][name].score or 0.0 for grouping, name in labels]
        places = [i + (offset - (len(modes) - 1) / 2) * height for i in range(len(labels))]
        bars = axes.barh(places, values, height, label=mode)
        axes.bar_label(bars, [f"{100 * v:.1f}" for v in values], padding=2, fontsize=7)
    axes.set_yticks(range(len(labels)), [_label(*label) for label in labels], fontsize=8)
    axes.invert_yaxis()
    axes.set_xlim(0, max(1.0, axes.get_xlim()[1]) * 1.06)
    axes.set_xlabel("word error rate" if "wer" in modes else "accuracy (all rows)")
    axes.set_title(
        f"{report.run.settings.task.benchmark}: {report.rows} rows, "
        f"{len(report.failures)} without prediction",
        fontsize=10,
    )
    if len(modes) > 1:
        axes.legend(loc="lower right", fontsize=8)
    axes.grid(axis="x", alpha=0.3)
    axes.set_axisbelow(True)
    with warnings.catch_warnings():
        # A character that the font lacks is drawn as a box; the tables hold it.
        warnings.filterwarnings("ignore", message="Glyph .* missing from font")
        with replacing(path) as scratch:
            figure.savefig(scratch, dpi=120)
    return path.name


def _label(grouping: str, name: str) -> str:
    """A label as it is to be drawn: no formula between dollar signs, no half of a character."""
    label = "overall" if grouping == "overall" else f"{grouping}: {name}"
    label = " ".join(label.encode("utf-8", "backslashreplace").decode().split())
    if len(label) > _MAX_LABEL:
        label = label[: _MAX_LABEL - 3] + "..."
    return label.replace("$", r"\$")
