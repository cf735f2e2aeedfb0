"""What scorers say: a verdict on one answer, counts of a group, the scores of a benchmark."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol, TypeAlias

from ..errors import InvalidArgumentError

OFFICIAL = "official"
ROBUST = "robust"
MODES = (OFFICIAL, ROBUST)

# Raised whenever a change can alter a verdict; every report records it.
SCORER_VERSION = 3

Row: TypeAlias = Mapping[str, object]  # the fields of one row of a data set
Numbers: TypeAlias = dict[str, float | int | None]


@dataclass(frozen=True, slots=True)
class Verdict:
    """A scorer's judgment of one prediction.

    Attributes:
        correct: the prediction names the answer and nothing else.
        valid: the prediction could be read as one of the choices.
        choice: index of the choice it was read as; None when it was not valid.
    """

    correct: bool
    valid: bool
    choice: int | None


INVALID = Verdict(correct=False, valid=False, choice=None)


class Counts(Protocol):
    """What was counted in one group of rows: a ``Tally``, or ``WordErrors``."""

    @property
    def score(self) -> float | None:
        """The one number that is drawn; None where there is none."""
        ...

    def to_json(self) -> Numbers:
        """Counts and ratios by name, in the order of a table's columns."""
        ...


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

    @property
    def score(self) -> float:
        """The accuracy."""
        return self.accuracy

    def add(self, verdict: Verdict) -> Tally:
        """This tally and one more verdict."""
        return Tally(self.correct + verdict.correct, self.valid + verdict.valid, self.total + 1)

    def to_json(self) -> Numbers:
        """Counts and the ratios made of them, ready for a JSON file."""
        return {
            "correct": self.correct,
            "valid": self.valid,
            "total": self.total,
            "accuracy": self.accuracy,
            "accuracy_of_valid": self.accuracy_of_valid,
            "invalid_share": self.invalid_share,
        }


Groups: TypeAlias = Mapping[str, Mapping[str, Counts]]  # grouping -> group -> counts


@dataclass(frozen=True, slots=True)
class ModeScores:
    """Scores under one scoring rule.

    Attributes:
        groups: grouping (``"overall"``, ``"category"`` ...) to group to counts.
        chosen_position: how often each letter was chosen; None where there are no choices.
        unreadable: answers that could not be read as a choice, by the question's id.
    """

    groups: Groups
    chosen_position: Mapping[str, int] | None = None
    unreadable: Mapping[str, str] = field(default_factory=dict)

    @property
    def overall(self) -> Counts:
        """Counts of all rows."""
        return self.groups["overall"]["all"]

    def to_json(self) -> dict[str, object]:
        """Everything by name, ready for a JSON file."""
        groups = {
            grouping: {name: counts.to_json() for name, counts in members.items()}
            for grouping, members in self.groups.items()
        }
        made: dict[str, object] = {"groups": groups}
        if self.chosen_position is not None:
            made["chosen_position"] = dict(self.chosen_position)
            made["unreadable"] = dict(self.unreadable)
        return made


@dataclass(frozen=True, slots=True)
class Scores:
    """Scores of a benchmark.

    Attributes:
        scorer: who scored, with its version.
        modes: by scoring rule; empty where only the benchmark's own evaluator can score.
        answer_position: how often each letter was right; None where there are no choices.
    """

    scorer: str
    modes: Mapping[str, ModeScores]
    answer_position: Mapping[str, int] | None = None

    def to_json(self) -> dict[str, object]:
        """Everything by name, ready for a JSON file."""
        modes = {mode: scores.to_json() for mode, scores in self.modes.items()}
        made: dict[str, object] = {"scorer": self.scorer, "modes": modes}
        if self.answer_position is not None:
            made["answer_position"] = dict(self.answer_position)
        return made


def tally_groups(
    judged: Iterable[tuple[Row, Verdict]], groupings: Sequence[Sequence[str]] = ()
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


def unreadable(
    identifiers: Iterable[str], predictions: Iterable[str | None], verdicts: Iterable[Verdict]
) -> dict[str, str]:
    """Answers that are there and could not be read, by the question's id.

    Example:
        >>> unreadable(["1", "2"], ["a or b", None], [INVALID, INVALID])
        {'1': 'a or b'}
    """
    return {
        identifier: prediction
        for identifier, prediction, verdict in zip(identifiers, predictions, verdicts, strict=True)
        if prediction is not None and not verdict.valid
    }


def check_mode(mode: str) -> None:
    """Refuse an unknown scoring mode.

    Raises:
        InvalidArgumentError: ``mode`` is not one of ``MODES``.
    """
    if mode not in MODES:
        raise InvalidArgumentError("mode", '"official" or "robust"', repr(mode))


def check_question(
    prediction: str | None, answer: str, choices: Sequence[str | None]
) -> list[str | None]:
    """Check the types of one multiple-choice question and its prediction.

    Returns:
        The choices as a list.

    Raises:
        InvalidArgumentError: a value that no scorer can judge; never for a merely wrong answer.
    """
    if prediction is not None and not isinstance(prediction, str):
        raise InvalidArgumentError("prediction", "a string or None", repr(prediction))
    if not isinstance(answer, str):
        raise InvalidArgumentError("answer", "the text of the right choice", repr(answer))
    if isinstance(choices, str) or not isinstance(choices, Sequence):
        raise InvalidArgumentError("choices", "a list of strings", repr(choices))
    for index, choice in enumerate(choices):
        if choice is not None and not isinstance(choice, str):
            raise InvalidArgumentError(f"choices[{index}]", "a string or None", repr(choice))
    return list(choices)
