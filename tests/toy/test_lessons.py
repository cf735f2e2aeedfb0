"""Lessons of the toy curriculum depend on the numbers of their clips alone."""

from __future__ import annotations

import hashlib

import numpy as np
import pytest

from dllm_audio.errors import InvalidArgumentError
from dllm_audio.toy import ASR, FAMILIES, QA, Lesson, ToyRecord


def keys(records: list[ToyRecord]) -> list[tuple[str, ...]]:
    return [(hashlib.sha256(r.waveform.tobytes()).hexdigest(), r.prompt, r.answer) for r in records]


@pytest.mark.parametrize("lesson", [ASR, QA], ids=lambda lesson: lesson.name)
def test_a_clip_does_not_depend_on_those_before_it(lesson: Lesson) -> None:
    whole = keys(lesson(range(5, 9)))
    parts = [key for number in range(5, 9) for key in keys(lesson(range(number, number + 1)))]
    assert whole == parts


def test_transcription_asks_once_for_what_is_said() -> None:
    records = ASR(range(20))
    assert len(records) == 20
    assert {"digits", "command"} <= {record.family for record in records} <= set(ASR.families)
    assert all(record.choices is None for record in records)


def test_questions_are_of_many_families_up_to_three_a_clip() -> None:
    records = QA(range(60))
    assert len({record.family for record in records}) > 9
    assert {record.family for record in records} <= set(FAMILIES)
    _, counts = np.unique([key[0] for key in keys(records)], return_counts=True)
    assert set(counts) <= {1, 2, 3}
    assert any(record.choices for record in records)


def test_the_curriculum_is_the_one_that_was_measured() -> None:
    """The results in the documentation are of these very questions."""
    text = "\n".join(f"{r.prompt}|{r.answer}" for lesson in (ASR, QA) for r in lesson(range(30)))
    assert hashlib.sha256(text.encode()).hexdigest()[:16] == "40382a49afcee581"


def test_shares_must_sum_to_one() -> None:
    with pytest.raises(InvalidArgumentError, match="subjects"):
        Lesson("half", 9, {"digits": 0.5})
