"""Read which choice an answer names, by a small grammar over what it mentions.

Mentions are ranked by how they are made; only those of the highest rank count:

- ``STATED``: announced ("the answer is X", "I choose X"), judged right ("X is correct"), what the
  answer opens with, or its last line by itself;
- ``SUPPOSED``: "it is X", "I think X", "option X";
- ``TEXT``: the text of a choice anywhere;
- ``LETTER``: a letter set off by brackets, punctuation or a verb, anywhere.

Mentions joined by "or", "and", "/" or a comma share their rank.  What is denied ("not X", "X is
wrong") does not count, and neither does the list of all choices, repeated.  All that count must
agree.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from .answer_lists import repeated_lists
from .answer_mentions import Choices, Mention, Mentions, fold
from .answer_text import bounded, marked_answers, plain_text
from .answer_words import (
    AFTER_LABEL,
    ALTERNATIVES,
    ANSWER,
    ARTICLES,
    BE,
    CHOOSE,
    CHOOSE_WITH,
    CLOSERS,
    CORRECT,
    DO,
    END_OF_NOT,
    FILLERS,
    JUDGING,
    LEADING,
    MODALS,
    OPENERS,
    OPTION,
    PRAISE,
    SENTENCE_MARKS,
    SUBJECTS,
    SUPPOSE,
    WRONG,
    denies,
)

STATED, SUPPOSED, TEXT, LETTER, NOWHERE = 3, 2, 1, 0, -1
_REACH = 12  # tokens between a cue and its choice, at most
_SET_OFF = ("end", "line", "mark", "word", "own")
_STRAIGHT = OPENERS | CLOSERS | OPTION | {"-", "either", "both", "the"}
_ENUMERATES = {",", ".", ":", "\n"}
_IS = BE | MODALS | {":", "="}


@dataclass(slots=True)
class _Claim:
    """A mention and its rank.

    Attributes:
        mention: what is mentioned.
        rank: by words and by place.
        rank_by_words: what its rank were in the middle of an answer.
        denied: "not X", "X is wrong".
    """

    mention: Mention
    rank: int
    rank_by_words: int
    denied: bool

    @property
    def is_placed(self) -> bool:
        """Whether it owes its rank to opening the answer, or to being its last line."""
        return self.rank_by_words < STATED == self.rank


def read_answer(answer: str, choices: Choices) -> frozenset[int]:
    """Indices of the choices that an answer can mean; empty where it cannot be told.

    Several indices belong to choices of the same text.

    Args:
        answer: the model's.
        choices: of the question.
    """
    answer = bounded(answer)
    marked = marked_answers(answer)
    if marked:
        return frozenset.intersection(*(_read(plain_text(each), choices) for each in marked))
    return _read(plain_text(answer), choices)


def _read(text: str, choices: Choices) -> frozenset[int]:
    said = fold(text)
    whole = frozenset(i for i, folded in choices.texts.items() if folded == said)
    if whole:
        lettered = choices.labels.get(said)
        return whole if lettered is None or lettered in whole else frozenset()
    reading = _Reading(Mentions(text, choices))
    return _decide(reading.claims())


def _decide(claims: Sequence[_Claim]) -> frozenset[int]:
    denied: set[int] = set()
    for claim in claims:
        if claim.denied and (claim.mention.is_label or claim.rank >= SUPPOSED):
            denied |= claim.mention.choices
    for rank in (STATED, SUPPOSED, TEXT, LETTER):
        named = [c.mention.choices for c in claims if c.rank == rank and not c.denied]
        if named:
            meant = frozenset.intersection(*named)
            return frozenset() if meant & denied else meant
    return frozenset()


class _Reading:
    """Ranks what one answer mentions."""

    def __init__(self, mentions: Mentions) -> None:
        self.mentions, self.word = mentions, mentions.word
        self.listed = repeated_lists(mentions)
        size = len(mentions.tokens)
        self.negated = self._negated(size)
        self.opening = next((i for i in range(size) if not self._is_before(i)), size)
        ends = [i for i in range(size) if self.word(i) == "\n"]
        self.last_line = ends[-1] + 1 if ends else size
        while self.last_line < size and self._is_before(self.last_line):
            self.last_line += 1
        starts = {m.start for m in mentions.found} | mentions.covered
        alone = all(
            self._is_before(i) or i in starts or self.word(i) in SENTENCE_MARKS | ARTICLES
            for i in range(self.last_line, size)
        )
        if not alone:
            self.last_line = size

    def claims(self) -> list[_Claim]:
        """What the mentions claim, in their order."""
        found = [m for m in self.mentions.found if m.start not in self.listed]
        made = [self._claim(mention) for mention in found]
        group = made[:1]
        for before, claim in pairwise(made):
            if not self._join(before, claim):
                _settle(group)
                group = []
            group.append(claim)
        _settle(group)
        return made

    def _is_before(self, index: int) -> bool:
        """Whether a token may stand before what a text or line opens with."""
        return index in self.listed or self.word(index) in LEADING

    def _claim(self, mention: Mention) -> _Claim:
        judged = self._judged(mention)
        rank = self._rank(mention)
        if judged == "right":
            rank = STATED
        elif mention.follow and rank < STATED:
            rank = max(rank, self._announced(mention))
        leads = mention.start == self.opening and mention.follow in _SET_OFF
        placed = leads or mention.start == self.last_line
        before = self.word(mention.start - 1)
        denied = judged == "wrong" or mention.start in self.negated or before in ("no", "over")
        return _Claim(mention, STATED if placed else rank, rank, denied)

    def _rank(self, mention: Mention) -> int:
        """The rank of a mention by itself, wherever it is."""
        if not mention.is_label:
            return STATED if self._announced(mention) == STATED else TEXT
        return LETTER if mention.plain else NOWHERE

    def _announced(self, mention: Mention) -> int:
        """The rank that the words before a mention give it."""
        passed: set[str] = set()
        label = mention.is_label
        for index in range(mention.start - 1, max(mention.start - 1 - _REACH, -1), -1):
            word = self.word(index)
            chosen = any(link in passed and word in verbs for link, verbs in CHOOSE_WITH.items())
            if word in ANSWER or word in CHOOSE or chosen or (word in OPTION and passed & _IS):
                return STATED
            if word in SUPPOSE and (label or passed & SUBJECTS or self._is_mine(index)):
                return SUPPOSED if mention.follow in _SET_OFF else NOWHERE
            if word not in FILLERS:
                break
            passed.add(word)
        if passed & PRAISE and passed & _IS:
            return STATED  # "the correct one is X"
        if mention.follow in _SET_OFF and passed & BE and (label or passed & SUBJECTS):
            return SUPPOSED
        return SUPPOSED if label and passed & OPTION else NOWHERE

    def _is_mine(self, index: int) -> bool:
        return any(self.word(i) == "i" for i in range(index - 3, index))

    def _judged(self, mention: Mention) -> str:
        """``right`` or ``wrong`` where the words behind a mention say so, else empty."""
        passed: set[str] = set()
        first = mention.end
        if mention.is_label and self.word(first) == ".":  # "A. is wrong"
            first += self.mentions.is_lower(first + 1)
        for index in range(first, first + _REACH):
            word, after = self.word(index), self.word(index + 1)
            if word in WRONG:
                return "wrong"
            if denies(word):
                if passed & DO or word[:2] == "do" or word == "didn't":
                    return "wrong" if after in CORRECT else ""
                return "wrong" if passed & (BE | MODALS) or word not in ("not", "never") else ""
            if word in CORRECT or word in ANSWER:
                ends = not after.isalnum() or after in OPTION | ANSWER | CORRECT | AFTER_LABEL
                return "right" if passed and ends else ""
            if word not in JUDGING:
                return ""
            passed.add(word)
        return ""

    def _negated(self, size: int) -> set[int]:
        """Tokens within the reach of a negation: to the next punctuation or "but"."""
        reached: set[int] = set()
        active = False
        for index in range(size):
            word = self.word(index)
            if word in END_OF_NOT:
                active = False
            if active:
                reached.add(index)
            before, after = self.word(index - 1), self.word(index + 1)
            instead = (word, after) == ("instead", "of") or (before, word) == ("rather", "than")
            active = active or instead or (denies(word) and after != "only")
        return reached

    def _join(self, one: _Claim, two: _Claim) -> bool:
        """Let two neighboring claims share a rank where the words between them join them."""
        gap = {self.word(i) for i in range(one.mention.end, two.mention.start)}
        alternatives = gap & ALTERNATIVES
        if gap - _STRAIGHT - ALTERNATIVES - _ENUMERATES:
            return False
        if alternatives and not gap & {".", "\n"}:
            one.rank = two.rank = max(one.rank, two.rank)
            one.denied = one.denied or two.denied
        else:
            sentence = gap & {".", ":", "\n"}
            apart = one.denied != two.denied or (sentence and not one.is_placed)
            if apart or two.mention.follow not in _SET_OFF:
                return False
            two.rank = max(one.rank, two.rank)
        return True


def _settle(group: Sequence[_Claim]) -> None:
    """An answer that opens by listing several choices has not yet chosen one."""
    kinds = [[c for c in group if c.mention.is_label is label] for label in (True, False)]
    several = any(
        len(kind) > 1 and not frozenset.intersection(*(c.mention.choices for c in kind))
        for kind in kinds
    )
    if several and group[0].is_placed and all(claim.rank_by_words < STATED for claim in group):
        for claim in group:
            claim.rank = claim.rank_by_words
