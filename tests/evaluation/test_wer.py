"""Word error rate against a plain edit distance, and the rule for missing hypotheses."""

from __future__ import annotations

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dllm_audio.errors import InvalidArgumentError
from dllm_audio.evaluation.wer import (
    WordErrors,
    english_normalizer,
    normalizer_description,
    word_errors,
)

_sentence = st.lists(st.sampled_from(["cat", "dog", "sat", "mat"]), max_size=6).map(" ".join)


def edit_distance(reference: list[str], hypothesis: list[str]) -> int:
    row = list(range(len(hypothesis) + 1))
    for i, said in enumerate(reference, 1):
        previous, row[0] = row[0], i
        for j, heard in enumerate(hypothesis, 1):
            previous, row[j] = row[j], min(row[j] + 1, row[j - 1] + 1, previous + (said != heard))
    return row[-1]


@settings(max_examples=60)
@given(st.lists(st.tuples(_sentence, st.none() | _sentence), min_size=1, max_size=5))
def test_counts_equal_a_plain_edit_distance(pairs) -> None:
    references, hypotheses = zip(*pairs, strict=True)
    got = word_errors(references, hypotheses)
    words = sum(len(r.split()) for r in references)
    errors = sum(edit_distance(r.split(), (h or "").split()) for r, h in pairs)
    assert got.substitutions + got.deletions + got.insertions == errors
    assert got.reference_words == words
    assert got.missing == sum(h is None for h in hypotheses)
    assert got.utterances == len(pairs)
    assert math.isnan(got.wer) if words == 0 else got.wer == errors / words


def test_a_missing_hypothesis_counts_as_all_deleted() -> None:
    got = word_errors(["one two three", "four"], [None, "four"], normalize=str)
    assert (got.deletions, got.hits, got.missing) == (3, 1, 1)
    assert got.wer == 0.75
    assert word_errors(["one two three"], [""], normalize=str).missing == 0


def test_both_sides_are_normalized_as_whisper_does() -> None:
    got = word_errors(
        ["MISTER SMITH WON'T PAY TWENTY ONE DOLLARS"], ["Mr. Smith, uh, will not pay $21!"]
    )
    assert got.wer == 0.0


# openai-whisper leaves its table of spellings open.
@pytest.mark.filterwarnings("ignore::ResourceWarning")
@pytest.mark.parametrize(
    "text",
    ["Colour & flavour", "it's 3:30 p.m.", "[noise] um, hello (laughs)", "£5 million, 2nd of May",
     "naïve café", "one hundred and one", ""],
)  # fmt: skip
def test_normalizer_agrees_with_the_one_of_whisper(text: str) -> None:
    whisper = pytest.importorskip("whisper.normalizers")
    assert english_normalizer()(text) == whisper.EnglishTextNormalizer()(text)


def test_empty_corpora_and_lengths() -> None:
    assert word_errors([], []) == WordErrors()
    assert WordErrors().to_json()["wer"] is None
    with pytest.raises(InvalidArgumentError, match="hypotheses"):
        word_errors(["one"], [])


def test_the_description_names_all_three_packages_with_versions() -> None:
    assert normalizer_description().count(".") >= 3
    for package in ("transformers", "openai-whisper", "jiwer 4"):
        assert package in normalizer_description()
