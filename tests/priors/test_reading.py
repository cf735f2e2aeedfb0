"""Files of hypotheses: every form, and errors that name file, row and field."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from dllm_audio.errors import DataError
from dllm_audio.priors import HypothesisFile, Word


def rows(path: Path, *records: Any) -> Path:
    path.write_text("".join(json.dumps(record) + "\n" for record in records), encoding="utf-8")
    return path


def test_a_text_is_the_hypothesis_of_whatever_is_heard(tmp_path: Path) -> None:
    path = tmp_path / "talk.txt"
    path.write_text("And mister\nDashwood\n")
    file = HypothesisFile(path)
    assert file.holds_one_text
    assert file.find("any.wav")[0].text == "And mister Dashwood"


@pytest.mark.parametrize("name", ["prior.jsonl", "prior.json", "prior.csv", "prior.tsv"])
def test_rows_come_in_every_form(name: str, tmp_path: Path) -> None:
    path, records = tmp_path / name, [{"id": "a", "text": "one"}, {"id": "b", "text": "two"}]
    if name.endswith("jsonl"):
        rows(path, *records)
    elif name.endswith("json"):
        path.write_text(json.dumps(records))
    else:
        mark = "," if name.endswith("csv") else "\t"
        path.write_text(
            "\n".join(mark.join(row) for row in (("id", "text"), *map(dict.values, records)))
        )
    file = HypothesisFile(path)
    assert not file.holds_one_text
    assert [file.find(f"clips/{name}.wav")[0].text for name in "ab"] == ["one", "two"]


def test_a_recording_is_found_by_any_of_its_names(tmp_path: Path) -> None:
    path = rows(
        tmp_path / "prior.jsonl",
        {"file": "x/one.wav", "text": "1"},
        {"file": "y/one.wav", "text": "2"},
        {"audio": "two.flac", "id": "b2", "text": "3"},
        {"id": "three", "hypothesis": "4"},
        {"path": "elsewhere/four.wav", "text": "5"},
    )
    file = HypothesisFile(path)
    found = {name: file.find(name)[0].text for name in
             ("x/one.wav", "y/one.wav", "z/two.flac", "b2.ogg", "three.wav", "./three.mp3",
              "here/four.wav")}  # fmt: skip
    assert list(found.values()) == ["1", "2", "3", "3", "4", "4", "5"]
    for name in ("z/one.wav", "five.wav"):  # two of that name; none
        with pytest.raises(DataError, match=rf"{re.escape(str(path))}: file, .*{Path(name).stem}"):
            file.find(name)


def test_words_and_lists_of_hypotheses_are_read(tmp_path: Path) -> None:
    path = rows(
        tmp_path / "prior.jsonl",
        {"id": "a", "text": "one two", "confidences": [0.5, None]},
        {"id": "b", "words": [{"word": " one", "probability": 0.5, "start": 0, "end": 1}, "two"]},
        {"id": "c", "hypotheses": ["one", {"text": "two", "score": -3.5, "confidences": [0.1]}]},
        {"id": "d", "hypotheses": [{"words": [{"text": "one", "confidence": 1}]}], "text": "six"},
    )
    file = HypothesisFile(path)
    assert file.find("a")[0].words == (Word("one", 0.5), Word("two"))
    assert file.find("b")[0].words == (Word("one", 0.5, 0, 1), Word("two"))
    assert [(each.text, each.score) for each in file.find("c")] == [("one", None), ("two", -3.5)]
    assert file.find("d")[0].words == (Word("one", 1),)


@pytest.mark.parametrize(
    ("record", "field"),
    [
        ({"text": "one"}, "expected one of the fields file, audio, path, id, name"),
        ({"id": 3, "text": "one"}, "id: expected a file name or id, got 3"),
        ({"id": "", "text": "one"}, "id: expected a file name or id"),
        ({"id": "b"}, "expected one of the fields words, text, "),
        ({"id": "b", "text": ""}, "text: expected a text that is not empty"),
        ({"id": "b", "text": " "}, "text: expected a text that is not empty"),
        ({"id": "b", "text": ["one"]}, "text: expected a text"),
        ({"id": "b", "text": "one", "score": "x"}, "score: expected a finite"),
        ({"id": "b", "text": "one", "confidences": 0.5}, "confidences: expected a list"),
        ({"id": "b", "text": "one", "confidences": []}, r"confidences: expected one a word \(1\)"),
        ({"id": "b", "text": "one", "confidences": [1.5]}, r"confidences\[0\]: expected"),
        ({"id": "b", "text": "one", "confidences": [float("nan")]}, r"confidences\[0\]: expected"),
        ({"id": "b", "text": "one two", "confidences": [1, "1"]}, r"confidences\[1\]: expected"),
        ({"id": "b", "words": []}, "words: expected a list of words, not empty"),
        ({"id": "b", "words": "one"}, "words: expected a list of words"),
        ({"id": "b", "words": [3]}, r"words\[0\]: expected a word"),
        ({"id": "b", "words": [{}]}, r"words\[0\].word: expected"),
        ({"id": "b", "words": ["one", {"word": "two", "confidence": -1}]},
         r"words\[1\].confidence: expected"),
        ({"id": "b", "words": [{"word": "a", "start": 3, "end": 1}]}, r"words\[0\].end: expected"),
        ({"id": "b", "hypotheses": []}, "hypotheses: expected a list"),
        ({"id": "b", "hypotheses": "one"}, "hypotheses: expected a list"),
        ({"id": "b", "hypotheses": ["one", 3]}, r"hypotheses\[1\]: expected"),
        ({"id": "b", "hypotheses": ["one", {"text": ""}]}, r"hypotheses\[1\]: text: expected"),
        ({"id": "a", "text": "two"}, "'a' has row 0 already"),
    ],
)  # fmt: skip
def test_errors_name_file_row_and_field(record: Any, field: str, tmp_path: Path) -> None:
    path = rows(tmp_path / "prior.jsonl", {"id": "a", "text": "one"}, record)
    with pytest.raises(DataError, match=rf"^{re.escape(str(path))}, row 1: {field}"):
        HypothesisFile(path)


def test_a_file_without_hypotheses_is_named(tmp_path: Path) -> None:
    for name, text in (("a.txt", " \n"), ("a.jsonl", ""), ("a.json", "[]")):
        path = tmp_path / name
        path.write_text(text)
        with pytest.raises(DataError, match=rf"^{re.escape(str(path))}: expected"):
            HypothesisFile(path)
    for path in (tmp_path / "none.txt", tmp_path / "none.jsonl", tmp_path):
        with pytest.raises(DataError, match=re.escape(str(path))):
            HypothesisFile(path)
