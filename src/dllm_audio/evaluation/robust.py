"""Read free text as one of the choices of a question, or admit that it cannot be read.

The published rules misjudge answers that a person would read without trouble ("Because ..." is
taken for B, "X. text" fails where X occurs in another choice).  Here an answer's wrapping is taken
off (``answer_text``), what it mentions is found (``answer_mentions``) and read by a small grammar
(``answer_grammar``).  Readings that contradict each other make the answer unreadable; nothing is
guessed, and no letter is read more easily than another.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from functools import lru_cache

from .answer_grammar import read_answer
from .answer_mentions import Choices
from .scoring import INVALID, Verdict

_choices = lru_cache(maxsize=16)(Choices)


def normalize(text: str) -> str:
    """Case, width, spacing and surrounding punctuation removed; inner signs (F#) kept."""
    folded = " ".join(unicodedata.normalize("NFKC", text).casefold().split())
    return folded.strip(" .,;:!?\"'\u201c\u201d\u2018\u2019()[]{}*_<>")


def read_choice(prediction: str, choices: Sequence[str | None]) -> int | None:
    """Index of the choice that ``prediction`` names, or None when it cannot be told.

    Args:
        prediction: the model's answer; of a very long one the beginning and the end are read.
        choices: the choices in letter order; None where a letter has no choice, empty where its
            text is not known.

    Example:
        >>> read_choice("B. violin", ["piano", "violin"])
        1
        >>> read_choice("Because it is loud", ["piano", "violin"]) is None
        True
    """
    meant = read_answer(prediction, _choices(tuple(choices)))
    if len({normalize(choices[index] or "") for index in meant}) != 1:
        return None
    return min(meant)


def judge_reading(prediction: str | None, answer: str, choices: Sequence[str | None]) -> Verdict:
    """Judge the choice that a prediction is read as; case, width and spacing do not count.

    Args:
        prediction: what the model said; None for a row without a prediction.
        answer: text of the right choice.
        choices: the choices in letter order; None where a letter has no choice.
    """
    read = None if prediction is None else read_choice(prediction, choices)
    if read is None:
        return INVALID
    return Verdict(normalize(choices[read] or "") == normalize(answer), valid=True, choice=read)
