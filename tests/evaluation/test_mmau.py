"""MMAU's published rule: parity data, the edge cases it is known for, an independent oracle."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dllm_audio.errors import InvalidArgumentError
from dllm_audio.evaluation import mmau
from parity import load_golden_json

CASES = load_golden_json("scorers")["mmau"]


@pytest.mark.parametrize("case", CASES, ids=range(len(CASES)))
def test_agrees_with_the_official_script(case: dict) -> None:
    got = mmau.is_correct(case["prediction"], case["answer"], case["choices"])
    assert got is case["correct"]


def words(text: str) -> list[str]:
    """Maximal runs of word characters of the lower-cased text, found without a regex."""
    runs, run = [], ""
    for char in text.lower():
        if char == "_" or char.isalnum():
            run += char
        elif run:
            runs.append(run)
            run = ""
    return [*runs, run] if run else runs


def oracle(prediction: str, answer: str, choices: list[str]) -> bool:
    said, right = set(words(prediction)), set(words(answer))
    if not said:
        return False
    if any(word not in said for word in right):
        return False
    for choice in choices:
        other = set(words(choice))
        if other != right and any(word in said for word in other if word not in right):
            return False
    return True


_word = st.sampled_from(
    [
        "dog",
        "Dog",
        "a",
        "F#",
        "44.1kHz",
        "café",
        "CAFE\u0301",
        "İ",
        "ß",
        "x_y",
        "don't",
        "crowd-noise",
        "声音",
        "٣",
        "ﬁ",
        "²",
        "",
    ]
)
_text = st.lists(_word, max_size=4).map(" ".join) | st.text(max_size=8)


@settings(max_examples=300)
@given(st.data())
def test_equals_an_independent_oracle(data: st.DataObject) -> None:
    choices = data.draw(st.lists(_text, min_size=2, max_size=8))
    answer = data.draw(st.sampled_from(choices))
    prediction = data.draw(_text | st.sampled_from(choices).map(lambda c: f"B. {c}"))
    assert mmau.is_correct(prediction, answer, choices) is oracle(prediction, answer, choices)


@pytest.mark.parametrize(
    ("prediction", "answer", "choices", "expected"),
    [
        (None, "dog", ["dog", "cat"], False),
        ("", "dog", ["dog", "cat"], False),
        (" \n", "dog", ["dog", "cat"], False),
        ("...", "!", ["!", "?"], False),  # no token in the prediction
        ("dog", "!", ["!", "?"], True),  # an answer without tokens asks for nothing
        ("A", "A dog", ["A dog", "cat"], False),
        ("A. dog", "dog", ["dog", "a cat"], False),  # "a" belongs to another choice
        ("A. dog", "dog", ["dog", "cat"], True),
        ("DOG", "dog", ["dog", "Dog!"], True),  # the same token set is ignored
        ("dog and male 3", "dog 3 male", ["male 3", "dog 3 male"], True),
        ("F#", "F", ["F", "F#"], True),  # the sign is no word character
        ("dog\ncat", "dog", ["dog", "cat"], False),
        ("cafe\u0301", "café", ["café", "tea"], False),  # not normalized
        ("I\u0307", "İ", ["İ", "x"], True),  # lower-casing splits both alike
        ("dog", "dog", ["dog", None], True),
    ],
)
def test_edges_of_the_official_rule(prediction, answer, choices, expected) -> None:
    assert mmau.is_correct(prediction, answer, choices) is expected


def test_an_answer_that_fits_no_choice_is_unreadable_and_a_wrong_one_is_not() -> None:
    choices = ["dog bark", "cat"]
    wrong = mmau.judge("cat", "dog bark", choices)
    assert (wrong.correct, wrong.valid, wrong.choice) == (False, True, 1)
    assert not mmau.judge("dog", "dog bark", choices).valid
    assert not mmau.judge("dog bark and cat", "dog bark", choices).valid
    assert not mmau.judge(None, "dog bark", choices).valid


def test_robust_mends_letters_and_their_collisions() -> None:
    choices = ["dog", "a cat"]
    for prediction in ("A", "(A)", "A. dog", "a.", "The answer is A.", "dog", "It is a dog!"):
        assert mmau.is_correct(prediction, "dog", choices, mode="robust"), prediction
        assert not mmau.is_correct(prediction, "a cat", choices, mode="robust"), prediction


@pytest.mark.parametrize(
    ("arguments", "name"),
    [
        (("dog", "dog", ["dog", "cat"], "strict"), "mode"),
        ((3, "dog", ["dog", "cat"]), "prediction"),
        (("dog", None, ["dog", "cat"]), "answer"),
        (("dog", "dog", "dog"), "choices"),
        (("dog", "dog", ["dog", 3]), r"choices\[1\]"),
    ],
)
def test_bad_arguments_are_named(arguments: tuple, name: str) -> None:
    with pytest.raises(InvalidArgumentError, match=f"^{name}: expected"):
        mmau.is_correct(*arguments)


def test_prompt_is_the_published_one() -> None:
    assert mmau.build_prompt("What is it?", ["dog", "cat"]) == (
        "You are given the audio and a multiple-choice question. Choose the best answer based "
        "only on the speech content and style.\n\nQuestion: What is it?\n\nChoices:\nA. dog\n"
        "B. cat\nAnswer:"
    )
