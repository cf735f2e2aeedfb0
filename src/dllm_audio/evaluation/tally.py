"""Count verdicts by group."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from .verdict import Verdict


@dataclass(frozen=True, slots=True)
class Tally:
    """How many answers were right, out of how many.

    Attributes:
        correct: right answers.
        valid: answers that could be read as a choice.
        total: all rows, with or without a prediction.
    """

    correct: int = 0
    valid: int = 0
    total: int = 0

    @property
    def accuracy(self) -> float:
        """Right answers over all rows; 0 without rows."""
        return self.correct / self.total if self.total else 0.0

    @property
    def accuracy_of_valid(self) -> float:
        """Right answers over readable answers, as scripts report that drop the others."""
        return self.correct / self.valid if self.valid else 0.0

    @property
    def invalid_share(self) -> float:
        """Share of rows whose answer could not be read."""
        return 1.0 - self.valid / self.total if self.total else 0.0

    def add(self, verdict: Verdict) -> Tally:
        """This tally and one more verdict."""
        return Tally(self.correct + verdict.correct, self.valid + verdict.valid, self.total + 1)

    def to_json(self) -> dict[str, float | int]:
        """Counts and the ratios made of them, ready for a JSON file."""
        return {
            "correct": self.correct,
            "valid": self.valid,
            "total": self.total,
            "accuracy": self.accuracy,
            "accuracy_of_valid": self.accuracy_of_valid,
            "invalid_share": self.invalid_share,
        }


def tally_groups(
    judged: Iterable[tuple[Mapping[str, Any], Verdict]],
    groupings: Sequence[Sequence[str]],
) -> dict[str, dict[str, Tally]]:
    """Tallies overall and for every grouping that the rows have the fields of.

    Args:
        judged: pairs of a row and its verdict.
        groupings: each a path of field names; the group's name is the values joined by ``/``.
            A row without one of the fields is left out of that grouping only.

    Example:
        >>> rows = [({"task": "music"}, Verdict(True, True, 0)), ({}, Verdict(False, True, 1))]
        >>> tallies = tally_groups(rows, [["task"]])
        >>> tallies["overall"]["all"].accuracy, tallies["task"]["music"].accuracy
        (0.5, 1.0)
    """
    result: dict[str, dict[str, Tally]] = {"overall": {"all": Tally()}}
    for row, verdict in judged:
        result["overall"]["all"] = result["overall"]["all"].add(verdict)
        for fields in groupings:
            values = [row.get(field) for field in fields]
            if any(value is None for value in values):
                continue
            groups = result.setdefault("/".join(fields), {})
            name = "/".join(map(str, values))
            groups[name] = groups.get(name, Tally()).add(verdict)
    return {grouping: dict(sorted(groups.items())) for grouping, groups in result.items() if groups}
