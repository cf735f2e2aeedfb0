"""Words, alignments, drafts, scores: the parts below the transcriber."""

from __future__ import annotations

import math
from itertools import pairwise

import hypothesis.strategies as st
import pytest
import torch
from hypothesis import given, settings

from dllm_audio import condition
from dllm_audio.errors import InvalidArgumentError
from dllm_audio.priors import (
    EditRule,
    Hypothesis,
    Word,
    align,
    compare,
    draft_from,
    rescore,
    share_out,
)
from small_parts import EOS as LLADA_EOS
from small_parts import small_llada

from .oracle import EOS, LENGTH, MASK, VOCAB, Oracle, WordTokenizer, said

letters = st.lists(st.sampled_from("abc"), max_size=6)


def distance(first: list[str], second: list[str]) -> int:
    """Levenshtein's, by its definition."""
    if not first or not second:
        return len(first) + len(second)
    return min(
        distance(first[1:], second) + 1,
        distance(first, second[1:]) + 1,
        distance(first[1:], second[1:]) + (first[0] != second[0]),
    )


@settings(max_examples=60)
@given(first=letters, second=letters)
def test_an_alignment_holds_every_word_once_at_the_least_cost(
    first: list[str], second: list[str]
) -> None:
    pairs = align(first, second)
    assert [i for i, _ in pairs if i is not None] == list(range(len(first)))
    assert [j for _, j in pairs if j is not None] == list(range(len(second)))
    errors = sum(i is None or j is None or first[i] != second[j] for i, j in pairs)
    assert errors == distance(first, second)


def test_differences_are_cut_as_finely_as_they_can_be() -> None:
    rule = EditRule()
    prior = Hypothesis.from_text("a b c d e f g")
    found = compare(prior, ["a", "x", "y", "d", "e", "g"], rule)
    assert [(e.start, e.end, e.after) for e in found.edits] == [
        *[(1, 2, ("x",)), (2, 3, ("y",)), (5, 6, ())]
    ]
    assert found.agreement == 4 / 7
    # Where numbers differ, nobody can say which word stands for which.
    found = compare(Hypothesis.from_text("a b c d"), ["a", "x", "y", "z", "d"], rule)
    assert [(e.start, e.end, e.after) for e in found.edits] == [(1, 3, ("x", "y", "z"))]
    # Words that are too many go one by one.
    found = compare(Hypothesis.from_text("a b c d"), ["a", "d"], rule)
    assert [(e.start, e.end, e.after) for e in found.edits] == [(1, 2, ()), (2, 3, ())]
    # Case and punctuation are no differences, and what is only punctuation is no word.
    assert compare(Hypothesis.from_text('"A, -- b!'), ["a", "b"], rule).edits == ()


def test_a_stretch_with_a_sure_word_is_left_alone() -> None:
    prior = Hypothesis.from_text("a b c d", [0.5, 0.5, 0.99, 0.5])
    rule = EditRule(threshold=0.0)
    assert compare(prior, ["a", "x", "d"], rule).edits == ()
    single = compare(prior, ["a", "x", "y", "d"], rule).edits
    assert [(e.start, e.end, e.bar) for e in single] == [(1, 2, 0.5)]


def test_the_bar_of_a_change_is_the_surest_word_it_would_cost() -> None:
    prior, rule = Hypothesis.from_text("a b c d", [0.5, 0.3, 0.7, 0.6]), EditRule(threshold=0.0)
    for heard, bar in (("axd", 0.7), ("abcxd", 0.6), ("abcdx", 0.6), ("abc", 1 - 0.4**2)):
        assert [e.bar for e in compare(prior, list(heard), rule).edits] == pytest.approx([bar])
    # Whatever the prior says, a change is sure enough to be committed.
    for heard, bar in (("axd", 0.9), ("abcxd", 0.9), ("abc", 0.99)):
        assert [e.bar for e in compare(prior, list(heard), EditRule()).edits] == pytest.approx(
            [bar]
        )
    unknown = Hypothesis.from_text("a b")
    assert [e.bar for e in compare(unknown, list("ax"), EditRule(unknown=0.97)).edits] == [0.97]


@pytest.mark.parametrize(
    ("field", "values"),
    [
        ("text", ("", " ", "two words", 3, None)),
        ("confidence", (-0.1, 1.5, math.nan, math.inf, True, "0.5")),
        ("start", (-1.0, math.nan, math.inf, "0")),
        ("end", (-1.0, math.nan, 0.5)),
    ],
)
def test_a_field_of_a_word_that_is_none_is_named(field: str, values: tuple) -> None:
    right = {"text": "one", "confidence": 0.5, "start": 1.0, "end": 2.0}
    Word(**right)  # type: ignore[arg-type]
    for value in values:
        with pytest.raises(InvalidArgumentError, match=f"^{field}: expected"):
            Word(**{**right, field: value})  # type: ignore[arg-type]
    with pytest.raises(InvalidArgumentError, match=r"^end: expected"):
        Word("one", start=1.0)


def test_fields_of_a_hypothesis_that_are_none_are_named() -> None:
    with pytest.raises(InvalidArgumentError, match=r"^confidences: expected one a word \(2\)"):
        Hypothesis.from_text("one two", [0.5])
    with pytest.raises(InvalidArgumentError, match=r"^confidences\[1\]: expected"):
        Hypothesis.from_text("one two", [0.5, math.nan])
    for score in (math.nan, "1", True):
        with pytest.raises(InvalidArgumentError, match=r"^score: expected"):
            Hypothesis((), score)  # type: ignore[arg-type]


times = st.lists(st.tuples(st.floats(0, 20), st.floats(0, 3)), max_size=8)


@given(times=times, cuts=st.lists(st.floats(0.5, 8), min_size=1, max_size=5))
def test_every_word_is_in_one_window(times: list, cuts: list[float]) -> None:
    words = tuple(Word(f"w{n}", None, at, at + long) for n, (at, long) in enumerate(times))
    bounds = [-math.inf, *(sum(cuts[: n + 1]) for n in range(len(cuts))), math.inf]
    prior = Hypothesis(words)
    parts = [prior.within(low, high) for low, high in pairwise(bounds)]
    assert sorted(word.text for part in parts for word in part.words) == [w.text for w in words]


@given(texts=st.lists(st.sampled_from(("a", "bcd", "efghij")), max_size=8), parts=st.integers(1, 5))
def test_words_without_times_are_shared_out_in_order(texts: list[str], parts: int) -> None:
    prior = Hypothesis.from_text(" ".join(texts))
    found = share_out(prior, [2.5 * (n + 1) for n in range(parts)])
    assert len(found) == parts
    assert [word for part in found for word in part.words] == list(prior.words)


def test_a_draft_has_masks_for_what_is_in_doubt_and_nothing_else() -> None:
    draft = draft_from(
        ["one", "two", "three"], [False, True, False], WordTokenizer(), 6,
        mask_token_id=MASK, end_token_ids=[EOS],
    )  # fmt: skip
    assert draft.tokens.tolist() == [1, MASK, 3, EOS, EOS, EOS]
    assert draft.spans == ((0, 1), (1, 2), (2, 3))
    with pytest.raises(InvalidArgumentError, match=r"^words: .*gen_length \(3 tokens\)"):
        draft_from(["one"] * 3, [True] * 3, WordTokenizer(), 3, mask_token_id=MASK,
                   end_token_ids=[EOS])  # fmt: skip
    with pytest.raises(InvalidArgumentError, match=r"^masked: expected one flag a word"):
        draft_from(["one"], [], WordTokenizer(), 3, mask_token_id=MASK, end_token_ids=[EOS])


def test_where_nothing_is_known_every_text_is_as_likely() -> None:
    class Uniform(Oracle):
        def __call__(self, x_t: torch.Tensor) -> torch.Tensor:
            return torch.zeros(*x_t.shape, VOCAB)

    scores = rescore(
        Uniform([said("one")]), [[[1], [1, 2, 3], []]], gen_length=LENGTH, end_token_ids=[EOS],
        num_samples=3,
    )  # fmt: skip
    assert scores[0] == pytest.approx([-LENGTH * math.log(VOCAB)] * 3)


def test_scores_do_not_depend_on_the_batch() -> None:
    llada = small_llada()
    prompts = torch.randint(0, 30, (3, 4))
    texts = [[[1, 2], [3]], [[4, 5, 6]], []]

    def scored(rows: list[int]) -> list[list[float]]:
        streams = [torch.Generator().manual_seed(row) for row in rows]
        return rescore(
            condition(llada, prompts[rows]), [texts[row] for row in rows], gen_length=6,
            end_token_ids=[LLADA_EOS], generator=streams,
        )  # fmt: skip

    together = scored([0, 1, 2])
    assert [len(row) for row in together] == [2, 1, 0]
    for row in range(3):
        assert scored([row])[0] == pytest.approx(together[row], abs=1e-4)


def test_scores_refuse_what_does_not_fit() -> None:
    oracle = Oracle([said("one")])
    for name, texts, ends in (
        ("candidates", [], [EOS]),
        ("end_token_ids", [[[1]]], []),
        (r"candidates\[0\]\[1\]", [[[1], [1] * LENGTH]], [EOS]),
    ):
        with pytest.raises(InvalidArgumentError, match=f"^{name}: expected"):
            rescore(oracle, texts, gen_length=LENGTH, end_token_ids=ends)
    with pytest.raises(InvalidArgumentError, match=r"^generator: expected one a row"):
        rescore(oracle, [[[1]]], gen_length=LENGTH, end_token_ids=[EOS], generator=[])
