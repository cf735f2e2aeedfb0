"""Records survive every way a write can be cut short."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dllm_audio.errors import DataError
from dllm_audio.evaluation.store import RecordFile, read_records
from dllm_audio.files import json_line, write_text

RECORDS = [{"id": str(i), "prediction": "line\nbreak \u2028 é \x00" * i} for i in range(4)]


def test_what_is_appended_is_read_back(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "r.jsonl"
    with RecordFile(path) as file:
        file.append(RECORDS[:2])
        file.append(RECORDS[2:])
    assert read_records(path) == RECORDS
    assert path.read_bytes().count(b"\n") == len(RECORDS)


@settings(max_examples=60, deadline=None)
@given(cut=st.integers(0, len("".join(map(json_line, RECORDS)).encode())))
def test_a_file_cut_anywhere_keeps_its_complete_lines_and_goes_on(tmp_path_factory, cut) -> None:
    path = tmp_path_factory.mktemp("cut") / "r.jsonl"
    data = "".join(map(json_line, RECORDS)).encode()
    path.write_bytes(data[:cut])
    complete = data[:cut].count(b"\n")
    assert read_records(path) == RECORDS[:complete]
    with RecordFile(path) as file:
        assert file.records == RECORDS[:complete]
        file.append(RECORDS[complete:])
    assert path.read_bytes() == data


def test_zeros_left_by_a_lost_write_are_cut_off(tmp_path: Path) -> None:
    path = tmp_path / "r.jsonl"
    path.write_bytes(json_line(RECORDS[0]).encode() + b"\x00" * 100)
    with RecordFile(path) as file:
        file.append(RECORDS[1:2])
    assert read_records(path) == RECORDS[:2]


@pytest.mark.parametrize("line", ["not json\n", "[]\n", "{}\n", '"id"\n', "\n", "3\n"])
def test_damage_before_the_end_is_named_with_its_line(tmp_path: Path, line: str) -> None:
    path = tmp_path / "r.jsonl"
    path.write_text(json_line(RECORDS[0]) + line + json_line(RECORDS[1]))
    with pytest.raises(DataError, match=r"r\.jsonl, line 2"):
        read_records(path)
    before = path.read_bytes()
    with pytest.raises(DataError, match="line 2"):
        RecordFile(path)
    assert path.read_bytes() == before


def test_a_repeated_id_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "r.jsonl"
    path.write_text(json_line(RECORDS[0]) * 2)
    with pytest.raises(DataError, match="'0' occurs twice"):
        read_records(path)


def test_two_writers_cannot_share_a_file(tmp_path: Path) -> None:
    path = tmp_path / "r.jsonl"
    with RecordFile(path), pytest.raises(DataError, match="another process"):
        RecordFile(path)
    with RecordFile(path) as file:
        file.append(RECORDS[:1])


def test_an_atomic_write_replaces_and_leaves_nothing_behind(tmp_path: Path) -> None:
    path = tmp_path / "r.json"
    write_text(path, "old")
    write_text(path, "".join(map(json_line, RECORDS)))
    assert read_records(path) == RECORDS
    assert [p.name for p in tmp_path.iterdir()] == ["r.json"]


def test_a_number_that_json_lacks_is_refused() -> None:
    with pytest.raises(ValueError, match="JSON"):
        json_line({"id": "1", "seconds": float("nan")})
