"""Odd data without end: each file gives a result or one line that names it, in bounded memory.

The default is a handful. For a long search::

    FUZZ_CASES=2000 python -m pytest -q tests/test_odd_data.py

``FUZZ_FIRST=500`` begins with case 500.
"""

from __future__ import annotations

import re
from pathlib import Path

from long_search import FIRST, cases, search

CASES = cases(40)
SCRIPT = Path(__file__).with_name("odd_data.py")


def test_odd_data_give_a_result_or_one_line(tmp_path: Path) -> None:
    records = search(SCRIPT, tmp_path, FIRST, CASES, 2048, SCRIPT.parent / "audio")
    broken = [f"{record}" for record in records if not _holds(record, tmp_path)]
    assert not broken, "\n".join(broken)
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
