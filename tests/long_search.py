"""Scripts that make odd things without end: run in a process of their own, within bounds.

``FUZZ_CASES=2000`` makes a search long, and ``FUZZ_FIRST=500`` begins with case 500.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

FIRST = int(os.environ.get("FUZZ_FIRST", "0"))
MEBIBYTE = 1024  # in KiB


def cases(default: int) -> int:
    """How many to make."""
    return int(os.environ.get("FUZZ_CASES", default))


def search(
    script: Path, folder: Path, first: int, count: int, mebibytes: int, *paths: Path
) -> list[dict[str, Any]]:
    """What a script says of each of its cases.

    Args:
        script: takes a folder, the first case and their number; prints a line of JSON for each,
            and one about the whole with its peak memory.
        folder: that it works in.
        first: number of the first case.
        count: how many.
        mebibytes: bound on the peak.
        paths: folders that it also imports from.
    """
    command = [sys.executable, str(script), str(folder), str(first), str(count)]
    path = os.pathsep.join([*map(str, paths), os.environ.get("PYTHONPATH", "")])
    environment = {**os.environ, "PYTHONPATH": path, "OMP_NUM_THREADS": "1"}
    made = subprocess.run(command, capture_output=True, env=environment)
    told = made.stderr.decode("utf-8", "replace")
    assert made.returncode == 0, told[-3000:]  # names the case that ended it
    assert "Traceback" not in told
    *records, whole = map(json.loads, made.stdout.splitlines())
    assert len(records) == count
    assert whole["kibibytes"] < mebibytes * MEBIBYTE
    return records
