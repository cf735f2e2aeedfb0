"""Odd data without end: each file gives a result or one line that names it, in bounded memory.

The default is a handful. For a long search::

    FUZZ_CASES=2000 python -m pytest -q tests/test_odd_data.py

``FUZZ_FIRST=500`` begins with case 500.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

FIRST, CASES = int(os.environ.get("FUZZ_FIRST", "0")), int(os.environ.get("FUZZ_CASES", "40"))
SCRIPT = Path(__file__).with_name("odd_data.py")
GIBIBYTE = 2**20  # in KiB


def test_odd_data_give_a_result_or_one_line(tmp_path: Path) -> None:
    command = [sys.executable, str(SCRIPT), str(tmp_path), str(FIRST), str(CASES)]
    paths = os.pathsep.join([str(SCRIPT.parent / "audio"), os.environ.get("PYTHONPATH", "")])
    environment = {**os.environ, "PYTHONPATH": paths, "OMP_NUM_THREADS": "1"}
    made = subprocess.run(command, capture_output=True, env=environment)
    told = made.stderr.decode("utf-8", "replace")
    assert made.returncode == 0, told[-3000:]  # names the case that ended it
    *records, whole = map(json.loads, made.stdout.splitlines())
    assert len(records) == CASES
    broken = [f"{record}" for record in records if not _holds(record, tmp_path)]
    assert not broken, "\n".join(broken)
    assert whole["kibibytes"] < 2 * GIBIBYTE
    results = sum(record["outcome"] == "result" for record in records)
    assert CASES // 10 < results < CASES  # neither nothing odd, nor nothing left to use


def _holds(record: dict[str, object], folder: Path) -> bool:
    said = str(record["said"])
    if "Traceback" in said or not float(str(record["seconds"])) < 20:  # of the processor
        return False
    if record["outcome"] == "result":
        return True
    message = said[said.index("error: ") :].strip()
    lines = message.split("\n")
    # Training lists the first ten rows that are wrong, each on a line.
    short = len(lines) <= (11 if record["kind"] == "train" else 1) and max(map(len, lines)) < 700
    of_a_row = bool(record["rows"]) and record["form"] not in ("parquet", "saved")
    where = re.search(r"(row|line|utterance) ", message) is not None
    return short and str(folder / str(record["case"])) in message and (where or not of_a_row)
