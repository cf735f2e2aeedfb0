"""Odd files without end: each gives samples or one line that names it, in bounded memory."""

from __future__ import annotations

import statistics
from pathlib import Path

import pytest

from long_search import search

SCRIPT = Path(__file__).with_name("odd_audio.py")


@pytest.mark.parametrize(
    ("seed", "count"), [(0, 150), pytest.param(10_000, 5_000, marks=pytest.mark.slow)]
)
def test_odd_files_give_samples_or_one_line(seed: int, count: int, tmp_path: Path):
    records = search(SCRIPT, tmp_path, seed, count, 400)
    for record in records:
        assert ("error" in record) != ("samples" in record)
        if "error" in record:
            assert record["error"].startswith(f"{record['file']}: ")
            assert "\n" not in record["error"]
        else:
            assert record["finite"]
            assert record["samples"] > 0
    # Of the processor; nothing that is written in a file makes it work without end.
    seconds = [record["seconds"] for record in records]
    assert max(seconds) < 10_000 * statistics.median(seconds)
    heard = sum("samples" in record for record in records)
    assert count // 10 < heard < count  # neither nothing odd, nor nothing left to hear
