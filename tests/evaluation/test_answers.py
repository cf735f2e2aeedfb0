"""The table of answers in the documentation, and laws of reading them."""

from __future__ import annotations

import re
from itertools import permutations
from pathlib import Path
from string import ascii_uppercase

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dllm_audio.evaluation import mmau
from dllm_audio.evaluation.answer_text import HEAD, TAIL
from dllm_audio.evaluation.robust import read_choice

PAGE = Path(__file__).parents[2] / "docs" / "evaluation_answers.md"
_ESCAPES = {r"\n": "\n", r"\|": "|", r"\\": "\\"}


def table() -> list[tuple[list[str], str, int | None]]:
    """Choices, answer and reading of every line of the page."""
    found = []
    for part in re.split(r"^Over ", PAGE.read_text(encoding="utf-8"), flags=re.MULTILINE)[1:]:
        title, _, rows = part.partition(":\n")
        choices = re.findall(r"\*\*[A-Z]\*\* ([^,]+)", title)
        for shown, read in re.findall(r"^\| (.+) \| ([A-Z-]) \|$", rows, flags=re.MULTILINE):
            code = re.fullmatch(r"(`+) ?(.*?) ?\1", shown)
            answer = code[2] if code else ""
            answer = re.sub(r"\\n|\\\||\\\\", lambda m: _ESCAPES[m[0]], answer)
            found.append((choices, answer, None if read == "-" else ascii_uppercase.index(read)))
    return found


@pytest.mark.parametrize(("choices", "answer", "index"), table(), ids=lambda v: repr(v)[:60])
def test_the_table(choices: list[str], answer: str, index: int | None) -> None:
    assert read_choice(answer, choices) == index


def test_the_table_is_read_whole() -> None:
    lines = PAGE.read_text(encoding="utf-8").split("## Examples")[1].splitlines()
    headers = 2 * sum(line.startswith("Over ") for line in lines)
    assert len(table()) == sum(line.startswith("|") for line in lines) - headers
    assert len(table()) > 240


TEXTS = ["violin", "grand piano", "guitar", "trumpet", "flute", "harp", "cello", "organ"]
# L a letter, T the text of that choice, X another letter.
TEMPLATES = [
    *("L", "L.", "(L)", "[L]", "L)", "**L**", "$L$", r"\boxed{L}", "<answer>L</answer>", "L</s>"),
    *("Answer: L", "The answer is L.", "I'd go with L here", "L because it is bowed", "L. T", "T"),
    *("the correct option would be (L)", "Answer: L. Because I hear it", "I choose option L"),
    *("L is correct", "L is wrong", "X is wrong, the answer is L", "not X but L", "L, not X"),
    *("L/X", "L or X", "L and X", "L, X", "L\nX", "(L) (X)", "It is L", "It's (L)", "It is not L"),
    *("答案是L", "选L", "Lhase", "L dog", "L-flat", "I think L is right", "It decays.\n\nL. T"),
    *("L fits best", "Option L: T", "L as X is quiet", "L, X is quiet", "L. X is quiet", "T (X)"),
    *("L is heard, X is not", "between L and X", "L T", "neither L nor X", "L rather than X"),
    *("the wrong answer is L", "Incorrect: L", "L: no", "L (correct)", "L ❌ X ✅", "L? No, X."),
    *("although X fits, the answer is L", "I doubt it is L", "anything but L", "ruling out X, L"),
    *("L is less likely than X", "L X", "L) T X) Y", "The answer is L. No, X.", "L or more"),
    *("The answer is L. Y", "L option is correct", "L错误 X正确", "除了L", "unlikely to be L"),
    *("It is l", "answer: l", "(l)", "l.", "l because I hear it", "we hear l"),
]


def filled(template: str, letter: int, other: int, texts: list[str]) -> str:
    one, two = ascii_uppercase[letter], ascii_uppercase[other]
    words = {"L": one, "l": one.lower(), "X": two, "T": texts[letter], "Y": texts[other]}
    pattern = r"(?<![A-Za-z])([LXTYl])(?![A-Za-z'])|^L(?=hase)"
    return re.sub(pattern, lambda m: words[m[0]], template)


@pytest.mark.parametrize("template", TEMPLATES)
def test_no_letter_is_read_more_easily_than_another(template: str) -> None:
    readings = set()
    for letter, other in permutations(range(len(TEXTS)), 2):
        read = read_choice(filled(template, letter, other, TEXTS), TEXTS)
        readings.add(None if read is None else {letter: "L", other: "X"}[read])
    assert len(readings) == 1, readings


_words = st.sampled_from(
    [
        *("L", "X", "T", "l", "(L)", "**L**", "The answer is", "it is", "not", "but", "or", "/"),
        *(",", ".", "\n", ":", "because it decays", "is wrong", "is correct", "I choose", "option"),
        *("?", "No,", "less likely than", "rather", "although", "wrong answer is", "I doubt", "✅"),
        *("❌", "ruling out", "anything but", "than", "or more", "option", "X.", "then", "(L"),
        *("I hear", "</s>", "Answer:", "sound", "so", "rather than", "答案是", "-", "loud"),
    ]
)


@settings(max_examples=300)
@given(st.lists(_words, max_size=8).map(" ".join), st.permutations(range(5)))
def test_permuting_the_letters_permutes_the_verdicts(template: str, order: list[int]) -> None:
    before = read_choice(filled(template, 0, 1, TEXTS[:5]), TEXTS[:5])
    texts = [""] * 5
    for old, new in enumerate(order):
        texts[new] = TEXTS[old]
    after = read_choice(filled(template, order[0], order[1], texts), texts)
    assert after == (None if before is None else order[before])


@pytest.mark.parametrize("at", [0, 3, 7, 25])
def test_every_letter_of_the_alphabet_is_read(at: int) -> None:
    texts = [f"sound number {i}" for i in range(26)]
    letter = ascii_uppercase[at]
    for form in (f"{letter}", f"Answer: {letter}", f"({letter}) {texts[at]}", f"It is {letter}."):
        assert read_choice(form, texts) == at


def test_i_is_a_word_before_it_is_a_letter() -> None:
    texts = [f"sound number {i}" for i in range(12)]
    for answer in ("I would say it is loud", "I think so", "I am sure", "I, too, hear it"):
        assert read_choice(answer, texts) in (None, 8)
    assert read_choice("I would go with B", texts) == 1
    assert read_choice("I think it is C", texts) == 2


@pytest.mark.parametrize(
    "piece",
    [
        *("a", "A ", "A or ", "not A. ", "(", "((A))", "<", "<answer>", r"\boxed{", "\\", "*", "_"),
        *("</s>", "<|eot_id|>", "<think>", "</think>", "piano ", "piano piano guitar ", "\n", " "),
        *("the answer is ", "1.", "-1,", "'", "A'", "\u0301\u0327", "答案是", "~~", "A. violin\n"),
        *("\ufdfa", "\u200b", "# ", "> ", "- ", "B because ", "I'd ", "\ud800", "\x00", "$", "{"),
    ],
)
def test_a_long_answer_is_read_in_part(piece: str) -> None:
    """What stands in the middle cannot matter: the work is bounded, whatever the length."""
    answer = piece * (100_000 // len(piece))
    choices = ["violin", "piano piano guitar", "a a a a a a", "(", *["piano " * 50] * 4]
    short = f"{answer[:HEAD]}\n\n{answer[-TAIL:]}"
    assert read_choice(answer, choices) == read_choice(short, choices)
    middle = f"{answer[:HEAD]}{'The answer is B. ' * 10}{answer[-TAIL:]}"
    assert read_choice(middle, choices) == read_choice(short, choices)


def test_an_answer_behind_a_long_explanation_is_read() -> None:
    assert read_choice("It decays. " * 9000 + "\nThe answer is B.", TEXTS) == 1


def test_published_rules_are_untouched() -> None:
    assert not mmau.is_correct("<answer>B</answer>", "b c", ["a", "b c"])
    assert mmau.is_correct("<answer>B</answer>", "b c", ["a", "b c"], mode="robust")
