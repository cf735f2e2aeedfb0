"""Results that were paid for once, kept in a file that an interruption cannot spoil."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any


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
            # Not splitlines(): JSON strings may hold U+2028, U+2029 and U+0085 as they are.
            for line in self.path.read_text(encoding="utf-8", errors="replace").split("\n"):
                self._read(line)

    def _read(self, line: str) -> None:
        try:
            entry = json.loads(line)
        except json.JSONDecodeError:
            return
        if isinstance(entry, dict) and isinstance(entry.get("key"), str) and "value" in entry:
            self._values[entry["key"]] = entry["value"]

    def __len__(self) -> int:
        return len(self._values)

    def get(self, key: str) -> Any:
        """The value kept under ``key``, or None."""
        return self._values.get(key)

    def __setitem__(self, key: str, value: Any) -> None:
        self._values[key] = value
        if self.path is None:
            return
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with self.path.open("a", encoding="utf-8") as file:
            # The newline comes first, so that it also ends a line that was cut short.
            file.write("\n" + json.dumps({"key": key, "value": value}, ensure_ascii=False))
