"""MMSU: prompt, scoring rule and groupings (5,000 four-choice questions on spoken English).

Facts: the data set ``ddwang2000/MMSU`` and its published scorer.  The answer of a row is the
*text* of the right choice; the model is asked for a letter.
"""

from __future__ import annotations

from collections.abc import Sequence

from .robust import judge_reading
from .scoring import INVALID, OFFICIAL, Verdict, check_mode, check_question

_INSTRUCTION = (
    "Choose the most suitable answer from options A, B, C, and D to respond the question in next "
    "line, **you should only choose A or B or C or D.** Do not provide any additional "
    "explanations or content."
)
_LETTERS = "ABCD"
CHOICE_FIELDS = ("choice_a", "choice_b", "choice_c", "choice_d")
# One level deeper each time; a row's group is the path of its values.
GROUPINGS: tuple[tuple[str, ...], ...] = (
    ("category",),
    ("category", "sub-category"),
    ("category", "sub-category", "sub-sub-category"),
    ("task_name",),
)


def build_prompt(question: str, choices: Sequence[str | None]) -> str:
    """The published prompt; choices that are None are left out.

    Example:
        >>> print(build_prompt("Who speaks?", ["a man", "a woman", None, None]).splitlines()[-1])
        B. a woman
    """
    lines = [
        f"{letter}. {c}" for letter, c in zip(_LETTERS, choices, strict=False) if c is not None
    ]
    return "\n".join([_INSTRUCTION, "", f"Question: {question}", "", *lines])


def official_letter(prediction: str | None) -> str | None:
    """The letter that the published scorer reads, or None for a wrong format.

    Its quirks are kept: "Because" reads as B, and "(C)" as C by its second-to-last character.

    Example:
        >>> official_letter("Because"), official_letter("(C)"), official_letter("thunder")
        ('B', 'C', None)
    """
    if prediction is None:
        return None
    text = prediction.strip().replace("\n", "")
    if text in ("", "None"):
        return None
    if text[0] in _LETTERS:
        return text[0]
    if len(text) > 1 and text[-2] in _LETTERS:
        return text[-2]
    return None


def judge(
    prediction: str | None,
    answer: str,
    choices: Sequence[str | None],
    mode: str = OFFICIAL,
) -> Verdict:
    """Judge one prediction.

    Args:
        prediction: what the model said; None for a row without a prediction.
        answer: text of the right choice.
        choices: texts in letter order, at most 4; None where there is no choice.
        mode: ``"official"`` (the published rule with its quirks) or ``"robust"``.

    Raises:
        InvalidArgumentError: unknown mode, or values of the wrong type.
    """
    check_mode(mode)
    options = check_question(prediction, answer, choices)
    if mode == OFFICIAL:
        letter = official_letter(prediction)
        if letter is None:
            return INVALID
        index = _LETTERS.index(letter)
        chosen = options[index] if index < len(options) else None
        return Verdict(chosen is not None and chosen == answer, valid=True, choice=index)
    return judge_reading(prediction, answer, options[: len(_LETTERS)])


def is_correct(
    prediction: str | None,
    answer: str,
    choices: Sequence[str | None],
    mode: str = OFFICIAL,
) -> bool:
    """Whether a prediction counts as correct; see ``judge``.

    Example:
        >>> is_correct("B.", "a woman", ["a man", "a woman", None, None])
        True
    """
    return judge(prediction, answer, choices, mode).correct
