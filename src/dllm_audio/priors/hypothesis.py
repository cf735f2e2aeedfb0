"""A first hypothesis of what is said: words, and what its maker knows of each."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

from ..errors import InvalidArgumentError


@dataclass(frozen=True)
class Word:
    """One word of a hypothesis, with the punctuation that is written to it.

    Args:
        text: not empty and without spaces.
        confidence: probability, by whoever heard it, that it was said; None: not known.
        start: seconds, or None.
        end: seconds, or None.

    Raises:
        InvalidArgumentError: a field that is none of these; names it.

    Example:
        >>> Word("Seven,", 0.75).key
        'seven'
    """

    text: str
    confidence: float | None = None
    start: float | None = None
    end: float | None = None

    def __post_init__(self) -> None:
        if not isinstance(self.text, str) or not self.text or self.text.split() != [self.text]:
            raise InvalidArgumentError("text", "a word without spaces", f"{self.text!r:.80}")
        _check_number("confidence", self.confidence, 1.0, "a probability in [0, 1]")
        for name, value in (("start", self.start), ("end", self.end)):
            _check_number(name, value, math.inf, "a time in seconds, >= 0")
        if (self.start is None) != (self.end is None):
            missing = "start" if self.start is None else "end"
            raise InvalidArgumentError(missing, "a time, as there is another one", None)
        if self.start is not None and self.end is not None and self.end < self.start:
            raise InvalidArgumentError("end", f"a time from start ({self.start:g}) on", self.end)

    @cached_property
    def key(self) -> str:
        """What two spellings of a word share: small letters, no punctuation around them."""
        return word_key(self.text)


def _check_number(name: str, value: object, high: float, expected: str) -> None:
    if value is None:
        return
    number = isinstance(value, int | float) and not isinstance(value, bool)
    if not number or not 0 <= value <= high or math.isinf(value):  # type: ignore[operator, arg-type]
        raise InvalidArgumentError(name, f"{expected}, or nothing", f"{value!r:.80}")


def word_key(text: str) -> str:
    """A word in small letters, without what surrounds its letters and digits.

    Example:
        >>> word_key('"Don\\'t!"'), word_key("--")
        ("don't", '')
    """
    inside = [place for place, character in enumerate(text) if character.isalnum()]
    return text[inside[0] : inside[-1] + 1].casefold() if inside else ""


@dataclass(frozen=True)
class Hypothesis:
    """What somebody else heard.

    Args:
        words: in order; none at all is a hypothesis, too.
        score: log-probability by whoever made it, to compare it with others of an n-best list;
            None: not known.

    Raises:
        InvalidArgumentError: something else.

    Example:
        >>> Hypothesis.from_text("three eleven five", [0.9, 0.4, 0.95]).words[1]
        Word(text='eleven', confidence=0.4, start=None, end=None)
    """

    words: tuple[Word, ...] = ()
    score: float | None = None

    def __post_init__(self) -> None:
        if not all(isinstance(word, Word) for word in self.words):
            raise InvalidArgumentError("words", "a tuple of Word", f"{self.words!r:.80}")
        object.__setattr__(self, "words", tuple(self.words))
        number = isinstance(self.score, int | float) and not isinstance(self.score, bool)
        if self.score is not None and not (number and math.isfinite(self.score)):
            expected = "a finite log-probability, or nothing"
            raise InvalidArgumentError("score", expected, f"{self.score!r:.80}")

    @classmethod
    def from_text(
        cls,
        text: str,
        confidences: Sequence[float | None] | None = None,
        *,
        score: float | None = None,
    ) -> Hypothesis:
        """The words of a text, as spaces part them.

        Args:
            text: perhaps empty.
            confidences: one a word; None: not known.
            score: of the hypothesis.

        Raises:
            InvalidArgumentError: another number of confidences than of words, or a bad one.
        """
        if not isinstance(text, str):
            raise InvalidArgumentError("text", "a text", type(text).__name__)
        texts = text.split()
        if confidences is None:
            confidences = [None] * len(texts)
        elif len(confidences) != len(texts):
            expected = f"one a word ({len(texts)})"
            raise InvalidArgumentError("confidences", expected, len(confidences))
        words = []
        for place, (word, confidence) in enumerate(zip(texts, confidences, strict=True)):
            try:
                words.append(Word(word, confidence))
            except InvalidArgumentError as error:
                name = f"confidences[{place}]"
                raise InvalidArgumentError(name, error.expected, error.got) from error
        return cls(tuple(words), score)

    @property
    def text(self) -> str:
        """The words with spaces between them."""
        return " ".join(word.text for word in self.words)

    @property
    def timed(self) -> bool:
        """Whether every word has its place in the recording."""
        return all(word.start is not None for word in self.words)

    def within(self, start: float, end: float) -> Hypothesis:
        """The words whose middle lies in ``[start, end)`` seconds; all must have times.

        Raises:
            InvalidArgumentError: a word without times.

        Example:
            >>> words = Word("one", None, 0.0, 0.5), Word("two", None, 3.6, 4.6)
            >>> Hypothesis(words).within(4.0, 8.0).text
            'two'
        """
        inside = []
        for place, word in enumerate(self.words):
            if word.start is None or word.end is None:
                raise InvalidArgumentError(f"words[{place}].start", "a time in seconds", None)
            if start <= (word.start + word.end) / 2 < end:
                inside.append(word)
        return Hypothesis(tuple(inside), self.score)
