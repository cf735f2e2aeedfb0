"""Where a hypothesis and what the model hears differ, and what may be changed of it."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import groupby

from .alignment import Pair, align
from .hypothesis import Hypothesis, Word, word_key
from .rule import EditRule


@dataclass(frozen=True, slots=True)
class Edit:
    """A change of a hypothesis.

    Attributes:
        start: first word of the hypothesis that is replaced.
        end: the word behind the last; equal to ``start`` where words are put in.
        before: the words replaced.
        after: the words in their place; none where words are taken out.
        bar: what the model's confidence must exceed.
        confidence: of the model in the change; NaN until it was judged.
    """

    start: int
    end: int
    before: tuple[str, ...]
    after: tuple[str, ...]
    bar: float
    confidence: float = math.nan


@dataclass(frozen=True, slots=True)
class Comparison:
    """A hypothesis beside what the model hears.

    Attributes:
        agreement: share of the words that both have in common, of those of the longer one.
        matches: of words of the hypothesis that the model hears as well, their places in what it
            hears.
        beside: the same of words that stand against another one.
        edits: changes that the rule lets the model try, with the words that it hears there.
    """

    agreement: float
    matches: Mapping[int, int] = field(default_factory=dict)
    beside: Mapping[int, int] = field(default_factory=dict)
    edits: tuple[Edit, ...] = ()


def compare(
    hypothesis: Hypothesis,
    heard: Sequence[str],
    rule: EditRule,
    can_spell: Callable[[str], bool] = bool,
) -> Comparison:
    """Find what may be changed.

    Where words stand against as many others, or against none, each is a change of its own; else
    the whole stretch is one.  A stretch with a word that the model cannot spell, or that is sure,
    is left alone.  Words are equal whatever their case and the punctuation around them.  The bar is
    the confidence of the surest word that would go; of a gap between two words that of the less
    sure one; and to take words out without a replacement the model's doubt must be below the square
    of the prior's.

    Args:
        hypothesis: of the prior.
        heard: words that the model writes when it does not see the hypothesis.
        rule: what may be touched, and what it counts as.
        can_spell: whether the model can write a word.

    Example:
        >>> text = Hypothesis.from_text("Three, eleven, five")
        >>> found = compare(text, ["three", "seven", "five"], EditRule())
        >>> [(edit.before, edit.after) for edit in found.edits], found.matches
        ([(('eleven,',), ('seven',))], {0: 0, 2: 2})
    """
    ours = [place for place, word in enumerate(hypothesis.words) if word.key]
    theirs = [place for place, word in enumerate(heard) if word_key(word)]
    keys = [word_key(heard[place]) for place in theirs]
    pairs = [
        (None if i is None else ours[i], None if j is None else theirs[j])
        for i, j in align([hypothesis.words[place].key for place in ours], keys)
    ]
    words = hypothesis.words
    both = {i: j for i, j in pairs if i is not None and j is not None}
    matches = {i: j for i, j in both.items() if words[i].key == word_key(heard[j])}
    beside = {i: j for i, j in both.items() if i not in matches}
    longest = max(len(ours), len(theirs))
    agreement = len(matches) / longest if longest else 1.0
    edits: list[Edit] = []
    before: int | None = None  # the word in front of a stretch
    for equal, run in groupby(pairs, lambda pair: pair[0] in matches):
        stretch = list(run)
        places = [i for i, _ in stretch if i is not None]
        if not equal:
            paired = all(None not in pair for pair in stretch)
            single = paired or all(j is None for _, j in stretch)
            for part in [[pair] for pair in stretch] if single else [stretch]:
                edit = _edit(words, heard, part, before, ours, rule, can_spell)
                edits += [] if edit is None else [edit]
        before = places[-1] if places else before
    return Comparison(agreement, matches, beside, tuple(edits))


def _edit(
    words: Sequence[Word],
    heard: Sequence[str],
    part: Sequence[Pair],
    before: int | None,
    ours: Sequence[int],
    rule: EditRule,
    can_spell: Callable[[str], bool],
) -> Edit | None:
    """The change that a stretch of differences asks for; None where it is not allowed."""
    places = [i for i, _ in part if i is not None]
    after = tuple(heard[j] for _, j in part if j is not None)
    if not all(can_spell(word) for word in after):
        return None
    if places:
        replaced = [words[i] for i in places]
        if not all(rule.doubts(word.confidence) and can_spell(word.text) for word in replaced):
            return None
        bar = max(rule.bar(word.confidence) for word in replaced)
        if not after:
            # Of a word there are two witnesses, how probable it is and how much likelier the text
            # becomes. Of a gap there is the second alone, which must be as sure as two together.
            bar *= 2 - bar  # 1 - (1 - bar) ** 2
        start, end = places[0], places[-1] + 1
        return Edit(start, end, tuple(word.text for word in words[start:end]), after, bar)
    # Nobody says how sure a prior is that nothing stands between two words: as sure as of them.
    behind = next((i for i in ours if before is None or i > before), None)
    around = [rule.confidence(words[i].confidence) for i in (before, behind) if i is not None]
    sure = min(around, default=rule.unknown)
    if not rule.doubts(sure):
        return None
    start = 0 if before is None else before + 1
    return Edit(start, start, (), after, rule.bar(sure))
