"""Score what a run, or somebody else, has answered, and write the report."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from ..errors import DataError
from ..files import read_rows, write_text
from .questions import Item, Task
from .rendering import Failure, Report, Speed, write_report
from .run_info import Run, Settings, read_run
from .scoring import Row
from .store import Result, Timing, merge_shards

_OWN_KEY = "prediction"  # of this package's results.jsonl


def finish_run(task: Task, folder: Path, *, export_name: str | None = None) -> Report:
    """Merge the results of a complete run and write its reports.

    Writes ``results.jsonl``, ``timings.jsonl``, ``report.json``, ``report.md``, ``report.png``
    (where matplotlib is installed) and the file for the benchmark's own evaluator.

    Args:
        task: the questions.
        folder: where ``run_task`` left its results.
        export_name: name of the file for the benchmark's own evaluator; None:
            ``{benchmark}_predictions.jsonl``.

    Raises:
        DataError: rows have no result yet.
    """
    results, timings = merge_shards(task, folder)
    predictions = [result.prediction for result in results]
    export = folder / (export_name or f"{task.benchmark.name}_predictions.jsonl")
    rows = [
        row if each.probabilities is None else {**row, "probabilities": each.probabilities}
        for row, each in zip(task.benchmark.export(task.items, predictions), results, strict=True)
    ]
    write_text(export, "".join(json.dumps(row, default=str) + "\n" for row in rows))
    report = Report(
        run=read_run(folder) or _unrecorded(task, {}),
        rows=len(results),
        failures=_failures(results),
        scores=task.benchmark.score(task.items, predictions, _chosen(task, results)),
        speed=_speed(results, timings),
        exported=export.name,
    )
    write_report(report, folder)
    return report


def read_predictions(
    path: str | Path, items: Sequence[Item], keys: Sequence[str]
) -> list[str | None]:
    """Predictions that were made elsewhere, in the order of the questions.

    Rows are matched by ``id``; where no row has one, by position.

    Args:
        path: ``.json``, ``.jsonl``, ``.csv`` or ``.tsv``.
        items: the questions.
        keys: fields that may hold the prediction, in the order in which they are looked for.

    Returns:
        One prediction an item; None where the file has none, which counts as a failure.

    Raises:
        DataError: an unknown or repeated id, a prediction that is no text, or a file without ids
            whose length differs from the number of questions.
    """
    rows = read_rows(Path(path))
    if all(row.get("id") in (None, "") for row in rows):
        if len(rows) != len(items):
            raise DataError(f"{path}: expected {len(items)} rows, got {len(rows)} without ids")
        return [_prediction(row, keys, f"{path}, row {i}") for i, row in enumerate(rows)]
    known = {item.id for item in items}
    found: dict[str, str | None] = {}
    for index, row in enumerate(rows):
        where, identifier = f"{path}, row {index}", str(row.get("id"))
        if identifier not in known:
            raise DataError(f"{where}: the id {identifier!r:.80} is not that of a question")
        if identifier in found:
            raise DataError(f"{where}: the id {identifier!r:.80} occurs twice")
        found[identifier] = _prediction(row, keys, where)
    return [found.get(item.id) for item in items]


def score_predictions(
    task: Task, predictions: Sequence[str | None], folder: Path, origin: str
) -> Report:
    """Score predictions that were made elsewhere and write the same reports.

    Args:
        task: the questions.
        predictions: one a question; None where there is none.
        folder: where the reports go.
        origin: where the predictions come from, for the report.
    """
    results = [
        Result(item.id, prediction)
        for item, prediction in zip(task.items, predictions, strict=True)
    ]
    report = Report(
        run=_unrecorded(task, {"predictions": origin}),
        rows=len(results),
        failures=_failures(results),
        scores=task.benchmark.score(task.items, predictions),
    )
    write_report(report, folder)
    return report


def _prediction(row: Row, keys: Sequence[str], where: str) -> str | None:
    empty = None
    for key in (*keys, _OWN_KEY):
        value = row.get(key)
        if value is not None and not isinstance(value, str):
            raise DataError(f"{where}, field {key!r}: expected text, got {value!r:.80}")
        if value and value.strip():
            return value
        empty = value if empty is None else empty  # perhaps the text is under another name
    return empty


def _chosen(task: Task, results: Sequence[Result]) -> list[int | None]:
    """Index of the choice that every result is known to be; None where it must be read."""
    return [
        item.index_of(result.prediction)
        if result.probabilities is not None and result.prediction is not None
        else None
        for item, result in zip(task.items, results, strict=True)
    ]


def _unrecorded(task: Task, model: dict[str, object]) -> Run:
    return Run(Settings(task.fingerprint(), model), task.items[0].prompt)


def _failures(results: Sequence[Result]) -> tuple[Failure, ...]:
    return tuple(
        Failure(result.id, result.error or "no prediction")
        for result in results
        if result.prediction is None
    )


def _speed(results: Sequence[Result], timings: Sequence[Timing]) -> Speed:
    answered = [
        (result, timing.seconds)
        for result, timing in zip(results, timings, strict=True)
        if result.prediction is not None and timing.seconds
    ]
    compute = sum(seconds for _, seconds in answered)
    audio = sum(result.audio_seconds or 0.0 for result, _ in answered)
    forwards = [result.nfe or 0 for result, _ in answered]
    per_forward = [(result.tokens or 0) / result.nfe for result, _ in answered if result.nfe]
    cut = [result.cut_seconds for result in results if result.cut_seconds]
    return Speed(
        rtf=compute / audio if audio else None,
        compute_seconds=compute,
        audio_seconds=audio,
        nfe_mean=sum(forwards) / len(forwards) if any(forwards) else None,
        tokens_per_forward=sum(per_forward) / len(per_forward) if per_forward else None,
        rows_cut_to_window=len(cut),
        seconds_cut=sum(cut),
    )
