"""The scores of a report as a few aligned lines for a terminal."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

_MAX_GROUPS = 12  # a longer breakdown is in the report


def score_lines(report: Mapping[str, Any]) -> Iterator[str]:
    """Scores, failures and speed."""
    scores, failures = report["scores"], report["failures"]
    task = report["settings"]["task"]
    data = f"{task['data']} ({task['data_revision']})"
    yield f"{task['benchmark']}: {failures['rows']} rows of {data}"
    if not scores["modes"]:
        yield f"  scored by {scores['scorer']}: {report.get('exported', '')}"
    for mode, result in scores["modes"].items():
        yield f"  {mode}"
        for grouping, groups in result["groups"].items():
            if len(groups) > _MAX_GROUPS:
                continue
            width = max(map(len, groups))
            for name, values in groups.items():
                label = "all" if grouping == "overall" else f"{grouping}: {name:<{width}}"
                yield f"    {label:<32} {_score(values)}"
    yield f"  without prediction: {failures['count']} of {failures['rows']}"
    if report.get("speed"):
        yield f"  {_speed(report['speed'])}"


def _score(values: Mapping[str, Any]) -> str:
    if "wer" in values:
        if values["wer"] is None:
            return "no reference words"
        errors = values["substitutions"] + values["deletions"] + values["insertions"]
        return (
            f"WER {100 * values['wer']:6.2f} %   {errors} errors, {values['reference_words']} words"
        )
    return (
        f"{100 * values['accuracy']:6.2f} %   {values['correct']}/{values['total']}"
        f"   unreadable {100 * values['invalid_share']:.1f} %"
    )


def _speed(speed: Mapping[str, Any]) -> str:
    parts = []
    if speed["rtf"] is not None:
        parts.append(f"RTF {speed['rtf']:.3f}")
    if speed["nfe_mean"] is not None:
        parts.append(f"{speed['nfe_mean']:.1f} forward passes a row")
    if speed["tokens_per_forward"] is not None:
        parts.append(f"{speed['tokens_per_forward']:.2f} tokens a forward pass")
    if speed["rows_cut_to_window"]:
        parts.append(f"{speed['rows_cut_to_window']} rows cut to the encoder's window")
    return ", ".join(parts) or "no speed measured"
