"""Find the list of all choices that an answer repeats before, or instead of, an answer."""

from __future__ import annotations

from itertools import pairwise
from typing import NamedTuple

from .answer_mentions import Mention, Mentions
from .answer_words import CLOSERS, CORRECT, OPENERS, OPTION, WRONG

_JUDGES = WRONG | CORRECT | {"yes", "no"}
_BEFORE = OPENERS | OPTION | {"-", "*"}
_BETWEEN = CLOSERS | {".", ":", "-", ","}
_AFTER = CLOSERS | {",", ";", ".", "\n", "|", "/", "and", "or"}


class _Item(NamedTuple):
    """A letter and what stands behind it, up to the next item."""

    choices: frozenset[int]
    start: int
    end: int


def repeated_lists(mentions: Mentions) -> set[int]:
    """Tokens of lists of all choices in their order, as a question shows them."""
    listed: set[int] = set()
    wanted = list(mentions.choices.labels.values())
    items = _items(mentions)
    if len(wanted) < 2:
        return listed
    for at in range(len(items) - len(wanted) + 1):
        run = items[at : at + len(wanted)]
        in_order = all(index in item.choices for index, item in zip(wanted, run, strict=True))
        if in_order and all(one.end == two.start for one, two in pairwise(run)):
            listed.update(range(run[0].start, run[-1].end))
    return listed


def _items(mentions: Mentions) -> list[_Item]:
    followers: list[Mention | None] = [*mentions.found[1:], None]
    found = []
    for label, text in zip(mentions.found, followers, strict=False):
        if not label.is_label:
            continue
        start = label.start
        while mentions.word(start - 1) in _BEFORE:
            start -= 1
        if text is not None and _is_own(mentions, label, text):
            end = text.end
        elif mentions.word(start - 1) in ("", "\n") and mentions.is_item(label.start):
            end = label.end
            while end < len(mentions.tokens) and mentions.word(end) != "\n":
                end += 1
            if any(mentions.word(i) in _JUDGES for i in range(start, end)):
                continue  # "A. Incorrect" lists no choice, it rules one out
        else:
            continue
        while mentions.word(end) in _AFTER:
            end += 1
        found.append(_Item(label.choices, start, end))
    return found


def _is_own(mentions: Mentions, label: Mention, text: Mention) -> bool:
    between = range(label.end, text.start)
    return (
        not text.is_label
        and bool(label.choices & text.choices)
        and all(mentions.word(i) in _BETWEEN for i in between)
    )
