"""JSON Lines that survive being killed: appended with an id, synced, repaired on opening."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

from ..errors import DataError
from ..files import json_line, read_json_lines


def read_records(path: Path) -> list[dict[str, Any]]:
    """All complete records of a file; a torn last line is left out, a missing file is empty.

    Raises:
        DataError: a line that is not the last is damaged, or an id occurs twice.
    """
    records: list[dict[str, Any]] = []
    seen: set[str] = set()
    lines = read_json_lines(path, skip_unended=True) if path.exists() else ()
    for expected, (number, record) in enumerate(lines, start=1):
        if number != expected or not isinstance(record.get("id"), str):
            raise DataError(f"{path}, line {min(number, expected)}: expected a record with an id")
        if record["id"] in seen:
            raise DataError(f"{path}, line {number}: the id {record['id']!r} occurs twice")
        seen.add(record["id"])
        records.append(record)
    return records


class RecordFile:
    """A file of records that one process appends to.

    Opening it cuts off a torn last line and locks the file, so that two runs cannot mix their
    results; the lock ends with the process, however it ends.

    Args:
        path: the file; made when it does not exist.

    Raises:
        DataError: the file is damaged beyond its last line, or another process has it open.

    Example:
        >>> import tempfile
        >>> path = Path(tempfile.mkdtemp()) / "results.jsonl"
        >>> with RecordFile(path) as file:
        ...     file.append([{"id": "1", "prediction": "A"}])
        >>> read_records(path)
        [{'id': '1', 'prediction': 'A'}]
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        path.parent.mkdir(parents=True, exist_ok=True)
        self._file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o644)
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            os.close(self._file)
            raise DataError(f"{path}: another process is writing to it") from error
        data = path.read_bytes()
        os.ftruncate(self._file, data.rfind(b"\n") + 1)
        try:
            self.records = read_records(path)
        except DataError:
            os.close(self._file)
            raise

    def append(self, records: Sequence[Mapping[str, Any]]) -> None:
        """Write records and wait until they are on the disk."""
        data = "".join(map(json_line, records)).encode()
        while data:
            data = data[os.write(self._file, data) :]
        os.fsync(self._file)

    def close(self) -> None:
        """Close the file and give up the lock."""
        os.close(self._file)

    def __enter__(self) -> RecordFile:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()
