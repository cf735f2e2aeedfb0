"""The toy benchmark has MMAU's format, in memory and on disk alike."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from dllm_audio import load_audio
from dllm_audio.evaluation.benchmarks import MMAU, TOY
from dllm_audio.evaluation.questions import make_task
from dllm_audio.evaluation.sources import open_source
from dllm_audio.evaluation.toy import toy_source, write_toy_benchmark
from dllm_audio.toy import FAMILIES


def test_every_family_is_asked_with_the_answer_among_the_choices() -> None:
    source = toy_source(size=28, seed=3)
    assert {row["category"] for row in source.facts} == set(FAMILIES) - {"describe", "unknown"}
    for row in source.facts:
        assert row["answer"] in row["choices"]
        assert 2 <= len(row["choices"]) <= 4
    assert {row["task"] for row in source.facts} == {"semantic", "acoustic"}


def test_rows_are_fixed_by_the_seed_and_their_sound_is_made_on_demand() -> None:
    first, again, other = toy_source(4, seed=1), toy_source(4, seed=1), toy_source(4, seed=2)
    assert first.facts == again.facts
    assert first.revision == again.revision != other.revision
    torch.testing.assert_close(load_audio(first.audio(2)), load_audio(again.audio(2)))
    assert [row["id"] for row in first.rows] == [row["id"] for row in first.facts]


def test_the_files_ask_the_same_questions(tmp_path: Path) -> None:
    path = write_toy_benchmark(tmp_path / "toy", size=6, seed=1)
    rows = json.loads(path.read_text())
    assert set(rows[0]) == {"id", "audio_id", "question", "choices", "answer", "task", "category"}
    written, memory = make_task(MMAU, open_source(path)), make_task(TOY, toy_source(6, seed=1))
    assert [i.prompt for i in written.items] == [i.prompt for i in memory.items]
    for index in range(6):
        sound = load_audio(written.source.audio(index))
        reference = load_audio(memory.source.audio(index))
        assert sound.shape == reference.shape
        torch.testing.assert_close(sound, reference.clamp(-1, 1), atol=1e-4, rtol=0)


def test_the_right_letters_score_full_marks_in_robust_mode() -> None:
    task = make_task(TOY, toy_source(24))
    right = [f"{'ABCD'[item.choices.index(item.answer)]}" for item in task.items]
    robust = TOY.score(task.items, right).modes["robust"]
    assert robust.overall.accuracy == 1.0
    assert set(robust.groups["task"]) == {"semantic", "acoustic"}
    assert robust.overall.invalid_share == pytest.approx(0.0)
