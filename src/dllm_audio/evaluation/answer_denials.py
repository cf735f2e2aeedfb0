"""What an answer says against a choice: denials, verdicts, and what it only grants."""

from __future__ import annotations

from .answer_mentions import Mention, Mentions
from .answer_words import (
    AFTER_LABEL,
    ANSWER,
    BE,
    CANNOT,
    CLOSERS,
    CONCEDES,
    CORRECT,
    DO,
    END_OF_NOT,
    JUDGING,
    LIKELY,
    MODALS,
    NAMED_WRONG,
    NOT_BEHIND,
    NOT_PAIRS,
    NOT_UNDONE,
    NUMBERS,
    OPTION,
    OR_SO,
    WRONG,
    denies,
)

REACH = 12  # tokens between a choice and what is said of it, at most
_TELLS = frozenset(":-.?(,")
_SENTENCE_START = frozenset(("", ".", "!", "?", "\n"))
_CLAUSE_END = frozenset(",.;!?\n")


def negated(mentions: Mentions) -> set[int]:
    """Tokens within the reach of a negation: to the next punctuation or "but"."""
    reached: set[int] = set()
    active = False
    for index in range(len(mentions.tokens)):
        word = mentions.word(index)
        if word in END_OF_NOT:
            active = False
        if active:
            reached.add(index)
        active = active or _starts_denial(mentions, index)
    return reached


def _starts_denial(mentions: Mentions, index: int) -> bool:
    word, before, after = (mentions.word(at) for at in (index, index - 1, index + 1))
    if word in WRONG and (after in NAMED_WRONG or (after == ":" and before in _SENTENCE_START)):
        return True
    if (before, word) in NOT_PAIRS:
        return True
    return denies(word) and after != "only" and (before, word) not in NOT_UNDONE


def conceded(mentions: Mentions) -> set[int]:
    """Tokens of clauses that grant something: "although X seems right"."""
    reached: set[int] = set()
    active = False
    for index in range(len(mentions.tokens)):
        word = mentions.word(index)
        active = word in CONCEDES or (active and word not in _CLAUSE_END)
        if active:
            reached.add(index)
    return reached


def verdict(mentions: Mentions, mention: Mention) -> str:
    """``right`` or ``wrong`` where the words behind a mention say so, else empty."""
    passed: set[str] = set()
    first = mention.end
    if mentions.word(first) == "or" and mentions.word(first + 1) in OR_SO:
        return "wrong"
    if told := _verdict_behind_mark(mentions, mention):
        return told
    if mention.is_label and mentions.word(first) == ".":  # "A. is wrong"
        first += mentions.is_lower(first + 1)
    for index in range(first, first + REACH):
        word, after = mentions.word(index), mentions.word(index + 1)
        if word in WRONG:
            return "wrong"
        verbal = word.endswith("n't") or word in CANNOT
        if verbal or word in NOT_BEHIND:
            if passed & DO or word[:2] == "do" or word == "didn't":
                return "wrong" if after in CORRECT else ""
            return "wrong" if verbal or passed & (BE | MODALS) else ""
        if word in ("less", "least") and after in LIKELY:
            return "wrong"
        if word in CORRECT or word in ANSWER:
            ends = not after.isalnum() or after in OPTION | ANSWER | CORRECT | AFTER_LABEL
            return "right" if passed and ends else ""
        article = word in ("a", "an") and mentions.is_lower(index)  # "is a distractor"
        if word not in JUDGING and not (article and mentions.word(index - 1) in BE):
            return ""
        passed.add(word)
    return ""


def _verdict_behind_mark(mentions: Mentions, mention: Mention) -> str:
    """A verdict behind a mark: "X: no", "X. Incorrect", "X (correct)"."""
    index = mention.end
    while mentions.word(index) in CLOSERS:
        index += 1
    tokens = mentions.tokens
    mark, word = mentions.word(index), mentions.word(index + 1)
    if mark not in _TELLS or (index + 2 < len(tokens) and tokens[index + 2].is_word):
        return ""
    if word in WRONG or (word == "no" and mark != "."):
        return "wrong"
    return "right" if word in ("correct", "right", "true", "yes") else ""


def is_bound(mentions: Mentions, mention: Mention) -> bool:
    """Whether it is a number that bounds another: "60 to 90", "more than three"."""
    said = mentions.tokens[mention.start].text
    if not (said[:1].isdigit() or said in NUMBERS):
        return False
    first, before = mentions.word(mention.start - 2), mentions.word(mention.start - 1)
    return before == "than" or (before in ("to", "through") and first[:1].isdigit())
