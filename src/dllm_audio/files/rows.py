"""Rows of a data set in a file: a JSON list, JSON Lines, or a table with a header."""

from __future__ import annotations

import csv
import io
from pathlib import Path
from typing import Any

from ..errors import DataError
from .parsing import parse_json_list
from .reading import read_json_lines, read_text

MAX_ROWS_BYTES = 2**30  # of a list or table, which is held whole; JSON Lines may be longer
_TABLES = {".csv": ",", ".tsv": "\t"}


def read_rows(path: str | Path) -> list[dict[str, Any]]:
    """Rows of a file; ``.csv`` and ``.tsv`` are tables, all others JSON.

    A JSON list and JSON Lines are told apart by the first character.

    Raises:
        DataError: missing, too large, not UTF-8, damaged, or a row without named fields; names
            the file, and the line or row.
    """
    path = Path(path)
    if path.suffix in _TABLES:
        text = read_text(path, DataError, MAX_ROWS_BYTES)
        # Split by the csv module alone: a quoted field may hold line ends.
        rows: Any = _read_table(text, path, _TABLES[path.suffix])
    elif _first_character(path) == "[":
        rows = parse_json_list(read_text(path, DataError, MAX_ROWS_BYTES), str(path))
    else:
        rows = [row for _, row in read_json_lines(path)]
        if path.suffix == ".json" and len(rows) == 1:  # more likely a list inside an object
            raise DataError(f"{path}: expected a list of records, got one object")
    for index, row in enumerate(rows):
        if not isinstance(row, dict) or None in row:
            raise DataError(f"{path}, row {index}: expected a list of records, got {row!r:.80}")
    return rows


def _read_table(text: str, path: Path, delimiter: str) -> list[dict[str, Any]]:
    """Rows of a table; what the csv module would mend by guessing is refused."""
    # ``strict``: a quote that is not closed would swallow the rest of the file.
    lines = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    try:
        names = next(lines, [])
        twice = next((name for name in names if names.count(name) > 1), None)
        if twice is not None:
            raise DataError(f"{path}, line 1: the column {twice!r:.80} comes twice")
        rows: list[dict[str, Any]] = []
        for values in lines:
            if values and len(values) != len(names):
                where = f"{path}, row {len(rows)} (to line {lines.line_num})"
                raise DataError(f"{where}: expected {len(names)} fields, got {len(values)}")
            if values:
                rows.append(dict(zip(names, values, strict=True)))
    except csv.Error as error:
        where = f"{path}, line {lines.line_num}"
        raise DataError(f"{where}: not readable as a table ({error})") from error
    return rows


def _first_character(path: Path) -> str:
    with path.open("rb") if path.is_file() else io.BytesIO() as file:
        return file.read(2**10).decode("utf-8-sig", "replace").lstrip()[:1]
