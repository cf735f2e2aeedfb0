"""Files are written whole or not at all, and no file of a stranger can hang or spoil a program."""

from __future__ import annotations

import errno
import json
import os
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dllm_audio.errors import CheckpointError, DataError, InvalidArgumentError
from dllm_audio.files import (
    append_json_line,
    parse_json,
    parse_json_list,
    read_json,
    read_json_lines,
    read_text,
    replacing,
    write_json,
    write_text,
)

JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**70), 2**70)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(exclude_categories=["Cs"])),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(
            st.text(st.characters(exclude_categories=["Cs"]), max_size=5), inner, max_size=4
        )
    ),
    max_leaves=12,
)
SEPARATORS = ["\u2028", "\u2029", "\u0085", "\x0b", "\x1c", "\r", "\n", "\r\n"]


@settings(max_examples=60)
@given(value=st.dictionaries(st.text(st.characters(exclude_categories=["Cs"])), JSON, max_size=4))
def test_what_is_written_is_read_back(tmp_path_factory, value) -> None:
    root = tmp_path_factory.mktemp("files")
    write_json(root / "a.json", value)
    assert read_json(root / "a.json") == value
    append_json_line(root / "a.jsonl", value, {"x": 1})
    append_json_line(root / "a.jsonl", value)
    assert list(read_json_lines(root / "a.jsonl")) == [(1, value), (2, {"x": 1}), (3, value)]


@settings(max_examples=200)
@given(data=st.binary(max_size=80) | st.text('{}[]":,\\ud8ec09 \n').map(str.encode))
def test_any_bytes_are_read_or_refused_by_name(tmp_path_factory, data) -> None:
    path = tmp_path_factory.mktemp("files") / "any.json"
    path.write_bytes(data)
    for read in (read_json, lambda p: list(read_json_lines(p, CheckpointError))):
        try:
            read(path)
        except CheckpointError as error:
            assert str(error).startswith(str(path))  # noqa: PT017


HOSTILE = {
    "nested lists": (b"[" * 100_000 + b"]" * 100_000, r"not readable as JSON \(nested deeper"),
    "nested objects": (
        b'{"a":' * 100_000 + b"1" + b"}" * 100_000,
        r"not readable as JSON \(nested deeper",
    ),
    "just too deep": (b"[" * 102 + b"]" * 102, r"not readable as JSON \(nested deeper"),
    "many digits": (b'{"a": ' + b"9" * 5000 + b"}", "an integer of 5000 digits"),
    "more than a float holds": (b'{"a": 1' + b"0" * 400 + b"}", "an integer of 401 digits"),
    "key twice": (b'{"a": 1, "b": {"c": 1, "c": 2}}', "a key comes twice in one JSON object: 'c'"),
    "half a pair": (b'{"a": ["\\ud83d"]}', r"half of a surrogate pair.*\\ud83d"),
    "half a pair in a key": (b'{"\\uDC00": 1}', "half of a surrogate pair"),
    "not UTF-8": (b'{"a": "\xff"}', "not UTF-8"),
    "a surrogate as bytes": (b'{"a": "\xed\xa0\x80"}', "not UTF-8"),
    "UTF-16": ('{"a": 1}'.encode("utf-16"), "not UTF-8"),
    "empty": (b"", "not readable as JSON"),
    "cut": (b'{"a": "b', "not readable as JSON"),
    "a list": (b"[1]", "expected a JSON object, got list"),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_json_is_refused(tmp_path: Path, name: str) -> None:
    data, message = HOSTILE[name]
    path = tmp_path / "hostile.json"
    path.write_bytes(data)
    with pytest.raises(DataError, match=rf"hostile\.json(, line 1)?: {message}"):
        read_json(path, DataError)


@given(st.lists(JSON, max_size=5), st.sampled_from(["", " ", "\n\t", "\r\n"]))
@settings(max_examples=60, deadline=None)
def test_a_list_is_read_as_a_whole_is(values: list[Any], space: str) -> None:
    text = space + json.dumps(values, indent=len(space) or None) + space
    assert parse_json_list(text, "x") == json.loads(text)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[{}, [}", "x, row 1: not readable as JSON"),
        ("[1, 2, ]", "x, row 2: not readable as JSON"),
        ("[1, 2 3]", r"x, row 1: not readable as JSON \(Expecting ',' delimiter"),
        ("[1, 2", r"x, row 1: not readable as JSON \(Expecting ',' delimiter"),
        ("[", "x, row 0: not readable as JSON"),
        ('[{}, {"a": 1, "a": 2}]', r"x, row 1: .*a key comes twice in one JSON object: 'a'"),
        (f"[{{}}, {'9' * 5000}]", "x, row 1: .*an integer of 5000 digits"),
        ("[{}, {}, " + "[" * 10**5, "x, row 2: .*nested deeper than 100"),
        ("[{}, " + "[" * 102 + "]" * 102 + "]", "x, row 1: .*nested deeper than 100"),
        ('[{}, {"a": "\\ud83d"}]', "x, row 1: .*half of a surrogate pair"),
        ("[1] 2", r"x: not readable as JSON \(Extra data"),
        ("", r"x: not readable as JSON \(Expecting a list"),
        ("{}", r"x: not readable as JSON \(Expecting a list"),
    ],
)
def test_what_is_wrong_in_a_list_names_its_row(text: str, message: str) -> None:
    with pytest.raises(DataError, match=f"^{message}") as caught:
        parse_json_list(text, "x")
    assert len(str(caught.value)) < 200


def test_the_line_that_is_not_utf_8_is_named(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_bytes(b"one\ntwo\nthr\xff\n")
    with pytest.raises(DataError, match=r"a\.txt, line 3: not UTF-8"):
        read_text(tmp_path / "a.txt")


@pytest.mark.parametrize("name", sorted(set(HOSTILE) - {"empty", "UTF-16"}))
def test_a_damaged_line_is_named_or_passed_over(tmp_path: Path, name: str) -> None:
    data, message = HOSTILE[name]
    path = tmp_path / "hostile.jsonl"
    path.write_bytes(b'{"a": 1}\n' + data + b'\n{"a": 2}\n')
    with pytest.raises(DataError, match=rf"hostile\.jsonl, line 2: {message}"):
        list(read_json_lines(path))
    assert [n for n, _ in read_json_lines(path, skip_damaged=True)] == [1, 3]


def test_what_is_deep_and_paired_but_not_too_much_is_read() -> None:
    assert parse_json("[" * 100 + "]" * 100, "x")
    assert parse_json('["\\ud83d\\ude00"]', "x") == ["\U0001f600"]
    assert parse_json("1" * 300, "x") == int("1" * 300)


def test_a_byte_order_mark_is_no_part_of_the_text(tmp_path: Path) -> None:
    path = tmp_path / "bom.json"
    path.write_bytes(b'\xef\xbb\xbf{"a": 1}\n')
    assert read_json(path) == {"a": 1}
    assert list(read_json_lines(path)) == [(1, {"a": 1})]


@pytest.mark.parametrize("separator", SEPARATORS)
def test_only_a_newline_ends_a_line(tmp_path: Path, separator: str) -> None:
    path = tmp_path / "lines.jsonl"
    path.write_bytes(json.dumps({"a": f"x{separator}y"}, ensure_ascii=False).encode() + b"\r\n\n")
    append_json_line(path, {"a": f"x{separator}y"})
    found = list(read_json_lines(path))
    assert found == [(1, {"a": f"x{separator}y"}), (3, {"a": f"x{separator}y"})]


@pytest.mark.parametrize("kind", ["fifo", "device", "link to a device", "folder", "missing", "\0"])
def test_special_files_are_refused_at_once(tmp_path: Path, kind: str) -> None:
    path = tmp_path / ("a\0b" if kind == "\0" else "special.json")
    if kind == "fifo":
        os.mkfifo(path)
    elif kind == "device":
        path = Path("/dev/zero")
    elif kind == "link to a device":
        path.symlink_to("/dev/zero")
    elif kind == "folder":
        path.mkdir()
    for read in (read_json, read_text, lambda p: list(read_json_lines(p))):
        with pytest.raises((CheckpointError, DataError), match=r"regular file|no such|opened"):
            read(path)


def test_a_file_that_is_too_large_is_not_read(tmp_path: Path) -> None:
    path = tmp_path / "large.json"
    with path.open("wb") as file:
        file.truncate(2**40)  # takes no space on the disk
    with pytest.raises(CheckpointError, match=r"large\.json: larger than"):
        read_json(path)
    with pytest.raises(DataError, match=r"large\.json, line 1: longer than"):
        list(read_json_lines(path))


@pytest.mark.parametrize(
    "failure",
    [
        OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)),
        OSError("no number"),
        RuntimeError("[enforce fail at inline_container.cc] file write failed"),
    ],
)
def test_a_failure_names_the_file_and_leaves_the_old_one(tmp_path: Path, failure) -> None:
    path = tmp_path / "r.json"
    write_text(path, "old")

    def fail() -> None:
        with replacing(path) as scratch:
            scratch.write_text("half")
            raise failure

    with pytest.raises(OSError, match=r"r\.json"):
        fail()
    assert path.read_text() == "old"
    assert [p.name for p in tmp_path.iterdir()] == ["r.json"]


@pytest.mark.parametrize("call", ["fsync", "replace"])
def test_the_old_file_stays_until_the_new_one_is_on_the_disk(tmp_path, monkeypatch, call) -> None:
    path = tmp_path / "r.json"
    write_text(path, "old")

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "full")

    monkeypatch.setattr(os, call, full)
    with pytest.raises(OSError, match=r"r\.json"):
        write_json(path, {"new": 1})
    assert path.read_text() == "old"
    assert [p.name for p in tmp_path.iterdir()] == ["r.json"]


def test_our_own_bugs_are_not_called_a_failure_of_the_disk(tmp_path: Path) -> None:
    with pytest.raises(ZeroDivisionError), replacing(tmp_path / "r.json"):
        raise ZeroDivisionError
    assert list(tmp_path.iterdir()) == []


def test_a_failed_append_takes_back_its_half(tmp_path, monkeypatch) -> None:
    path = tmp_path / "r.jsonl"
    append_json_line(path, {"a": 1})

    def full(_: object) -> None:
        raise OSError(errno.ENOSPC, "full")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match=r"r\.jsonl"):
        append_json_line(path, {"a": 2})
    assert list(read_json_lines(path)) == [(1, {"a": 1})]


@pytest.mark.parametrize("cut", range(9))
def test_a_line_torn_by_a_kill_spoils_no_other(tmp_path: Path, cut: int) -> None:
    path = tmp_path / "r.jsonl"
    path.write_bytes(b'{"a": 1}\n' + b'{"a": 2}\n'[:cut])
    assert list(read_json_lines(path, skip_unended=True)) == [(1, {"a": 1})]
    append_json_line(path, {"a": 3})
    found = [record["a"] for _, record in read_json_lines(path, skip_damaged=True)]
    assert found == ([1, 2, 3] if cut == 8 else [1, 3])


def test_missing_folders_are_made_and_modes_are_usual(tmp_path: Path) -> None:
    write_text(tmp_path / "a" / "b.txt", "x")
    (tmp_path / "plain").touch()
    assert (tmp_path / "a" / "b.txt").stat().st_mode == (tmp_path / "plain").stat().st_mode


@pytest.mark.parametrize("value", [float("nan"), object(), {1: {2}}])
def test_what_json_cannot_hold_is_refused_before_anything_is_written(tmp_path, value) -> None:
    for write in (write_json, lambda p, v: append_json_line(p, {"ok": 1}, {"v": v})):
        with pytest.raises(InvalidArgumentError, match="JSON"):
            write(tmp_path / "r", value)
    assert list(tmp_path.iterdir()) == []
