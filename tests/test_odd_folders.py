"""Saved models changed without end: each answers or is refused on one line, in bounded memory.

The default is a handful. For a long search::

    FUZZ_CASES=3000 python -m pytest -q tests/test_odd_folders.py

``FUZZ_FIRST=500`` begins with case 500.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
from pathlib import Path

FIRST, CASES = int(os.environ.get("FUZZ_FIRST", "0")), int(os.environ.get("FUZZ_CASES", "120"))
SCRIPT = Path(__file__).with_name("odd_folders.py")
GIBIBYTE = 2**20  # in KiB


def test_odd_folders_answer_or_are_refused_by_name(tmp_path: Path) -> None:
    command = [sys.executable, str(SCRIPT), str(tmp_path), str(FIRST), str(CASES)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    made = subprocess.run(command, capture_output=True, text=True, env=environment)
    assert made.returncode == 0, made.stderr[-3000:]  # names the case that ended it
    *records, whole = map(json.loads, made.stdout.splitlines())
    assert len(records) == CASES
    for record in records:
        error = record["error"]
        if error:
            assert error.startswith(record["folder"]), record
            assert "\n" not in error
            assert len(error) < 700, record
    # Of the processor; nothing that is written in a file makes it work without end.
    seconds = [record["seconds"] for record in records]
    assert max(seconds) < 1000 * statistics.median(seconds)
    assert whole["kibibytes"] < 2 * GIBIBYTE
    refused = sum(bool(record["error"]) for record in records)
    assert CASES // 10 < refused < CASES  # neither nothing odd, nor nothing left to ask
