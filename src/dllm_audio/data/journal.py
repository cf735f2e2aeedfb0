"""Results that were paid for once, kept in a file that an interruption cannot spoil."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ..files import append_json_line, read_json_lines


class Journal:
    """A JSON Lines file of ``{"key": ..., "value": ...}``, appended to as results come.

    A line that an interruption cut short is passed over when the file is read, and the next line
    starts on a fresh one.

    Args:
        path: the file; None keeps the results in memory only.

    Example:
        >>> journal = Journal(None)
        >>> journal["a"] = 1
        >>> journal.get("a"), journal.get("b")
        (1, None)
    """

    def __init__(self, path: str | Path | None) -> None:
        self.path = None if path is None else Path(path)
        self._values: dict[str, Any] = {}
        if self.path is not None and self.path.exists():
            for _, entry in read_json_lines(self.path, skip_damaged=True):
                if isinstance(entry.get("key"), str) and "value" in entry:
                    self._values[entry["key"]] = entry["value"]

    def __len__(self) -> int:
        return len(self._values)

    def get(self, key: str) -> Any:
        """The value kept under ``key``, or None."""
        return self._values.get(key)

    def __setitem__(self, key: str, value: Any) -> None:
        self._values[key] = value
        if self.path is not None:
            append_json_line(self.path, {"key": key, "value": value})
