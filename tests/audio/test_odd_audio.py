"""Odd files without end: each gives samples or one line that names it, in bounded memory."""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).with_name("odd_audio.py")
MEBIBYTE = 1024  # in KiB


@pytest.mark.parametrize(
    ("seed", "count"), [(0, 150), pytest.param(10_000, 5_000, marks=pytest.mark.slow)]
)
def test_odd_files_give_samples_or_one_line(seed: int, count: int, tmp_path: Path):
    command = [sys.executable, str(SCRIPT), str(tmp_path), str(seed), str(count)]
    result = subprocess.run(command, capture_output=True, text=True)
    assert result.returncode == 0, result.stderr[-2000:]  # names the file at its end
    assert "Traceback" not in result.stderr
    *records, whole = map(json.loads, result.stdout.splitlines())
    assert len(records) == count
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
    assert whole["kibibytes"] < 400 * MEBIBYTE
    heard = sum("samples" in record for record in records)
    assert count // 10 < heard < count  # neither nothing odd, nor nothing left to hear
