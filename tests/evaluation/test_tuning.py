"""Which way to decode: what is measured, what is recommended, what nothing beats."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dllm_audio import CachedParallelSampler, Threshold, toy
from dllm_audio.cli import main
from dllm_audio.errors import InvalidArgumentError
from dllm_audio.evaluation.tuning import (
    Candidate,
    Measured,
    TuningQuestion,
    candidates,
    draw_tuning,
    measure,
    pareto_front,
    recommend,
    tuning_table,
)
from dllm_audio.files import read_json
from dllm_audio.samplers import from_dict

SAMPLER = CachedParallelSampler(8, 4)


def way(name: str, scores: list[float], seconds: float) -> Measured:
    texts = tuple(str(score) for score in scores)
    ones = (1,) * len(scores)
    return Measured(Candidate(name, SAMPLER), tuple(scores), texts, ones, ones, seconds)


def test_the_fastest_of_those_within_a_standard_error_is_recommended() -> None:
    reference = way("reference", [1.0] * 9 + [0.0], 10.0)
    equal = way("equal", [1.0] * 9 + [0.0], 3.0)
    # Two of ten lost, one won: 0.1 behind, standard error 0.18. Three lost: 0.3 behind, 0.15.
    within = way("within", [0.0, 0.0] + [1.0] * 8, 2.0)
    worse = way("worse", [0.0] * 3 + [1.0] * 6 + [0.0], 1.0)
    assert within.behind(reference) == pytest.approx((0.1, 0.18), abs=0.005)
    assert recommend([reference, equal, within, worse]) is within
    assert recommend([reference, equal, worse]) is equal
    assert recommend([reference, worse]) is reference


@given(st.lists(st.tuples(st.integers(0, 4), st.integers(1, 5)), min_size=1, max_size=12))
def test_nothing_beats_the_front(found: list[tuple[int, int]]) -> None:
    ways = [way("", [score / 4], float(seconds)) for score, seconds in found]
    front = pareto_front(ways)
    for chosen in front:
        assert not any(
            other.accuracy >= chosen.accuracy
            and other.seconds <= chosen.seconds
            and (other.accuracy, other.seconds) != (chosen.accuracy, chosen.seconds)
            for other in ways
        )
    for other in ways:
        assert any(f.accuracy >= other.accuracy and f.seconds <= other.seconds for f in front)
    assert [f.seconds for f in front] == sorted(f.seconds for f in front)


def test_tokens_that_fill_the_canvas_do_not_count() -> None:
    measured = Measured(Candidate("", SAMPLER), (1.0, 1.0), ("a", "b"), (2, 4), (3, 0), 0.5)
    assert measured.tokens_per_pass == 0.5
    assert measured.milliseconds == 250


def test_the_small_model_is_measured_by_its_own_answers() -> None:
    model, clips = toy.small_model(), toy.clips()[:3]
    questions = [
        TuningQuestion(c.questions[0].prompt, c.path, c.questions[0].answer) for c in clips
    ]
    ways = [
        Candidate("fixed", CachedParallelSampler(16, 8, None, steps=16, cache=None)),
        Candidate("threshold", CachedParallelSampler(16, 8, Threshold(0.9), cache="dual")),
    ]
    measured = measure(model, questions, ways, batch_size=2, repeats=1)
    for found, asked in zip(measured, ways, strict=True):
        texts = [
            model.generate(prompts=q.prompt, audio=q.audio, sampler=asked.sampler).texts[0]
            for q in questions
        ]
        assert list(found.texts) == texts
        right = [float(t == q.target) for t, q in zip(texts, questions, strict=True)]
        assert list(found.scores) == right
    assert sum(measured[1].passes) < sum(measured[0].passes)
    with pytest.raises(InvalidArgumentError, match="questions"):
        measure(model, [], ways)


@pytest.mark.parametrize("causal", [False, True])
def test_ways_describe_themselves_and_are_what_their_backbone_can(causal: bool) -> None:
    ways = candidates(16, 8, causal=causal)
    assert len({(w.rule, w.cache) for w in ways}) == len(ways)
    assert all(from_dict(w.sampler.to_dict()) == w.sampler for w in ways)
    assert ("exact" in {way.cache for way in ways}) == causal


def test_table_and_picture(tmp_path: Path) -> None:
    ways = [way("slow", [1.0, 0.0], 2.0), way("fast", [1.0, 0.0], 0.5)]
    table = tuning_table(ways, ways[1])
    assert "| **fast** | prefix | 50.0 % | 100.0 % | 1.00 | 1.00 | 250.00 |" in table
    assert "4.0 times as fast as the first row; accuracy +0.0 points" in table
    draw_tuning(ways, ways[1], tmp_path / "tuning.png")
    assert (tmp_path / "tuning.png").stat().st_size > 5000


def test_the_command_writes_a_sampler_to_use(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    clip = toy.clips()[0]
    rows = [
        {"audio": str(clip.path), "question": q.prompt, "answer": q.answer} for q in clip.questions
    ]
    data = tmp_path / "questions.jsonl"
    data.write_text("".join(json.dumps(row) + "\n" for row in rows))
    lengths = ["--gen-length", "8", "--block-length", "4", "--repeats", "1"]
    folder = tmp_path / "tuning"
    assert main(["tune", "--data", str(data), "--output", str(folder), *lengths]) == 0
    assert "Recommended:" in capsys.readouterr().out
    made = {path.name for path in folder.iterdir()}
    assert made == {"sampler.json", "tuning.md", "tuning.json", "tuning.png"}
    assert from_dict(read_json(folder / "sampler.json")).gen_length == 8
    asked = ["answer", str(clip.path), "-q", clip.questions[0].prompt]
    assert main([*asked, "--sampler", str(folder / "sampler.json")]) == 0
    assert capsys.readouterr().out.strip()


def test_the_command_needs_answers(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data = tmp_path / "questions.jsonl"
    for text, message in (
        ("", "at least one row"),
        ('{"audio": "a.wav", "question": "?"}', "row 0"),
    ):
        data.write_text(text)
        assert main(["tune", "--data", str(data), "--output", str(tmp_path / "out")]) == 1
        shown = capsys.readouterr().err
        assert message in shown
        assert str(data) in shown
