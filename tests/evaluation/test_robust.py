"""What the robust reader understands, and what it must refuse to guess."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dllm_audio.evaluation.robust import normalize, read_choice

CHOICES = ["violin", "a piano", "two drums", "drums"]


@pytest.mark.parametrize(
    ("prediction", "index"),
    [
        ("A", 0), ("b", 1), ("(C)", 2), ("[d]", 3), ("D.", 3), ("**B**", 1), ("'C'", 2), ("B)", 1),
        ("B. a piano", 1), ("b) A piano", 1), ("B: because the tone decays", 1), ("**C**: x", 2),
        ("C - two drums", 2), ("B\nIt decays.", 1), ("B a piano", 1), ("(B)a piano", 1),
        ("Violin.", 0), ("  VIOLIN\n", 0), ("A piano", 1), ("\uff36iolin", 0),
        ("The answer is C.", 2), ("the correct answer: (d)", 3), ("Answer: B", 1),
        ("I would choose option B because it decays", 1), ("Option B is correct.", 1),
        ("I hear a violin playing", 0), ("There are two drums", 2), ("It must be drums", 3),
        ("violin, not a piano", 0), ("It is not A. It is B.", 1), ("not a piano but drums", 3),
        ("I think it is B", 1), ("I think (C) fits", 2), ("It isn't A, it is D", 3),
    ],
)  # fmt: skip
def test_reads(prediction: str, index: int) -> None:
    assert read_choice(prediction, CHOICES) == index


@pytest.mark.parametrize(
    "prediction",
    [
        "", " ", "None", "Because it is loud", "Dogs bark", "A dog barks", "E", "E. thunder",
        "A or B", "A, B", "A and B", "violin and drums", "A. drums", "D'Angelo sings", "...",
        "A-flat", "It is not A", "guitar", "The answer is a mystery", "(A) (B)", "\x00", "\ud800",
    ],
)  # fmt: skip
def test_refuses_to_guess(prediction: str) -> None:
    assert read_choice(prediction, CHOICES) is None


def test_a_bare_letter_that_is_also_another_choice_is_ambiguous() -> None:
    assert read_choice("A", ["C", "A"]) is None
    assert read_choice("B. A", ["C", "A"]) == 1
    assert read_choice("A", ["A", "C"]) == 0


def test_a_missing_choice_has_no_letter() -> None:
    assert read_choice("C", ["x", "y", None, None]) is None


def test_signs_inside_a_word_distinguish_choices() -> None:
    assert read_choice("it is in F# minor", ["F minor", "F# minor"]) == 1
    assert read_choice("it is in F minor", ["F minor", "F# minor"]) == 0


def test_choices_that_deny_things_are_read_with_their_denial() -> None:
    assert read_choice("the man does not agree", ["agree", "does not agree"]) == 1


_choices = st.lists(
    st.text(alphabet="abcxyz ", min_size=2, max_size=8).filter(lambda t: len(normalize(t)) > 1),
    min_size=2, max_size=6, unique_by=normalize,
)  # fmt: skip


@settings(max_examples=150)
@given(_choices, st.data())
def test_own_letter_and_own_text_are_always_read(choices: list[str], data: st.DataObject) -> None:
    index = data.draw(st.integers(0, len(choices) - 1))
    letter, text = "ABCDEF"[index], choices[index]
    forms = [text, text.upper(), f"{letter}. {text}", f"({letter}) {text}", f"{letter}: {text}"]
    for form in forms:
        assert read_choice(form, choices) == index, form


@settings(max_examples=150)
@given(st.text(max_size=12), st.lists(st.none() | st.text(max_size=6), max_size=6))
def test_never_fails_and_never_invents_a_choice(prediction: str, choices: list) -> None:
    read = read_choice(prediction, choices)
    assert read is None or choices[read] is not None
