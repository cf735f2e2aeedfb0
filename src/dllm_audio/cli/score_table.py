"""The scores of a report as a few aligned lines for a terminal."""

from __future__ import annotations

from collections.abc import Iterator

from ..evaluation.rendering import Report, Speed
from ..evaluation.scoring import Counts, Tally
from ..evaluation.wer import WordErrors

_MAX_GROUPS = 12  # a longer breakdown is in the report


def score_lines(report: Report) -> Iterator[str]:
    """Scores, failures and speed."""
    task, scores = report.run.settings.task, report.scores
    yield f"{task.benchmark}: {report.rows} rows of {task.data} ({task.data_revision})"
    if not scores.modes:
        yield f"  scored by {scores.scorer}: {report.exported or ''}"
    for mode, result in scores.modes.items():
        yield f"  {mode}"
        for grouping, groups in result.groups.items():
            if len(groups) > _MAX_GROUPS:
                continue
            width = max(map(len, groups))
            for name, counts in groups.items():
                label = "all" if grouping == "overall" else f"{grouping}: {name:<{width}}"
                yield f"    {label:<32} {_score(counts)}"
    yield f"  without prediction: {len(report.failures)} of {report.rows}"
    if report.speed is not None:
        yield f"  {_speed(report.speed)}"


def _score(counts: Counts) -> str:
    if counts.score is None:
        return "no reference words"
    share = f"{100 * counts.score:6.2f} %"
    if isinstance(counts, WordErrors):
        return f"WER {share}   {counts.errors} errors, {counts.reference_words} words"
    if isinstance(counts, Tally):
        unreadable = 100 * counts.invalid_share
        return f"{share}   {counts.correct}/{counts.total}   unreadable {unreadable:.1f} %"
    return share


def _speed(speed: Speed) -> str:
    parts = []
    if speed.rtf is not None:
        parts.append(f"RTF {speed.rtf:.3f}")
    if speed.nfe_mean is not None:
        parts.append(f"{speed.nfe_mean:.1f} forward passes a row")
    if speed.tokens_per_forward is not None:
        parts.append(f"{speed.tokens_per_forward:.2f} tokens a forward pass")
    if speed.rows_cut_to_window:
        parts.append(f"{speed.rows_cut_to_window} rows cut to the encoder's window")
    return ", ".join(parts) or "no speed measured"
