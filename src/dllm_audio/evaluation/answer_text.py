"""Take an answer's wrapping off and cut what is left into words and marks.

Markup, LaTeX, end tokens, quotes, full-width and invisible characters say nothing about which
choice is meant.  Every rule here takes time linear in what is read.
"""

from __future__ import annotations

import re
import unicodedata
from typing import NamedTuple

HEAD, TAIL = 4000, 4000  # characters that are read of a longer answer

_INVISIBLE = re.compile(r"[\x00-\x08\x0e-\x1f\x7f-\x9f\ufe00-\ufe0f\ud800-\udfff]")
_LINE_ENDS = re.compile(r"\r\n?|[\v\f\x85\u2028\u2029]")
# What is written differently and means the same.
_SAME = str.maketrans(
    "\u2018\u2019\u201a\u02bc\u2032\u201c\u201d\u201e\u300c\u300d\u300e\u300f\u00ab\u00bb"
    "\u2212\u2010\u2011\u2012\u2013\u2014\u2192\u21d2\u2044\u3002\u3001\u3010\u3011\u2022",
    "'''''" + '"' * 9 + "-" * 6 + "::/.,[]*",
)
_ENDS = re.compile(
    r"</s>|<eos>|<pad>|<end_of_turn>"
    r"|<\|(?:eot_id|endoftext|im_end|end_of_text|end|eos|eom_id|return)\|>",
    re.IGNORECASE,
)
_SPECIAL = re.compile(r"<s>|<bos>|<unk>|<\|[^|<>\n]{1,40}\|>", re.IGNORECASE)
_SPEAKER = re.compile(r"\A\s*(?:assistant|model)\s*(?::|\n)", re.IGNORECASE)
_THOUGHT = re.compile(r"<(think|thinking|reasoning)>.*?(?:</\1>|\Z)", re.DOTALL | re.IGNORECASE)
_MARKED = re.compile(r"<answer>(.*?)(?:</answer>|\Z)", re.DOTALL | re.IGNORECASE)
_BOXED = re.compile(r"\\(?:boxed|fbox)\s*\{")
_PAIRED_TAG = re.compile(
    r"</?(?:b|i|u|s|em|strong|p|div|span|br|code|answer|option|choice)\s*/?>", re.IGNORECASE
)
# A dash between words sets them off; one between letters or digits joins them.
_LONG_DASH = re.compile(r"(?<!\d)\u2014|\u2014(?!\d)")
_STRUCK = re.compile(r"~~[^~\n]{1,200}~~")
_LATEX = re.compile(r"\\[A-Za-z]+\*?|\\[()\[\]\\,;:! ]|\$")
_LINE_START = re.compile(r"^(?:[ \t]*(?:#+|>+|[-*+](?=[ \t])))+[ \t]*", re.MULTILINE)
_RULE = re.compile(r"^[ \t]*(?:[-=_*][ \t]*){3,}$", re.MULTILINE)
_EMPHASIS = re.compile(r"[*`\"]+|(?<!\w)_+|_+(?!\w)|(?<!\w)'+|'+(?!\w)")
# Marks that judge what stands before them.
_TICKS = re.compile("[\u2705\u2713\u2714\u2611]\ufe0f?")
_CROSSES = re.compile("[\u274c\u2717\u2718\u2716\u274e]\ufe0f?")
# Chinese is read through the English words of the grammar.
_CHINESE = {
    " wrong ": "\u4e0d\u6b63\u786e \u4e0d\u5bf9 \u9519\u8bef \u9519\u7684",
    " not ": "\u4e0d\u9009 \u800c\u4e0d\u662f",
    " except ": "\u9664\u4e86",
    " exclude ": "\u6392\u9664",
    " no ": "\u6ca1\u6709",
    " correct ": "\u5bf9\u7684",
    " is correct ": "\u6b63\u786e \u6b63\u786e\u7684",
    " correct is ": "\u6b63\u786e\u7684\u662f",
    " correct answer ": "\u6b63\u786e\u7b54\u6848 \u6b63\u786e\u7684\u7b54\u6848",
    " correct option ": "\u6b63\u786e\u9009\u9879 \u6b63\u786e\u7684\u9009\u9879",
    " answer ": "\u7b54\u6848",
    " choose ": "\u9009\u62e9 \u9009",
    " option ": "\u9009\u9879",
    " is not ": "\u4e0d\u662f \u4e0d\u4f1a\u662f \u4e0d\u53ef\u80fd\u662f \u5e76\u975e",
    " but ": "\u800c\u662f",
    " is ": "\u662f \u4e3a",
    " think ": "\u8ba4\u4e3a",
    " because ": "\u56e0\u4e3a \u7531\u4e8e",
    " so ": "\u6240\u4ee5 \u56e0\u6b64",
    " or ": "\u6216\u8005 \u6216",
    " and ": "\u548c \u4e0e \u53ca",
    " should ": "\u5e94\u8be5 \u5e94",
}
_CHINESE_WORD = {word: english for english, words in _CHINESE.items() for word in words.split()}
_CHINESE_WORDS = re.compile("|".join(sorted(_CHINESE_WORD, key=len, reverse=True)))

_IDEOGRAPH = "\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uac00-\ud7af"
_LETTER = rf"(?:(?![{_IDEOGRAPH}])[^\W_])"
_TOKENS = re.compile(
    rf"(?P<word>(?<![^\W_])[-+]?\.?\d+(?:[.,:/-]\d+)*%?[A-Za-z\u00b0\u00b5]*"  # -1.5s
    rf"|[{_IDEOGRAPH}]"
    rf"|\u00b0?{_LETTER}(?:{_LETTER}|[#+_])*(?:'{_LETTER}+)*)"
    r"|(?P<line>\n)|(?P<mark>[^\s])"
)
_NUMBER = re.compile(r"([-+]?)(\.?\d[\d.,:/-]*%?)([A-Za-z\u00b0\u00b5]*)")
_UNITS = frozenset(
    (
        *("s", "sec", "secs", "second", "seconds", "ms", "min", "mins", "h", "hz", "khz", "mhz"),
        *("db", "bpm", "m", "cm", "mm", "km", "kg", "g", "l", "ml"),
    )
)
_THOUSANDS = re.compile(r"\d{1,3}(?:,\d{3})+(?:\.\d+)?")
_DECIMAL = re.compile(r"\d*\.\d+")


class Token(NamedTuple):
    """A word, a number, a mark or a line's end, and where it stands.

    Attributes:
        text: case-folded.
        raw: as written.
        start: offset of its first character.
        end: offset behind its last.
        is_word: a word or a number.
    """

    text: str
    raw: str
    start: int
    end: int
    is_word: bool


def bounded(text: str) -> str:
    """A text of bounded length: of a longer one the beginning and the end, as two paragraphs."""
    return text if len(text) <= HEAD + TAIL else f"{text[:HEAD]}\n\n{text[-TAIL:]}"


def marked_answers(text: str) -> list[str]:
    r"""What stands in ``<answer>...</answer>`` or ``\boxed{...}``, thoughts left out."""
    text = _THOUGHT.sub("\n", text)
    found = [match[1] for match in _MARKED.finditer(text)]
    end = 0
    for match in _BOXED.finditer(text):
        if match.start() < end:  # inside the one before
            continue
        depth, end = 1, match.end()
        while end < len(text) and depth:
            depth += (text[end] == "{") - (text[end] == "}")
            end += 1
        found.append(text[match.end() : end - (depth == 0)])
    return [each for each in found if each.strip()]


def plain_text(text: str, *, is_choice: bool = False) -> str:
    r"""The text without wrapping, in NFKC; lines are kept.

    Args:
        text: an answer or a choice.
        is_choice: end tokens and thoughts are no part of a choice, and are left as they are.

    Example:
        >>> plain_text("**Answer:** $\\text{B}$</s>")
        'Answer:    {B}'
    """
    text = _LINE_ENDS.sub("\n", _INVISIBLE.sub(" ", _LONG_DASH.sub(" - ", text)))
    if not is_choice:
        text = _without_specials(text)
    text = unicodedata.normalize("NFKC", text).translate(_SAME)
    text = "".join(c for c in text if c.isascii() or unicodedata.category(c) != "Cf")
    text = _PAIRED_TAG.sub(" ", text) if "</" in text or "<br" in text else text
    text = _LATEX.sub(" ", _STRUCK.sub(" ", text))
    if not is_choice:
        text = _CROSSES.sub(" is wrong ", _TICKS.sub(" is correct ", text))
        text = _LINE_START.sub("", _RULE.sub("", text))
    return _EMPHASIS.sub(" ", _CHINESE_WORDS.sub(lambda m: _CHINESE_WORD[m[0]], text)).strip()


def _without_specials(text: str) -> str:
    """What stands behind thoughts and before the first end token that ends something."""
    text = _THOUGHT.sub("\n", text.rpartition("</think>")[2])
    ended = _SPECIAL.sub(" ", _ENDS.sub("\0", text)).lstrip("\0 \n\t").partition("\0")[0]
    return _SPEAKER.sub("", ended, count=1) if "<|" in text else ended


def tokenize(text: str) -> list[Token]:
    """Words, numbers, marks and line ends of a plain text.

    Numbers are whole, with sign and decimals; a unit that is glued to one stands for itself.

    Example:
        >>> [token.text for token in tokenize("It's -1.50s, I'd say.")]
        ['it', "'s", '-1.5', 's', ',', 'i', "'d", 'say', '.']
    """
    found: list[Token] = []
    for match in _TOKENS.finditer(text):
        raw, start, end = match[0], *match.span()
        if match.lastgroup != "word":
            found.append(Token(raw, raw, start, end, is_word=False))
        elif number := _NUMBER.fullmatch(raw):
            found += _number(number, start)
        else:
            stem, mark, ending = raw.partition("'")
            if mark and ending.casefold() in ("s", "d", "ll", "m", "re", "ve"):
                middle = start + len(stem)
                found.append(Token(stem.casefold(), stem, start, middle, is_word=True))
                raw, start = mark + ending, middle
            found.append(Token(raw.casefold(), raw, start, end, is_word=True))
    return found


def _number(match: re.Match[str], start: int) -> list[Token]:
    sign, digits, unit = match.groups()
    ending = unit if unit.casefold() in _UNITS else ""
    if _THOUSANDS.fullmatch(digits):
        digits = digits.replace(",", "")
    if _DECIMAL.fullmatch(digits):
        whole, _, part = digits.partition(".")
        digits = ".".join(filter(None, (whole or "0", part.rstrip("0"))))
    text = sign.replace("+", "") + digits + ("" if ending else unit.casefold())
    middle = start + len(match[0]) - len(ending)
    made = [Token(text, match[0], start, middle, is_word=True)]
    if ending:
        made.append(Token(ending.casefold(), ending, middle, start + len(match[0]), is_word=True))
    return made
