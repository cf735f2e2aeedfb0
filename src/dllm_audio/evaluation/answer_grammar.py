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

from .answer_denials import REACH, conceded, is_bound, negated, verdict
from .answer_lists import repeated_lists
from .answer_mentions import Choices, Mention, Mentions, fold
from .answer_text import bounded, marked_answers, plain_text
from .answer_words import (
    ALTERNATIVES,
    ANSWER,
    ARTICLES,
    BE,
    CHOOSE,
    CHOOSE_WITH,
    CLOSERS,
    CORRECTS,
    FILLERS,
    LEADING,
    MODALS,
    NOT_IT,
    OPENERS,
    OPTION,
    PRAISE,
    SENTENCE_MARKS,
    SUBJECTS,
    SUPPOSE,
)

STATED, SUPPOSED, TEXT, LETTER, NOWHERE = 3, 2, 1, 0, -1
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
        self.negated = negated(mentions)
        self.conceded = conceded(mentions)
        self.opening = next((i for i in range(size) if not self._is_before(i)), size)
        # "A: 10%, B: 80%": what opens such a list is not yet the answer.
        told = [m.choices for m in mentions.found if m.is_label and self.word(m.end) == ":"]
        if len(set(told)) > 1:
            self.opening = size
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
        judged = verdict(self.mentions, mention)
        rank = self._rank(mention)
        if judged == "right":
            rank = STATED
        elif mention.follow and rank < STATED:
            rank = max(rank, self._announced(mention))
        asked = self.word(mention.end) == "?" and mention.end + 1 < len(self.mentions.tokens)
        if asked or (mention.start in self.conceded and self._announced(mention) < STATED):
            rank = min(rank, LETTER)  # the least that can be said
        leads = mention.start == self.opening and mention.follow in _SET_OFF and not asked
        placed = leads or mention.start == self.last_line
        denied = (
            judged == "wrong"
            or mention.start in self.negated
            or self.word(mention.start - 1) in NOT_IT
            or is_bound(self.mentions, mention)
        )
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
        if self.word(mention.start - 1) == "," and self.word(mention.start - 2) in CORRECTS:
            return STATED
        for index in range(mention.start - 1, max(mention.start - 1 - REACH, -1), -1):
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

    def _join(self, one: _Claim, two: _Claim) -> bool:
        """Let two neighboring claims share a rank where the words between them join them."""
        between = range(one.mention.end, two.mention.start)
        gap = {self.word(i) for i in between}
        named = one.mention.is_label and not two.mention.is_label  # "B. piano"
        if named and one.mention.choices & two.mention.choices and not gap - _STRAIGHT - {".", ":"}:
            one.denied = two.denied = one.denied or two.denied
        alternatives = gap & ALTERNATIVES
        if one.denied:
            alternatives -= {"then"}
        if gap - _STRAIGHT - ALTERNATIVES - _ENUMERATES:
            return False
        if alternatives and not gap & {".", "\n"}:
            one.rank = two.rank = max(one.rank, two.rank)
            one.denied = one.denied or two.denied
        else:
            sentence = gap & {".", ":", "\n"}
            item = named and len(between) <= 1 and "\n" not in gap
            apart = one.denied != two.denied or (sentence and not one.is_placed and not item)
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
