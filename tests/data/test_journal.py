from __future__ import annotations

from pathlib import Path

import pytest

from dllm_audio.data.journal import Journal


@pytest.mark.parametrize("separator", ["\u2028", "\u2029", "\u0085", "\n", "\r\n"])
def test_what_python_takes_for_a_line_end_survives(tmp_path: Path, separator: str) -> None:
    path = tmp_path / "journal.jsonl"
    text = f"one{separator}two"
    Journal(path)["a"] = text
    again = Journal(path)
    assert (len(again), again.get("a")) == (1, text)


def test_a_file_with_windows_line_ends(tmp_path: Path) -> None:
    path = tmp_path / "journal.jsonl"
    path.write_bytes(b'{"key": "a", "value": 1}\r\n{"key": "b", "value": 2}\r\n')
    assert Journal(path).get("b") == 2
