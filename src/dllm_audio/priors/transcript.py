"""A row while its hypothesis is mended, and what becomes of it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from .comparing import Comparison, Edit
from .hypothesis import Hypothesis, Word
from .rule import EditRule
from .spelling import Speller


@dataclass(frozen=True, slots=True)
class Transcript:
    """A hypothesis after the model was asked about it.

    Attributes:
        hypothesis: the prior's; of an n-best list the one that was taken.
        words: what is said, with confidences: the prior's of words that stay (where it gave none,
            the model's), the model's of those that it changed; None where nobody knows.
        text: the words; where there was no hypothesis, the model's answer as it is.
        edits: changes that were made, in order.
        refused: changes that the model proposed without being sure enough.
        agreement: share of words that the model hears as well; None where it was not asked.
        scores: of the hypotheses of an n-best list, see :func:`rescore`; None where one cannot be
            scored, or there is only one.
        confidence: mean of the words that have one; None where none has.
        nfe: forward passes of the backbone that this row took part in.
    """

    hypothesis: Hypothesis
    words: tuple[Word, ...]
    text: str
    edits: tuple[Edit, ...] = ()
    refused: tuple[Edit, ...] = ()
    agreement: float | None = None
    scores: tuple[float | None, ...] | None = None
    confidence: float | None = None
    nfe: int = 0

    @classmethod
    def untouched(cls, hypothesis: Hypothesis) -> Transcript:
        """A hypothesis that nobody was asked about."""
        words = hypothesis.words
        return cls(hypothesis, words, hypothesis.text, confidence=mean_confidence(words))


def mean_confidence(words: Sequence[Word]) -> float | None:
    """Mean of the confidences that are known; None where none is."""
    known = [word.confidence for word in words if word.confidence is not None]
    return sum(known) / len(known) if known else None


@dataclass(slots=True)
class Row:
    """A row at work.

    Attributes:
        speller: spells words for the model.
        text: what the model wrote without seeing the hypothesis.
        heard: its words.
        sure: how probable it found each of them; None: not known.
        confidence: of the whole answer; NaN where there is none.
        ends: how it ends a response; the last one fills it up.
        hypothesis: what is mended.
        found: both side by side.
        edits: what is proposed.
        kept: confidences of words that stay although the model first heard something else.
        nfe: forward passes so far.
        scores: of an n-best list.
    """

    speller: Speller
    text: str
    heard: list[str]
    sure: list[float | None]
    confidence: float
    ends: list[int]
    hypothesis: Hypothesis = Hypothesis()  # noqa: RUF009 (frozen)
    found: Comparison = Comparison(1.0)  # noqa: RUF009 (frozen)
    edits: list[Edit] = field(default_factory=list)
    kept: dict[int, float] = field(default_factory=dict)
    nfe: int = 0
    scores: tuple[float | None, ...] | None = None

    @property
    def plain(self) -> bool:
        """Whether the model writes small letters without punctuation."""
        return all(word == Word(word).key for word in self.heard)

    def shown(self, edits: Sequence[Edit]) -> list[tuple[str, int | None]]:
        """The text as the model is shown it, each word with the number of the edit that it is of.

        Words that the model hears as well stand there as it writes them.  In place of those that it
        cannot spell stands what it hears there, or nothing.
        """
        words, found = self.hypothesis.words, self.found
        by_start = {edit.start: (number, edit) for number, edit in enumerate(edits)}
        shown: list[tuple[str, int | None]] = []
        skipped = 0
        for place in range(len(words) + 1):
            if place in by_start:
                number, edit = by_start[place]
                shown += [(text, number) for text in edit.after]
                skipped = edit.end
            if place < skipped or place == len(words):
                continue
            form = self.speller.form(words[place].text, self.plain)
            heard = found.matches.get(place, found.beside.get(place) if form is None else None)
            if heard is not None:
                form = self.heard[heard]
            if form is not None:
                shown.append((form, None))
        return shown

    def tokens(self, edits: Sequence[Edit]) -> tuple[int, ...]:
        """Tokens of that text."""
        return tuple(self.speller.tokens([text for text, _ in self.shown(edits)]))

    def result(self, rule: EditRule) -> Transcript:
        """What the rule makes of it."""
        if not self.hypothesis.words:
            words = tuple(Word(*each) for each in zip(self.heard, self.sure, strict=True))
            sure = None if math.isnan(self.confidence) else self.confidence
            return Transcript(
                self.hypothesis,
                words,
                self.text,
                scores=self.scores,
                confidence=sure,
                nfe=self.nfe,
            )
        made = [edit for edit in self.edits if rule.allows(edit.confidence, edit.bar)]
        refused = [edit for edit in self.edits if edit not in made]
        kept = dict(self.kept)
        for edit in refused:
            kept |= dict.fromkeys(range(edit.start, edit.end), 1 - edit.confidence)
        words = tuple(self._words(made, kept))
        return Transcript(
            self.hypothesis,
            words,
            " ".join(word.text for word in words),
            tuple(made),
            tuple(refused),
            self.found.agreement,
            self.scores,
            mean_confidence(words),
            self.nfe,
        )

    def _words(self, made: Sequence[Edit], kept: dict[int, float]) -> list[Word]:
        """The words with the changes that were made."""
        words, found = self.hypothesis.words, []
        by_start = {edit.start: edit for edit in made}
        skipped = 0
        for place in range(len(words) + 1):
            edit = by_start.get(place)
            if edit is not None:
                found += _new_words(edit, words[edit.start : edit.end])
                skipped = edit.end
            if place < skipped or place == len(words):
                continue
            word = words[place]
            if word.confidence is None:
                match = self.found.matches.get(place)
                known = kept.get(place) if match is None else self.sure[match]
                word = replace(word, confidence=known)
            found.append(word)
        return found


def _new_words(edit: Edit, replaced: Sequence[Word]) -> list[Word]:
    """Words of a change, in the time of those that they replace; one for one, in their dress."""
    starts = [word.start for word in replaced if word.start is not None]
    ends = [word.end for word in replaced if word.end is not None]
    start, end = (min(starts), max(ends)) if starts and ends else (None, None)
    texts = list(edit.after)
    if len(replaced) == len(texts) == 1:
        texts = [dressed(texts[0], replaced[0].text)]
    return [Word(text, edit.confidence, start, end) for text in texts]


def dressed(text: str, like: str) -> str:
    """A word with the punctuation and the capital of another.

    Example:
        >>> dressed("seven", '"Eleven,')
        '"Seven,'
    """
    letters = [place for place, character in enumerate(like) if character.isalnum()]
    if not letters or text != Word(text).key:
        return text
    if like[letters[0]].isupper():
        text = text[:1].upper() + text[1:]
    return f"{like[: letters[0]]}{text}{like[letters[-1] + 1 :]}"
