"""MMAU and MMAR: prompt, scoring rule and groupings (multiple choice on sound, music, speech).

Both are scored by the same published rule, which compares sets of words instead of reading the
letter.  MMAR differs in its field names only.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from string import ascii_uppercase

from .robust import judge_reading
from .scoring import INVALID, OFFICIAL, Verdict, check_mode, check_question

_INSTRUCTION = (
    "You are given the audio and a multiple-choice question. Choose the best answer based only "
    "on the speech content and style."
)
# In the order in which they are looked for: MMAU's notes, its script, MMAR's script.
PREDICTION_KEYS = ("model_prediction", "model_output", "answer_prediction")
MMAU_GROUPINGS = (("task",), ("difficulty",), ("category",), ("sub-category",))
MMAR_GROUPINGS = (("modality",), ("category",), ("category", "sub-category"), ("language",))

_WORD = re.compile(r"\b\w+\b")


def build_prompt(question: str, choices: Sequence[str | None]) -> str:
    """The published prompt, which ends in ``Answer:``.

    Example:
        >>> print(build_prompt("What is heard?", ["rain", "a dog"]).splitlines()[-2])
        B. a dog
    """
    lines = [
        f"{letter}. {choice}"
        for letter, choice in zip(ascii_uppercase, choices, strict=False)
        if choice is not None
    ]
    return "\n".join([_INSTRUCTION, "", f"Question: {question}", "", "Choices:", *lines, "Answer:"])


def tokens(text: str) -> frozenset[str]:
    r"""The set of ``\b\w+\b`` matches of the lower-cased text.

    Example:
        >>> sorted(tokens("44.1kHz, F#"))
        ['1khz', '44', 'f']
    """
    return frozenset(_WORD.findall(text.lower()))


def _official(prediction: str, answer: str, choices: Sequence[str | None]) -> bool:
    predicted, wanted = tokens(prediction), tokens(answer)
    forbidden: set[str] = set()
    for choice in choices:
        if choice is not None:
            # A choice with the answer's own words adds nothing: the difference is empty.
            forbidden |= tokens(choice) - wanted
    return bool(predicted) and wanted <= predicted and not (predicted & forbidden)


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
        choices: texts of all choices.
        mode: ``"official"`` (all words of the answer, no word that only another choice has) or
            ``"robust"`` (letters, quoted texts and sentences are understood).

    Raises:
        InvalidArgumentError: unknown mode, or values of the wrong type.
    """
    check_mode(mode)
    options = check_question(prediction, answer, choices)
    if mode == OFFICIAL:
        if prediction is None:
            return INVALID
        correct = _official(prediction, answer, options)
        # The rule has no notion of a readable answer: one that would be right for no choice
        # whatsoever is what could not be read.  Several can be accepted; the answer goes first.
        accepted = [
            i for i, c in enumerate(options) if c is not None and _official(prediction, c, options)
        ]
        choice = min(accepted, key=lambda i: options[i] != answer, default=None)
        return Verdict(correct, correct or choice is not None, choice)
    return judge_reading(prediction, answer, options)


def is_correct(
    prediction: str | None,
    answer: str,
    choices: Sequence[str | None],
    mode: str = OFFICIAL,
) -> bool:
    """Whether a prediction counts as correct; see ``judge``.

    Example:
        >>> is_correct("B. a dog", "a dog", ["rain", "a dog"])
        True
        >>> is_correct("B", "a dog", ["rain", "a dog"])
        False
        >>> is_correct("B", "a dog", ["rain", "a dog"], mode="robust")
        True
    """
    return judge(prediction, answer, choices, mode).correct
