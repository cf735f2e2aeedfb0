"""Reading fields of a row, with errors that name the row and the field."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from ..errors import DataError

# Names under which a field is looked for, in this order; the published one comes first.
AUDIO_FIELDS = ("audio_filepath", "audio", "audio_path", "path")
INSTRUCTION_FIELDS = ("input", "instruction", "question", "prompt")
TARGET_FIELDS = ("target", "answer", "output", "response")
ID_FIELDS = ("audio_id", "id")


class Row:
    """A mapping that knows where it comes from.

    Args:
        values: the row.
        index: its position, from 0.
        source: file or data set that it comes from; appears in errors.
        root: folder that relative audio paths start from.
    """

    def __init__(
        self, values: Mapping[str, Any], index: int, source: str, root: Path | None = None
    ) -> None:
        self.index, self.source, self.root = index, source, root
        if not isinstance(values, Mapping):
            raise self.error("row", "an object with named fields", values)
        self.values = values

    def error(self, name: str, expected: str, got: object) -> DataError:
        """An error about one field."""
        text = repr(got)
        text = text if len(text) <= 80 else text[:77] + "..."
        return DataError(
            f"{self.source}, row {self.index}, field {name!r}: expected {expected}, got {text}"
        )

    def find(self, names: Sequence[str]) -> str | None:
        """The first of ``names`` that the row has a value for."""
        return next((name for name in names if self.values.get(name) is not None), None)

    def is_list(self, name: str) -> bool:
        """Whether the field holds a list (of messages, for example) and not a text."""
        value = self.values.get(name)
        return isinstance(value, Sequence) and not isinstance(value, str)

    def text(self, names: Sequence[str]) -> str:
        """A text that is not blank."""
        name = self.find(names)
        value = None if name is None else self.values[name]
        if not isinstance(value, str) or not value.strip():
            raise self.error(name or " or ".join(names), "a text that is not blank", value)
        return value

    def optional_text(self, names: Sequence[str]) -> str | None:
        """A name as text, or None where the row has none."""
        name = self.find(names)
        return None if name is None else str(self.values[name])

    def seconds(self, name: str = "duration") -> float | None:
        """A positive number of seconds, perhaps as a table's text; None where the row has none."""
        value: Any = self.values.get(name)
        if value is None or value == "":
            return None
        if isinstance(value, str):
            with suppress(ValueError):
                value = float(value)
        number = isinstance(value, int | float) and not isinstance(value, bool)
        if not number or not math.isfinite(value) or value <= 0:
            raise self.error(name, "a number of seconds > 0", value)
        return float(value)

    def audio(self, names: Sequence[str] = AUDIO_FIELDS) -> Any:
        """An audio source that :func:`dllm_audio.load_audio` takes, or None where there is none."""
        name = self.find(names)
        return None if name is None else self.audio_value(name, self.values[name])

    def audio_value(self, name: str, value: Any) -> Any:
        """An audio source from any of the forms in which data sets hold one."""
        if isinstance(value, Mapping):
            # Hugging Face datasets, undecoded or decoded.
            if value.get("bytes") is not None:
                return value["bytes"]
            if value.get("array") is not None and value.get("sampling_rate"):
                return (value["array"], value["sampling_rate"])
            value = value.get("path")
        if isinstance(value, Path):
            value = str(value)
        if isinstance(value, str) and value.strip():
            if "://" in value:
                raise self.error(name, "a local path (URLs are not fetched)", value)
            path = Path(value)
            return str(path if path.is_absolute() or self.root is None else self.root / path)
        if isinstance(value, bytes) and value:
            return value
        if isinstance(value, tuple) and len(value) == 2:
            return value
        raise self.error(name, "a path, bytes, (array, rate) or an audio object", value)
