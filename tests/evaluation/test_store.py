"""Records survive every way a write can be cut short."""

from __future__ import annotations

import os
from dataclasses import asdict
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dllm_audio.errors import DataError, InvalidArgumentError
from dllm_audio.evaluation.store import RecordFile, Result, Timing, read_records
from dllm_audio.files import json_line, write_text

RECORDS = [Result(str(i), "line\nbreak \u2028 é \x00" * i) for i in range(4)]
LINES = [json_line(asdict(record)) for record in RECORDS]


def test_what_is_appended_is_read_back(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "r.jsonl"
    with RecordFile(path, Result) as file:
        file.append(RECORDS[:2])
        file.append(RECORDS[2:])
    assert read_records(path, Result) == RECORDS
    assert path.read_bytes().count(b"\n") == len(RECORDS)


@settings(max_examples=60)
@given(cut=st.integers(0, len("".join(LINES).encode())))
def test_a_file_cut_anywhere_keeps_its_complete_lines_and_goes_on(tmp_path_factory, cut) -> None:
    path = tmp_path_factory.mktemp("cut") / "r.jsonl"
    data = "".join(LINES).encode()
    path.write_bytes(data[:cut])
    complete = data[:cut].count(b"\n")
    assert read_records(path, Result) == RECORDS[:complete]
    with RecordFile(path, Result) as file:
        assert file.records == RECORDS[:complete]
        file.append(RECORDS[complete:])
    assert path.read_bytes() == data


def test_zeros_left_by_a_lost_write_are_cut_off(tmp_path: Path) -> None:
    path = tmp_path / "r.jsonl"
    path.write_bytes(LINES[0].encode() + b"\x00" * 100)
    with RecordFile(path, Result) as file:
        file.append(RECORDS[1:2])
    assert read_records(path, Result) == RECORDS[:2]


DAMAGED = [
    "not json\n", "[]\n", "{}\n", '"id"\n', "\n", "3\n", '{"id": "0"}\n',
    LINES[1].replace("1", "\\ud800"), LINES[1].replace('"1"', "1"), LINES[1].replace("0.0", "NaN"),
    LINES[1].replace("0.0", "9" * 5000), LINES[1].replace("null", "[]", 1), "[" * 10**5 + "\n",
]  # fmt: skip


@pytest.mark.parametrize("line", DAMAGED, ids=range(len(DAMAGED)))
def test_a_damaged_line_is_left_out_and_named_and_kept(tmp_path: Path, line: str) -> None:
    path = tmp_path / "r.jsonl"
    path.write_text(LINES[0] + line + LINES[2])
    before = path.read_bytes()
    with pytest.warns(UserWarning, match=r"r\.jsonl, line 2: damaged"):
        file = RecordFile(path, Result)
    with file:
        assert file.records == [RECORDS[0], RECORDS[2]]
        file.append(RECORDS[1:2])
    assert path.read_bytes() == before + LINES[1].encode()


@pytest.mark.parametrize("seconds", ["1", True, float("inf"), [1]])
def test_a_record_holds_only_what_can_be_written(seconds) -> None:
    with pytest.raises(InvalidArgumentError, match="seconds"):
        Timing("1", seconds)


def test_a_repeated_id_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "r.jsonl"
    path.write_text(LINES[0] * 2)
    with pytest.raises(DataError, match="'0' occurs twice"):
        read_records(path, Result)


def test_two_writers_cannot_share_a_file(tmp_path: Path) -> None:
    path = tmp_path / "r.jsonl"
    with RecordFile(path, Result), pytest.raises(DataError, match="another process"):
        RecordFile(path, Result)
    with RecordFile(path, Result) as file:
        file.append(RECORDS[:1])


def test_an_atomic_write_replaces_and_leaves_nothing_behind(tmp_path: Path) -> None:
    path = tmp_path / "r.json"
    write_text(path, "old")
    write_text(path, "".join(LINES))
    assert read_records(path, Result) == RECORDS
    assert [p.name for p in tmp_path.iterdir()] == ["r.json"]


def test_a_number_that_json_lacks_is_refused() -> None:
    with pytest.raises(ValueError, match="JSON"):
        json_line({"id": "1", "seconds": float("nan")})


def test_what_is_no_file_is_named(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.jsonl")
    (tmp_path / "folder.jsonl").mkdir()
    for name in ("pipe.jsonl", "folder.jsonl"):
        with pytest.raises(DataError, match=rf"{name}: expected a regular file"):
            RecordFile(tmp_path / name, Result)
        with pytest.raises(DataError, match=rf"{name}: expected a regular file"):
            read_records(tmp_path / name, Result)
