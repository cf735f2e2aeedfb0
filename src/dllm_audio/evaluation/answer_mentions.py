"""Where an answer mentions the choices of a question: their texts, and their letters.

A text is mentioned by whole words, the longest that fit.  A letter is mentioned where it stands
alone and what follows shows that it is no English word.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from string import ascii_lowercase

from .answer_text import Token, plain_text, tokenize
from .answer_words import (
    AFTER_I,
    AFTER_LABEL,
    AFTER_TEXT,
    ARTICLES,
    CLOSERS,
    MARKS,
    MUSICAL,
    OPENERS,
    SCALES,
    TENS,
    VERBS,
)

_MAX_WORDS = 200  # of a choice that is looked for inside an answer
_LETTERS = frozenset(ascii_lowercase)
_BREAK = "\n"  # no choice goes beyond it
_GLUE = frozenset("'-.\u00b0/&+#@")


@dataclass(frozen=True, slots=True)
class Mention:
    """Tokens that mention a choice.

    Attributes:
        choices: indices of what they can mean; several where texts are equal.
        start: first token.
        end: behind the last token.
        is_label: a letter, no text.
        plain: a letter that needs no announcement: a capital, or in brackets.
        follow: what follows: ``end``, ``line``, ``mark``, ``word`` (no part of the mention),
            ``verb``, ``own`` (a letter's own text), or ``""`` (anything else).
    """

    choices: frozenset[int]
    start: int
    end: int
    is_label: bool
    plain: bool
    follow: str


class Choices:
    """The choices of a question as they are looked for.

    Args:
        choices: in letter order; None where a letter has no choice, empty where its text is
            not known.
    """

    def __init__(self, choices: Sequence[str | None]) -> None:
        self.labels = {
            letter: i
            for i, (letter, choice) in enumerate(zip(ascii_lowercase, choices, strict=False))
            if choice is not None
        }
        texts = {i: plain_text(c, is_choice=True) for i, c in enumerate(choices) if c is not None}
        self.texts = {i: folded for i, text in texts.items() if (folded := fold(text))}
        whole = {i: _words(text) for i, text in texts.items()}
        bare = {i: _without_article(words) for i, words in whole.items()}
        known = list(bare.values())
        self.by_first_word: dict[str, list[tuple[tuple[str, ...], frozenset[int]]]] = {}
        found: dict[tuple[str, ...], set[int]] = {}
        for i, words in whole.items():
            # "a piano" is found without its article, unless that makes it another choice.
            chosen = bare[i] if known.count(bare[i]) == 1 else words
            if 0 < len(chosen) <= _MAX_WORDS:
                found.setdefault(chosen, set()).add(i)
        # Letters that may stand for a choice, those that are choices themselves among them.
        self.letters = {*self.labels, *(w[0] for w in found if len(w) == 1 and w[0] in _LETTERS)}
        for words in sorted(found, key=len, reverse=True):
            self.by_first_word.setdefault(words[0], []).append((words, frozenset(found[words])))


def fold(text: str) -> str:
    """Case, spacing and surrounding marks removed; inner signs (F#) kept."""
    return " ".join(text.casefold().split()).strip(" .,;:!?\"'()[]{}<>")


def _words(text: str) -> tuple[str, ...]:
    return tuple(token.text for token in tokenize(text) if token.is_word)


def _without_article(words: tuple[str, ...]) -> tuple[str, ...]:
    rest = words[1:]
    if words[:1] and words[0] in ARTICLES and rest and len(" ".join(rest)) > 1:
        return words if rest[0] in MUSICAL else rest
    return words


class Mentions:
    """All mentions in an answer, in their order.

    Args:
        text: a plain text.
        choices: what is looked for.
    """

    def __init__(self, text: str, choices: Choices) -> None:
        self.text, self.choices = text, choices
        self.tokens = tokenize(text)
        self.covered: set[int] = set()  # tokens inside the text of a choice
        self._own: dict[int, frozenset[int]] = {}  # first token of a text -> choices
        self._after_article: set[int] = set()  # first tokens of texts
        texts = self._texts()
        labels = [self._label(i) for i in range(len(self.tokens)) if self._may_be_label(i)]
        found = [label for label in labels if label is not None]
        # "B) piano D) guitar": the next item ends the one before as a mark does.
        items = {label.start for label in found if label.follow in ("mark", "own")}
        ended = (
            replace(text, follow="mark") if not text.follow and text.end in items else text
            for text in texts
        )
        self.found = sorted([*ended, *found], key=lambda mention: mention.start)

    def word(self, index: int) -> str:
        """A token's text as a word of the grammar; nothing inside the text of a choice."""
        inside = 0 <= index < len(self.tokens) and index not in self.covered
        return self.tokens[index].text if inside else ""

    def is_bracketed(self, start: int, end: int) -> bool:
        """Whether brackets enclose these tokens."""
        return self.word(start - 1) in OPENERS and self.word(end) in CLOSERS

    def is_lower(self, index: int) -> bool:
        """Whether a token is in small letters, as in the middle of a sentence."""
        return self.word(index) != "" and self.tokens[index].raw.islower()

    def _texts(self) -> list[Mention]:
        said = [token.text if token.is_word else "" for token in self.tokens]
        places = [i for i, token in enumerate(self.tokens) if token.is_word or token.text == _BREAK]
        words = [said[i] if said[i] and not self.is_item(i) else _BREAK for i in places]
        spans: list[tuple[int, int, frozenset[int]]] = []
        reach = 0  # the end of what was found so far: nothing shorter inside it counts
        for at, word in enumerate(words):
            for wanted, indices in self.choices.by_first_word.get(word, ()):
                end = at + len(wanted)
                if end <= reach or tuple(words[at:end]) != wanted:
                    continue
                if len(wanted) == 1 and word in _LETTERS:
                    break  # a single letter is read as letters are
                if self._is_compound(places[at], places[end - 1]):
                    continue
                spans.append((places[at], places[end - 1] + 1, indices))
                reach = end
                break
        mentions = []
        for start, end, indices in spans:
            self.covered.update(range(start, end))
            self._own[start] = indices
            if start and self._is_article(start - 1, indices):
                self._after_article.add(start)
                start -= 1
            mentions.append((start, end, indices))
        return [
            Mention(indices, start, end, False, True, self._follow(end, AFTER_TEXT))
            for start, end, indices in mentions
        ]

    def _is_compound(self, first: int, last: int) -> bool:
        """Whether words are part of another: "twenty two", "two hundred", "violin-like"."""
        if self._text(first - 1) in TENS or self._text(last + 1) in SCALES:
            return True
        text, start, end = self.text, self.tokens[first].start, self.tokens[last].end
        left = start > 1 and text[start - 1] == "-" and text[start - 2].isalnum()
        if left and self._text(first - 2) in self.choices.labels:  # "B-piano"
            left = False
        return left or (text[end : end + 1] == "-" and text[end + 1 : end + 2].isalpha())

    def _is_article(self, index: int, text: frozenset[int]) -> bool:
        """Whether a token is the article of a text, and not the letter of that choice."""
        word = self._text(index)
        # "a violin" where A is the violin: either reading means the same.
        own = self.choices.labels.get(word) in text and self.tokens[index].raw.isupper()
        english = self._text(index + 1).isascii()  # no article stands before an ideograph
        # Any letter may stand where "a" does, so that none of them is read in another way.
        article = word in ARTICLES or self._may_be_label(index)
        return article and english and not own and not self.is_item(index)

    def is_item(self, index: int) -> bool:
        """A letter that numbers what follows it: "A." or "A)" at the start of a line, or "(A)"."""
        if not self._may_be_label(index):
            return False
        before, after = index - 1, index + 1
        if self._text(before) in OPENERS and self._text(after) in CLOSERS:
            return True
        while self._text(before) in OPENERS:
            before -= 1
        return self._text(before) in ("", _BREAK) and self._text(after) in (".", ")", ":", "]")

    def _text(self, index: int) -> str:
        return self.tokens[index].text if 0 <= index < len(self.tokens) else ""

    def _may_be_label(self, index: int) -> bool:
        token = self.tokens[index]
        return (
            len(token.raw) == 1
            and token.text in self.choices.letters
            and index not in self.covered
            and not self._is_glued(token)
        )

    def _is_capital(self, index: int) -> bool:
        known = index < len(self.tokens) and self._may_be_label(index)
        return known and self.tokens[index].raw.isupper()

    def _is_glued(self, token: Token) -> bool:
        """Whether a letter is part of something longer: A-flat, D'Angelo, a.m."""
        text, start, end = self.text, token.start, token.end
        left = start > 1 and text[start - 1] in _GLUE and text[start - 2].isalnum()
        right = end + 1 < len(text) and text[end] in _GLUE and text[end + 1].isalnum()
        if left and text[start - 1] in "/&+":
            left = text[start - 2].casefold() not in self.choices.labels
        if right and text[end] in "/&+":
            right = text[end + 1].casefold() not in self.choices.labels
        elif right and text[end] in ".-":  # "B.piano", but no "a.m."
            right = text[end] == "-" or not text[end + 1 : end + 3].isalpha()
        return left or right

    def _label(self, index: int) -> Mention | None:
        token = self.tokens[index]
        meant = {self.choices.labels[token.text]} if token.text in self.choices.labels else set()
        for words, indices in self.choices.by_first_word.get(token.text, ()):
            meant |= indices if words == (token.text,) else set()
        after = AFTER_LABEL - AFTER_I if token.text == "i" else AFTER_LABEL
        follow = self._follow(index + 1, after)
        own = self._own.get(index + 1)
        if not follow and self._is_capital(index) and self._is_capital(index + 1):
            follow = "word"  # "B D"
        if own is not None and follow == "":
            other = not own & meant and self._text(index + 1).isascii()
            if other or index + 1 in self._after_article:
                return None  # "A piano": an article
            follow = "own"
        bracketed = self.is_bracketed(index, index + 1)
        if not follow and not bracketed:
            return None
        plain = token.raw.isupper() or bracketed
        return Mention(frozenset(meant), index, index + 1, True, plain, follow)

    def _follow(self, index: int, words: frozenset[str]) -> str:
        first = index
        while self._text(index) in CLOSERS:
            index += 1
        if index >= len(self.tokens):
            return "end"
        text = self._text(index)
        if text == _BREAK:
            return "line"
        if text in MARKS or index > first:
            return "mark"
        if index in self.covered:
            return ""
        return "word" if text in words else "verb" if text in VERBS else ""
