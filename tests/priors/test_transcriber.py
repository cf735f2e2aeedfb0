"""Mending a prior: what is never touched, what is mended, and that a batch changes nothing."""

from __future__ import annotations

import hypothesis.strategies as st
import pytest
import torch
from hypothesis import given, settings

from dllm_audio import AudioDiffusionLM, toy
from dllm_audio.errors import InvalidArgumentError
from dllm_audio.priors import EditRule, Hypothesis, PriorTranscriber, Transcript, Word

from .oracle import WORDS, Listener, said

QUESTION = "What is said?"
SPELLINGS = (str, str.upper, str.title, "{},".format, '"{}"'.format, "{}!".format)

some_words = st.lists(st.sampled_from(WORDS), min_size=1, max_size=7)
confidence = st.none() | st.floats(0, 1)


@st.composite
def hypotheses(draw: st.DrawFn) -> Hypothesis:
    """Words in odd spellings, words that the model cannot spell, any confidences."""
    words = draw(st.lists(st.sampled_from((*WORDS, "dashwood", "--", "eleven")), max_size=7))
    spelled = [draw(st.sampled_from(SPELLINGS))(word) for word in words]
    return Hypothesis(tuple(Word(word, draw(confidence)) for word in spelled))


def mend(heard: str, prior: Hypothesis | list[Hypothesis], chance: float = 0.99) -> Transcript:
    return PriorTranscriber(Listener())([said(heard, chance)], QUESTION, [prior])[0]


def rebuilt(result: Transcript) -> list[str]:
    """The hypothesis with the edits that the result says were made."""
    texts: list[str] = []
    place = 0
    for edit in result.edits:
        texts += [word.text for word in result.hypothesis.words[place : edit.start]]
        assert list(edit.before) == [
            word.text for word in result.hypothesis.words[edit.start : edit.end]
        ]
        texts += edit.after
        place = edit.end
    return texts + [word.text for word in result.hypothesis.words[place:]]


def plain(texts: list[str]) -> list[str]:
    return [Word(text).key for text in texts]


@settings(max_examples=40)
@given(heard=some_words, prior=hypotheses(), chance=st.floats(0.3, 0.95))
def test_no_word_is_written_where_the_model_is_never_surer(
    heard: list[str], prior: Hypothesis, chance: float
) -> None:
    sure = Hypothesis(
        tuple(Word(word.text, max(word.confidence or 0.0, chance + 0.001)) for word in prior.words)
    )
    if not sure.words:
        return
    result = mend(" ".join(heard), sure, chance)
    # Where too much is written, the model may be sure of the whole and of no word of it.
    assert all(edit.after == () and edit.confidence > edit.bar for edit in result.edits)
    if not result.edits:
        assert result.words == sure.words
        assert result.text == prior.text


@settings(max_examples=50)
@given(heard=some_words, prior=hypotheses(), chance=st.floats(0.3, 0.999))
def test_what_is_outside_the_edits_stays_letter_by_letter(
    heard: list[str], prior: Hypothesis, chance: float
) -> None:
    result = mend(" ".join(heard), prior, chance)
    assert result.hypothesis == prior
    if not prior.words:
        return
    texts = [word.text for word in result.words]
    assert result.text == " ".join(texts)
    assert plain(texts) == plain(rebuilt(result))
    rule = EditRule()
    touched: set[int] = set()
    for edit in result.edits:
        assert edit.confidence > edit.bar
        touched |= set(range(edit.start, edit.end))
        for word in prior.words[edit.start : edit.end]:
            assert not word.key or (rule.doubts(word.confidence) and word.key in WORDS)
            assert not word.key or edit.bar >= rule.confidence(word.confidence)
    kept = [word.text for place, word in enumerate(prior.words) if place not in touched]
    assert [text for text in texts if text in kept][: len(kept)] or not kept
    remaining = iter(texts)
    assert all(text in remaining for text in kept)  # in order, none lost


@settings(max_examples=40)
@given(
    heard=st.lists(st.sampled_from(WORDS), min_size=5, max_size=8),
    kind=st.sampled_from(("substitution", "deletion", "insertion")),
    place=st.integers(0, 4),
    other=st.sampled_from(WORDS),
    known=st.none() | st.floats(0, 0.9),
)
def test_an_error_is_mended_where_the_model_is_surer(
    heard: list[str], kind: str, place: int, other: str, known: float | None
) -> None:
    wrong = list(heard)
    if kind == "insertion":
        wrong.insert(place, other)
    elif kind == "deletion":
        del wrong[place]
    else:
        wrong[place] = other
    prior = Hypothesis(tuple(Word(word, known) for word in wrong))
    result = mend(" ".join(heard), prior)
    assert [word.text for word in result.words] == heard
    assert len(result.edits) == (wrong != heard)


def test_a_new_word_wears_the_punctuation_and_capital_of_the_old_one() -> None:
    prior = Hypothesis.from_text('Three "Nine," five, six.', [0.9, 0.4, 0.9, 0.9])
    result = mend("three seven five six", prior)
    assert result.text == 'Three "Seven," five, six.'
    assert [word.confidence for word in result.words] == pytest.approx([0.9, 0.99, 0.9, 0.9])


def test_words_around_which_the_model_hears_something_else_are_kept() -> None:
    """Out of its world a model may be very sure, and wrong."""
    strange = Hypothesis.from_text("and mister john dashwood had then leisure", [0.3] * 7)
    assert mend("three seven", strange, 0.9999).text == strange.text
    # Half of the words must be common: one of three is too few, two of three are enough.
    few = Hypothesis.from_text("one two three", [0.3] * 3)
    assert mend("one nine nine", few, 0.9999).text == "one two three"
    assert mend("one two nine", few, 0.9999).text == "one two nine"


def test_words_that_the_model_cannot_spell_are_kept() -> None:
    prior = Hypothesis.from_text("one two dashwood four five", [0.1] * 5)
    result = mend("one two three four six", prior)
    assert result.text == "one two dashwood four six"


def test_nothing_is_put_between_sure_words() -> None:
    sure, unsure = Hypothesis.from_text("one three", [0.99] * 2), "one three"
    assert mend("one two three", sure, 0.999).text == "one three"
    assert mend("one two three", Hypothesis.from_text(unsure, [0.99, 0.9])).text == "one two three"


def test_a_model_is_not_asked_where_it_could_change_nothing() -> None:
    model = Listener()
    clips = [said("one two"), said("one two"), said("one two"), said("one")]
    sure = Hypothesis.from_text("one nine", [0.99, 1.0])
    long = Hypothesis.from_text("one nine " * 6)
    found = PriorTranscriber(model)(clips, QUESTION, [sure, long, sure, None])
    assert model.asked == [1]
    assert [each.nfe for each in found[:3]] == [0, 0, 0]
    assert [each.text for each in found] == [sure.text, long.text, sure.text, "one"]
    assert PriorTranscriber(model)(clips[:1], QUESTION, [sure])[0].agreement is None
    assert model.asked == [1]


def test_a_margin_asks_for_more() -> None:
    prior, clip = Hypothesis.from_text("one nine three", [0.5] * 3), said("one two three", 0.7)
    for margin, text in ((0.1, "one two three"), (0.3, "one nine three")):
        transcriber = PriorTranscriber(Listener(), rule=EditRule(margin=margin, threshold=0.0))
        assert transcriber([clip], QUESTION, [prior])[0].text == text
    refused = PriorTranscriber(Listener(), rule=EditRule(margin=0.3, threshold=0.0))(
        [clip], QUESTION, [prior]
    )[0]
    assert [(edit.before, edit.after) for edit in refused.refused] == [(("nine",), ("two",))]


def test_a_word_without_a_confidence_gets_the_model_s() -> None:
    result = mend("one two three", Hypothesis.from_text("one two nine"), 0.8)
    assert result.text == "one two nine"
    assert [word.confidence for word in result.words] == pytest.approx([0.8, 0.8, 0.2])
    assert result.confidence == pytest.approx(0.6)


def test_the_likeliest_of_several_hypotheses_is_taken() -> None:
    texts = ("one two nine four", "one two three four", "one two three")
    several = [Hypothesis.from_text(text) for text in texts]
    result = mend("one two three four", several, 0.8)
    assert result.hypothesis == several[1]
    assert result.scores is not None
    assert max(score for score in result.scores if score is not None) == result.scores[1]
    # A prior that is far surer of another one has its say.
    weighted = [Hypothesis(each.words, -90.0 * (n > 0)) for n, each in enumerate(several)]
    assert mend("one two three four", weighted, 0.8).hypothesis == weighted[0]
    # Scores of some alone say nothing.
    assert mend("one two three four", [weighted[0], *several[1:]], 0.8).hypothesis == several[1]


def test_out_of_its_world_the_first_hypothesis_stays() -> None:
    several = [Hypothesis.from_text(text) for text in ("nine eight six", "nine eight two")]
    result = mend("one two three four five", several, 0.9)
    assert result.hypothesis == several[0]
    assert result.text == several[0].text


@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        ("prompts", (["a"], ["What?", "What?"], [None])),
        ("hypotheses", (["a"], "What?", [])),
        (r"hypotheses\[0\]", (["a"], "What?", [["one two"]])),
    ],
)
def test_what_does_not_fit_is_named(name: str, arguments: tuple) -> None:
    with pytest.raises(InvalidArgumentError, match=f"^{name}: expected"):
        PriorTranscriber(Listener())(*arguments)


def test_options_that_are_none_are_named() -> None:
    for name, options in (
        ("rule", {"rule": 0.9}),
        ("num_samples", {"num_samples": 0}),
        ("score_weight", {"score_weight": -1.0}),
    ):
        with pytest.raises(InvalidArgumentError, match=f"^{name}: expected"):
            PriorTranscriber(Listener(), **options)  # type: ignore[arg-type]
    for name in ("keep", "unknown", "threshold", "margin", "agreement"):
        for value in (-0.1, 1.1, float("nan"), True, "1"):
            with pytest.raises(InvalidArgumentError, match=f"^{name}: expected"):
                EditRule(**{name: value})  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def model() -> AudioDiffusionLM:
    return toy.small_model()


def spoken() -> list[tuple]:
    data = toy.ToyDataset("heldout", 4, 3, families=("digits", "command"), choice_share=0.0)
    return [(record.waveform, 16000) for record in data]


def test_without_a_hypothesis_it_is_plain_transcription(model: AudioDiffusionLM) -> None:
    clips = spoken()
    generated = model.generate(audio=clips, prompts=QUESTION)
    found = PriorTranscriber(model)(clips, QUESTION, [None, Hypothesis(), [], None])
    assert [each.text for each in found] == generated.texts
    sure = [each.confidence for each in found]
    assert sure == pytest.approx(generated.output.confidence.tolist(), abs=1e-6)
    assert [each.nfe for each in found] == generated.output.row_nfe.tolist()


def test_a_row_does_not_depend_on_its_batch(model: AudioDiffusionLM) -> None:
    clips = spoken()
    given = [
        Hypothesis.from_text("three nine", [0.2, 0.3]),
        [Hypothesis.from_text("stop"), Hypothesis.from_text("turn left")],
        None,
        Hypothesis.from_text("go home", [0.5, None]),
    ]
    rule = EditRule(keep=1.0, unknown=0.1, threshold=0.0, agreement=0.0)
    transcriber = PriorTranscriber(model, rule=rule)
    together = transcriber(clips, QUESTION, given)
    for row, found in enumerate(together):
        alone = transcriber([clips[row]], QUESTION, [given[row]])[0]
        assert (alone.text, alone.nfe) == (found.text, found.nfe)
        assert [(e.before, e.after) for e in alone.edits] == [
            (e.before, e.after) for e in found.edits
        ]
        sure = [word.confidence for word in found.words]
        assert [word.confidence for word in alone.words] == pytest.approx(sure, abs=1e-4)


def test_it_leaves_modes_and_random_state_alone(model: AudioDiffusionLM) -> None:
    before = torch.get_rng_state()
    PriorTranscriber(model)(spoken()[:1], QUESTION, [Hypothesis.from_text("three nine")])
    assert torch.equal(torch.get_rng_state(), before)
    assert not model.training
