"""The report of a run: scores, failures, speed and everything needed to repeat it."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ..files import write_json, write_text
from .flatten import flatten
from .run_info import read_run
from .runner import merge_shards
from .store import read_records
from .task import Task

_MAX_LISTED_FAILURES = 20  # in Markdown; JSON lists them all


def finish_run(task: Task, folder: Path, *, export_name: str | None = None) -> dict[str, Any]:
    """Merge the results of a complete run and write its reports.

    Writes ``results.jsonl``, ``timings.jsonl``, ``report.json``, ``report.md``, ``report.png``
    (where matplotlib is installed) and the file for the benchmark's own evaluator.

    Args:
        task: the questions.
        folder: where ``run_task`` left its results.
        export_name: name of the file for the benchmark's own evaluator; None:
            ``{benchmark}_predictions.jsonl``.

    Returns:
        The content of ``report.json``.

    Raises:
        DataError: rows have no result yet.
    """
    records = merge_shards(task, folder)
    times = {t["id"]: t["seconds"] for t in read_records(folder / "timings.jsonl")}
    predictions = [record["prediction"] for record in records]
    export = folder / (export_name or f"{task.benchmark.name}_predictions.jsonl")
    write_exports(task, predictions, export)
    report = {
        **(read_run(folder) or {"settings": {"task": task.fingerprint(), "model": {}}}),
        "failures": failures(records),
        "speed": speed(records, times),
        "exported": export.name,
        "scores": task.benchmark.score(task.items, predictions),
    }
    write_report(report, folder)
    return report


def score_predictions(
    task: Task, predictions: Sequence[str | None], folder: Path, origin: str
) -> dict[str, Any]:
    """Score predictions that were made elsewhere and write the same reports.

    Args:
        task: the questions.
        predictions: one a question; None where there is none.
        folder: where the reports go.
        origin: where the predictions come from, for the report.

    Returns:
        The content of ``report.json``.
    """
    records = [
        {"id": item.id, "prediction": prediction}
        for item, prediction in zip(task.items, predictions, strict=True)
    ]
    report = {
        "settings": {"task": task.fingerprint(), "model": {"predictions": origin}},
        "prompt_of_first_row": task.items[0].prompt,
        "failures": failures(records),
        "scores": task.benchmark.score(task.items, predictions),
    }
    write_report(report, folder)
    return report


def write_exports(task: Task, predictions: Sequence[str | None], path: Path) -> None:
    """Write the predictions as the benchmark's own evaluator reads them."""
    rows = task.benchmark.export(task.items, predictions)
    text = "".join(json.dumps(row, default=str) + "\n" for row in rows)
    write_text(path, text)


def failures(records: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Rows without a prediction, each with its reason in one line."""
    failed = [record for record in records if record.get("prediction") is None]
    return {
        "count": len(failed),
        "rows": len(records),
        "reasons": [{"id": r["id"], "error": r.get("error") or "no prediction"} for r in failed],
    }


def speed(
    records: Sequence[Mapping[str, Any]], times: Mapping[str, float | None]
) -> dict[str, Any]:
    """Real-time factor, forward passes and tokens per forward pass of the rows that succeeded.

    The real-time factor is compute seconds over audio seconds.  Reading and decoding audio is
    excluded; the front end, the encoder and everything behind it are included.
    """
    answered = [r for r in records if r.get("prediction") is not None and times.get(r["id"])]
    compute = sum(times[r["id"]] or 0.0 for r in answered)
    audio = sum(r["audio_seconds"] or 0.0 for r in answered)
    forwards = [r["nfe"] for r in answered]
    per_forward = [r["tokens"] / r["nfe"] for r in answered if r["nfe"]]
    cut = [r["cut_seconds"] for r in records if r.get("cut_seconds")]
    return {
        "rtf": compute / audio if audio else None,
        "rtf_definition": "compute seconds / audio seconds, audio decoding excluded",
        "compute_seconds": compute,
        "audio_seconds": audio,
        "nfe_mean": sum(forwards) / len(forwards) if any(forwards) else None,
        "tokens_per_forward": sum(per_forward) / len(per_forward) if per_forward else None,
        "rows_cut_to_window": len(cut),
        "seconds_cut": sum(cut),
    }


def write_report(report: Mapping[str, Any], folder: Path) -> None:
    """Write a report as JSON, as Markdown and, where matplotlib is installed, as a plot."""
    from .plot import plot_scores

    folder.mkdir(parents=True, exist_ok=True)
    picture = plot_scores(report, folder / "report.png")
    write_json(folder / "report.json", report)
    write_text(folder / "report.md", markdown(report, picture))


def markdown(report: Mapping[str, Any], picture: str | None = None) -> str:
    """A report as Markdown."""
    task, model = report["settings"]["task"], report["settings"]["model"]
    lines = [f"# {task['benchmark']}", ""]
    lines += [*_scores(report["scores"]), *([f"![Scores by group]({picture})", ""] * bool(picture))]
    failed, speed_ = report["failures"], report.get("speed")
    lines += ["## Failures", "", f"{failed['count']} of {failed['rows']} rows have no prediction."]
    lines += [""] + [
        f"- `{f['id']}`: {f['error']}" for f in failed["reasons"][:_MAX_LISTED_FAILURES]
    ]
    if failed["count"] > _MAX_LISTED_FAILURES:
        lines.append(f"- and {failed['count'] - _MAX_LISTED_FAILURES} more, all in `report.json`")
    if speed_:
        lines += ["", "## Speed", "", *_table(["measure", "value"], list(speed_.items()))]
    lines += [
        "",
        "## Settings",
        "",
        *_table(["name", "value"], list(flatten({**task, **model}).items())),
    ]
    for start in report.get("starts", [])[-1:]:
        lines += ["## Where it ran", "", *_table(["name", "value"], list(flatten(start).items()))]
    if "prompt_of_first_row" in report:
        lines += ["## Prompt of the first row", "", "```text", report["prompt_of_first_row"], "```"]
    return "\n".join(lines).replace("\n\n\n", "\n\n").rstrip() + "\n"


def _scores(scores: Mapping[str, Any]) -> list[str]:
    lines = [f"Scored by {scores['scorer']}.", ""]
    modes = scores["modes"]
    if not modes:
        return lines
    for grouping in next(iter(modes.values()))["groups"]:
        lines += [f"## {grouping.capitalize()}", ""]
        rows = []
        for mode, result in modes.items():
            for name, values in result["groups"].get(grouping, {}).items():
                rows.append([name, mode, *values.values()])
        first = next(iter(next(iter(modes.values()))["groups"][grouping].values()))
        header = [grouping, "mode", *(key.replace("_", " ") for key in first)]
        lines += _table(header, sorted(rows, key=lambda row: row[0]))
    return lines


def _table(header: Sequence[str], rows: Sequence[Sequence[Any]]) -> list[str]:
    lines = ["| " + " | ".join(header) + " |", "|" + " --- |" * len(header)]
    lines += ["| " + " | ".join(map(_cell, row)) + " |" for row in rows]
    return [*lines, ""]


def _cell(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.4g}"
    return "-" if value is None else str(value).replace("|", "\\|").replace("\n", " ")
