import re

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dllm_audio.errors import InvalidArgumentError
from dllm_audio.toy import (
    ACOUSTIC_FAMILIES,
    COMMANDS,
    DIGITS,
    FAMILIES,
    MAX_SECONDS,
    NUMBERS,
    SEMANTIC_FAMILIES,
    UNKNOWN,
    WORDS,
    SceneMaker,
    ToyDataset,
    Utterance,
    ask,
    askable,
    embedded_bank,
)
from dllm_audio.toy.phrasing import LETTERS
from dllm_audio.toy.vocabulary import COMMAND_UNITS, content_words

ALL_COMMANDS = [units for commands in COMMAND_UNITS for units in commands]


@given(st.integers(0, 10**6), st.integers(0, 60), st.sampled_from(["train", "heldout"]))
@settings(max_examples=15)
def test_a_row_depends_on_seed_split_and_index_only(seed, index, split):
    short, long = (ToyDataset(split, size, seed)[index] for size in (index + 1, index + 50))
    np.testing.assert_array_equal(short.waveform, long.waveform)
    assert (short.prompt, short.answer) == (long.prompt, long.answer)


def test_seeds_and_splits_differ():
    rows = [
        ToyDataset("train", 1, 0)[0],
        ToyDataset("train", 1, 1)[0],
        ToyDataset("heldout", 1, 0)[0],
    ]
    lengths = {(len(row.waveform), float(row.waveform[:2000].sum())) for row in rows}
    assert len(lengths) == 3


def test_families_take_turns():
    data = ToyDataset("train", 2 * len(FAMILIES) + 3)
    assert [row.family for row in data[: len(FAMILIES)]] == list(FAMILIES)
    assert data[-1].family == FAMILIES[2]
    assert len(list(ToyDataset("train", 5))) == 5
    with pytest.raises(IndexError):
        data[len(data)]


def rows():
    return ToyDataset("heldout", 4 * len(FAMILIES), seed=5)


def test_clips_fit_the_window_and_are_sound():
    for row in rows():
        assert row.waveform.dtype == np.float32
        assert 0.1 * 16000 <= len(row.waveform) <= MAX_SECONDS * 16000
        assert np.isfinite(row.waveform).all()
        assert np.abs(row.waveform).max() <= 1.0
        assert np.abs(row.waveform).max() > 0.03 or row.scene.subject == "silence"


def test_only_voices_of_the_split_speak():
    bank = embedded_bank()
    for split in ("train", "heldout"):
        scenes = [row.scene for row in ToyDataset(split, 3 * len(FAMILIES), seed=9)]
        voices = {s.voice for s in scenes if s.words or s.subject == "other_speech"}
        assert voices
        assert voices <= set(bank.voices(split))


def test_answers_are_the_facts_of_the_scene():
    attribute = {"speaker": "sex", "count": "count"}
    for row in rows():
        scene = row.scene
        if row.family in ("digits", "command", "number", "word"):
            assert row.answer == " ".join(scene.words)
            assert scene.subject == row.family
        elif row.family == "unknown":
            assert row.answer == UNKNOWN
            assert not scene.words
        elif row.family == "position":
            assert row.answer == scene.words[0 if "first" in row.question else -1]
        elif row.family == "contains":
            asked = [digit for digit in DIGITS if re.search(rf"\b{digit}\b", row.question)]
            assert len(asked) == 1
            assert row.answer == ("yes" if asked[0] in scene.words else "no")
        elif row.family == "count":
            assert DIGITS.index(row.answer) == scene.count
        elif row.family in ACOUSTIC_FAMILIES:
            assert row.answer == getattr(scene, attribute.get(row.family, row.family))


def test_kinds():
    for row in rows():
        kind = "semantic" if row.family in SEMANTIC_FAMILIES else "acoustic"
        assert row.kind == ("mixed" if row.family in ("describe", "unknown") else kind)


def test_choices_hold_the_answer_once():
    for row in ToyDataset("heldout", 2 * len(FAMILIES), seed=2, choice_share=1.0):
        if row.family in ("describe", "unknown"):
            assert row.choices is None
            continue
        assert row.choices.count(row.answer) == 1
        assert len(set(row.choices)) == len(row.choices)
        for mark, text in zip(LETTERS, row.choices, strict=False):
            assert f"{mark}. {text}" in row.prompt
        assert row.question in row.prompt


def test_the_right_choice_is_not_always_at_the_same_place():
    data = ToyDataset("train", 40, families=("event",), choice_share=1.0)
    assert len({row.choices.index(row.answer) for row in data}) == 4


def test_spans_tell_where_the_words_are():
    maker = SceneMaker(embedded_bank(), "heldout")
    for seed in range(12):
        scene = maker.draw(np.random.default_rng(seed), "digits")
        assert tuple(span.text for span in scene.spans) == scene.words
        ends = [0.0]
        for span in scene.spans:
            assert ends[-1] - 0.05 <= span.start < span.end <= len(scene.waveform) / 16000 + 1e-9
            ends.append(span.end)


def test_rate_shows_neither_in_length_nor_in_onsets():
    maker = SceneMaker(embedded_bank(), "heldout")
    found = {"slowly": [], "quickly": []}
    for seed in range(250):
        scene = maker.draw(np.random.default_rng(seed), "digits")
        if scene.rate is not None and len(scene.words) > 1:
            gaps = np.diff([span.start for span in scene.spans])
            words = [span.end - span.start for span in scene.spans]
            length = len(scene.waveform) / 16000 / len(words)
            found[scene.rate].append((length, gaps.mean(), np.mean(words)))
    slow, fast = (np.mean(found[rate], axis=0) for rate in ("slowly", "quickly"))
    assert slow[0] == pytest.approx(fast[0], rel=0.1)
    assert slow[1] == pytest.approx(fast[1], rel=0.1)
    assert slow[2] > 1.5 * fast[2]


def test_unknown_options_raise():
    for options, name in (
        ({"split": "test"}, "split"),
        ({"size": -1}, "size"),
        ({"seed": -1}, "seed"),
        ({"families": ("color",)}, "family"),
        ({"layouts": ("table",)}, "layouts"),
    ):
        with pytest.raises(InvalidArgumentError, match=name):
            ToyDataset(**options)


def test_no_question_about_an_unknown_fact():
    rng = np.random.default_rng(0)
    scene = SceneMaker(embedded_bank(), "train").draw(rng, "music")
    assert set(askable(scene)) == {"contour", "mode", "tempo", "describe", "unknown"}
    with pytest.raises(InvalidArgumentError, match="family"):
        ask(scene, "digits", rng)
    with pytest.raises(InvalidArgumentError, match="layout"):
        ask(scene, "mode", rng, layout="table")


def test_a_phrase_is_what_its_units_say():
    assert len(COMMANDS) == len(set(COMMANDS))
    assert len(COMMAND_UNITS) == 20
    told_apart = {tuple(w for u in units for w in content_words(u)) for units in ALL_COMMANDS}
    assert len(told_apart) == len(COMMANDS)
    maker = SceneMaker(embedded_bank(), "heldout")
    for seed in range(12):
        rng = np.random.default_rng(seed)
        assert " ".join(maker.draw(rng, "command").words) in COMMANDS
        assert " ".join(maker.draw(rng, "number").words) in NUMBERS
        assert maker.draw(rng, "word").words[0] in WORDS


@pytest.mark.parametrize("subject", ["other_speech", "other_sound", "other_music", "silence"])
def test_what_is_outside_the_world_has_no_words(subject):
    maker = SceneMaker(embedded_bank(), "heldout")
    for seed in range(4):
        scene = maker.draw(np.random.default_rng(seed), subject)
        assert not scene.words
        assert "unknown" in askable(scene)
        record = ask(scene, "unknown", np.random.default_rng(seed), layout="mmau")
        assert (record.answer, record.choices) == (UNKNOWN, None)


def test_others_may_come_from_elsewhere():
    tone = np.sin(np.arange(20_000) / 5).astype(np.float32)
    others = {name: lambda rng: Utterance(tone, None, "a tone") for name in ("other_speech",)}
    maker = SceneMaker(embedded_bank(), "train", others=others)
    scene = maker.draw(np.random.default_rng(0), "other_speech")
    assert (scene.voice, scene.sex) == ("a tone", None)
