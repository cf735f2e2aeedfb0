"""MMSU's published rule: parity data, its quirks, an independent oracle, the aggregates."""

from __future__ import annotations

from collections.abc import Mapping

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dllm_audio.errors import InvalidArgumentError
from dllm_audio.evaluation import mmsu
from dllm_audio.evaluation.benchmarks import MMSU
from dllm_audio.evaluation.questions import Item
from dllm_audio.evaluation.scoring import Tally
from parity import load_golden_json

GOLDEN = load_golden_json("scorers")
CASES = GOLDEN["mmsu"]
CHOICES = ["one", "two", "three", "four"]


@pytest.mark.parametrize("case", CASES, ids=range(len(CASES)))
def test_agrees_with_the_official_script(case: dict) -> None:
    choices = [case.get(field) for field in mmsu.CHOICE_FIELDS]
    assert mmsu.is_correct(case["response"], case["answer_gt"], choices) is case["correct"]


def aggregate(rows: list[dict]) -> Mapping[str, Mapping[str, Tally]]:
    """Tallies of the official rule for rows that hold their own predictions."""
    items = [
        Item(str(i), "", row["answer_gt"], row, tuple(map(row.get, mmsu.CHOICE_FIELDS)))
        for i, row in enumerate(rows)
    ]
    return MMSU.score(items, [row.get("response") for row in rows]).modes["official"].groups


def test_aggregates_agree_with_the_official_script() -> None:
    expected = GOLDEN["mmsu_aggregate"]
    got = aggregate(CASES)
    overall = got["overall"]["all"]
    assert overall.total == expected["total"]
    assert overall.accuracy == expected["overall"]
    assert {k: v.accuracy for k, v in got["category"].items()} == expected["category"]
    pairs = {k: [v.correct, v.total] for k, v in got["category/sub-category"].items()}
    assert pairs == expected["sub_category"]


def test_every_level_adds_up_and_both_denominators_are_kept() -> None:
    got = aggregate(CASES)
    overall = got["overall"]["all"]
    deepest = got["category/sub-category/sub-sub-category"]
    assert all(name.count("/") == 2 for name in deepest)
    for groups in got.values():
        assert sum(t.total for t in groups.values()) == overall.total
        assert sum(t.correct for t in groups.values()) == overall.correct
        assert sum(t.valid for t in groups.values()) == overall.valid
    wrong_format = sum(mmsu.official_letter(c["response"]) is None for c in CASES)
    assert overall.total - overall.valid == wrong_format > 0
    assert overall.accuracy_of_valid == overall.correct / (overall.total - wrong_format)
    assert overall.invalid_share == pytest.approx(wrong_format / overall.total)


def test_a_row_without_prediction_counts_in_all_rows_only() -> None:
    row = {"choice_a": "x", "choice_b": "y", "answer_gt": "x", "category": "P"}
    got = aggregate([{**row, "response": "A"}, row])
    tally = got["overall"]["all"]
    assert (tally.correct, tally.valid, tally.total) == (1, 1, 2)
    assert (tally.accuracy, tally.accuracy_of_valid) == (0.5, 1.0)
    assert "category/sub-category" not in got


@pytest.mark.parametrize(
    ("prediction", "letter"),
    [
        (None, None), ("", None), ("  ", None), ("None", None), ("\nNone\n", None), ("\n\n", None),
        ("A", "A"), ("a", None), (" B", "B"), ("\u3000C", "C"), ("Because it is loud", "B"),
        ("Dogs bark", "D"), ("(C)", "C"), ("'D'", "D"), ("The answer is B.", "B"), ("E", None),
        ("xA", None), ("xAy", "A"), ("x\nA\ny", "A"), ("x\nB", None), ("x A\n", None),
        ("\n A", "A"), ("x\r\nA.", "A"), ("A\u0301", "A"), ("\uff21", None), ("DC", "D"),
        (".A", None),
        ("\ufeffA", None), ("\ufeffA.", "A"), ("\x1cB", "B"), ("1A\n.", "A"), ("A ", "A"),
        ("t.\nC", None), ("the answer is C ", None), ("C", "C"), ("x\u2028A", None),
    ],
)  # fmt: skip
def test_letter_that_the_official_rule_reads(prediction: str | None, letter: str | None) -> None:
    assert mmsu.official_letter(prediction) == letter
    for index, candidate in enumerate("ABCD"):
        assert mmsu.is_correct(prediction, CHOICES[index], CHOICES) is (candidate == letter)


def oracle(prediction: str | None, answer: str, choices: list[str | None]) -> bool:
    """The rule once more, character by character."""
    if prediction is None:
        return False
    text = "".join(c for c in prediction.strip() if c != "\n")
    table = dict(zip("ABCD", choices, strict=False))
    if text == "" or text == "None":
        return False
    for position in (0, len(text) - 2):
        if position >= 0 and text[position] in "ABCD":
            return table.get(text[position]) is not None and table[text[position]] == answer
    return False


@settings(max_examples=300)
@given(
    prediction=st.none() | st.text(alphabet="ABCDabE.()'\n \r\tN\u0301\u3000\u200b", max_size=6),
    choices=st.lists(st.sampled_from(["x", "y", "X", None, ""]), min_size=2, max_size=4),
    answer=st.sampled_from(["x", "y", "X", ""]),
)
def test_equals_an_independent_oracle(prediction, choices, answer) -> None:
    assert mmsu.is_correct(prediction, answer, choices) is oracle(prediction, answer, choices)


def test_a_letter_without_a_choice_is_readable_but_wrong() -> None:
    for choices in (["x", "y", None, None], ["x", "y"]):
        verdict = mmsu.judge("D", "x", choices)
        assert (verdict.correct, verdict.valid) == (False, True)


def test_answer_text_is_compared_exactly() -> None:
    assert not mmsu.is_correct("A", "Yes", ["yes", "no"])
    assert not mmsu.is_correct("A", "yes ", ["yes", "no"])
    assert mmsu.is_correct("B", "same", ["same", "same"])


def test_robust_mode_mends_words_that_open_with_a_letter() -> None:
    verdict = mmsu.judge("Because it is loud", "two", CHOICES, mode="robust")
    assert not verdict.valid
    assert mmsu.judge("Because it is loud", "two", CHOICES).correct
    assert mmsu.is_correct("b", "two", CHOICES, mode="robust")
    assert mmsu.is_correct("The answer is C", "three", CHOICES, mode="robust")


def test_unknown_mode_is_refused() -> None:
    with pytest.raises(InvalidArgumentError, match="mode"):
        mmsu.is_correct("A", "one", CHOICES, mode="lenient")


def test_prompt_is_the_published_one() -> None:
    assert mmsu.build_prompt("Who?", ["he", "she", None, None]) == (
        "Choose the most suitable answer from options A, B, C, and D to respond the question in "
        "next line, **you should only choose A or B or C or D.** Do not provide any additional "
        "explanations or content.\n\nQuestion: Who?\n\nA. he\nB. she"
    )
