"""Read free text as one of the choices of a question, or admit that it cannot be read.

The published rules misjudge answers that a person would read without trouble ("Because ..." is
taken for B, "X. text" fails where X occurs in another choice).  The reader here takes the
first of these that applies:

1. the whole answer is one of the choices;
2. it opens with a choice's letter set off by punctuation, alone or followed by text;
3. it says "the answer is X" (or option, choice, select, choose X);
4. it mentions the text of exactly one choice;
5. it mentions the letter of exactly one choice.

Two readings that contradict each other make the answer unreadable; nothing is guessed.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from string import ascii_uppercase

from .scoring import INVALID, Verdict

_OPENING = r"[\s\"'\u201c\u201d\u2018\u2019(\[{*_<]*"
_CLOSING = r"[\s\"'\u201c\u201d\u2018\u2019)\]}*_>]*"
# A letter alone, or set off by punctuation from what follows: "B", "(b)", "**B**: text".
_LEADING_LABEL = re.compile(
    rf"^{_OPENING}([A-Za-z])"
    rf"(?:[.:,;]?{_CLOSING}[.:,;]?\s*$"
    r"|(?:[)\]}*_>]+|[\"'\u201d\u2019]+(?=[\s.:,;])|[ \t]*[.:,;\n]|\s+[-\u2013\u2014]\s)"
    r"(?!\w\.)(.*)$)",
    re.DOTALL,
)
_LABEL_AFTER_CUE = r"(?:\s+is|\s+would\s+be|\s+should\s+be)?\s*[:=]?\s*"
_LABEL = rf"{_OPENING}([A-Za-z])(?=\s*(?:$|[.,:;!?)\]}}*\"'\u201d\u2019]|because\b|since\b))"
_ANSWER_CUE = re.compile(rf"\banswer{_LABEL_AFTER_CUE}(?:option|choice)?{_LABEL}", re.IGNORECASE)
_CHOICE_CUE = re.compile(
    rf"\b(?:options?|choices?|choose|select|pick){_LABEL_AFTER_CUE}{_LABEL}", re.IGNORECASE
)
_BRACKETED = re.compile(r"[(\[]\s*([A-Za-z])\s*[)\]]")
# "A" and "I" are also English words: they count only where a word cannot follow.
_STANDALONE = re.compile(
    r"(?<![\w'\u2019])"
    r"(?:([B-HJ-Z])(?![\w'\u2019])|([AI])(?=\s*(?:$|[.,:;!?)\]]|or\b|and\b)))"
)
_NEGATION = re.compile(r"\b(?:not|neither|nor)\b|n['\u2019]t\b", re.IGNORECASE)
_NEGATED = re.compile(rf"(?:{_NEGATION.pattern})(?:(?!\bbut\b)[^.,;!?\n])*", re.IGNORECASE)
_TOKEN = re.compile(r"[\w#+]+")


def normalize(text: str) -> str:
    """Case, width, spacing and surrounding punctuation removed; inner signs (F#) kept."""
    folded = " ".join(unicodedata.normalize("NFKC", text).casefold().split())
    return folded.strip(" .,;:!?\"'\u201c\u201d\u2018\u2019()[]{}*_<>")


def read_choice(prediction: str, choices: Sequence[str | None]) -> int | None:
    """Index of the choice that ``prediction`` names, or None when it cannot be told.

    Args:
        prediction: the model's answer.
        choices: the choices in letter order; None where a letter has no choice.

    Example:
        >>> read_choice("B. violin", ["piano", "violin"])
        1
        >>> read_choice("Because it is loud", ["piano", "violin"]) is None
        True
    """
    texts = {i: normalize(c) for i, c in enumerate(choices) if c is not None and normalize(c)}
    present = {i for i, c in enumerate(choices) if c is not None}
    whole = _whole_answer(prediction, texts)
    label = _LEADING_LABEL.match(prediction)
    labeled = _index(label.group(1), present) if label else None
    if whole is not None:
        bare_letter = labeled is not None and not label.group(2)  # type: ignore[union-attr]
        return None if bare_letter and labeled != whole else whole
    if labeled is not None:
        return _check_label(labeled, label.group(2) or "", texts, present)  # type: ignore[union-attr]
    spaced = _label_before_its_text(prediction, texts)
    if spaced is not None:
        return spaced
    if not any(_NEGATION.search(text) for text in texts.values()):
        # "violin, not piano": what is denied is no answer, unless the choices deny things too.
        prediction = _NEGATED.sub(" ", prediction)
    for cue in (_ANSWER_CUE, _CHOICE_CUE):
        cued = _labels(cue.findall(prediction), present)
        if cued:
            return cued.pop() if len(cued) == 1 else None
    mentioned = _mentioned_texts(prediction, texts)
    if mentioned:
        return mentioned.pop() if len({texts[i] for i in mentioned}) == 1 else None
    for pattern in (_BRACKETED, _STANDALONE):
        letters = _labels(["".join(m.groups("")) for m in pattern.finditer(prediction)], present)
        if letters:
            return letters.pop() if len(letters) == 1 else None
    return None


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


def _index(letter: str, present: set[int]) -> int | None:
    index = ascii_uppercase.index(letter.upper())
    return index if index in present else None


def _labels(letters: list[str], present: set[int]) -> set[int]:
    return {i for i in (_index(letter, present) for letter in letters) if i is not None}


def _whole_answer(prediction: str, texts: dict[int, str]) -> int | None:
    wanted = normalize(prediction)
    return next((i for i, text in texts.items() if text == wanted), None)


def _check_label(label: int, rest: str, texts: dict[int, str], present: set[int]) -> int | None:
    """The label, unless what follows names another choice outright."""
    named = _whole_answer(rest, texts)
    if named is not None:
        return label if texts[named] == texts.get(label) else None
    more = _LEADING_LABEL.match(rest)
    if more and not more.group(2) and _index(more.group(1), present) not in (None, label):
        return None
    return label


def _label_before_its_text(prediction: str, texts: dict[int, str]) -> int | None:
    """ "B violin": a letter without punctuation counts when its own text follows."""
    letter, _, rest = normalize(prediction).partition(" ")
    if len(letter) != 1 or not letter.isascii() or not letter.isalpha():
        return None
    index = ascii_uppercase.index(letter.upper())
    return index if texts.get(index) == normalize(rest) else None


def _mentioned_texts(prediction: str, texts: dict[int, str]) -> set[int]:
    """Choices whose words occur in a row, less those inside a longer mentioned choice."""
    said = _TOKEN.findall(unicodedata.normalize("NFKC", prediction).casefold())
    spans: list[tuple[int, int, int]] = []
    for index, text in texts.items():
        words = _TOKEN.findall(text)
        size = len(words)
        spans += [
            (start, start + size, index)
            for start in range(len(said) - size + 1)
            if size and said[start : start + size] == words
        ]
    return {
        index
        for start, end, index in spans
        if not any(s <= start and end <= e and (e - s) > (end - start) for s, e, _ in spans)
    }
