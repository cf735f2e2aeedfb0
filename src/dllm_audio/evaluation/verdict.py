"""What a scorer says about one answer, and the two modes every scorer has."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ..errors import InvalidArgumentError

OFFICIAL = "official"
ROBUST = "robust"
MODES = (OFFICIAL, ROBUST)

# Raised whenever a change can alter a verdict; every report records it.
SCORER_VERSION = 1


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
