"""Fields of a request, each with a check; an error names the field."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Mapping
from typing import Any

from .refusals import ApiError, invalid

LARGEST_SEED = 2**63 - 1


class Fields:
    """A JSON object, or a form, whose fields are taken out one by one.

    Args:
        values: by name; null counts as not given.
        where: path of the object, for errors.
        texts: whether numbers are written as texts, as in forms.

    Example:
        >>> fields = Fields({"seed": 3, "top_k": 5})
        >>> fields.integer("seed", 0, 10)
        3
        >>> fields.end()
        Traceback (most recent call last):
        ...
        dllm_audio.serving.refusals.ApiError: top_k: expected no such field
    """

    def __init__(self, values: Mapping[str, Any], where: str = "", *, texts: bool = False) -> None:
        self._values = {name: value for name, value in values.items() if value is not None}
        self._where = where
        self._texts = texts

    def path(self, name: str) -> str:
        """How errors call a field."""
        return f"{self._where}.{name}" if self._where else name

    def take(self, name: str) -> Any:
        """Whatever is there, or None."""
        return self._values.pop(name, None)

    def required(self, name: str, expected: str) -> Any:
        """Whatever is there."""
        if name not in self._values:
            raise ApiError(
                400, f"{self.path(name)}: expected {expected}, got none", self.path(name)
            )
        return self.take(name)

    def text(self, name: str, choices: Collection[str] = ()) -> str | None:
        """A text, perhaps one of some."""
        value = self.take(name)
        expected = f"one of {', '.join(choices)}" if choices else "a text"
        if value is None:
            return None
        if not isinstance(value, str) or (choices and value not in choices):
            raise invalid(self.path(name), expected, value)
        return value

    def flag(self, name: str) -> bool:
        """True or false; not given is false."""
        value = self.take(name)
        if self._texts and isinstance(value, str):
            value = {"true": True, "false": False}.get(value.lower(), value)
        if value is not None and not isinstance(value, bool):
            raise invalid(self.path(name), "true or false", value)
        return bool(value)

    def integer(self, name: str, low: int, high: int) -> int | None:
        """An integer in ``low..high``."""
        value = self._number(name, int)
        whole = isinstance(value, int) and not isinstance(value, bool)
        if value is not None and not (whole and low <= value <= high):
            raise invalid(self.path(name), f"an integer in {low}..{high}", value)
        return value

    def number(self, name: str, low: float, high: float) -> float | None:
        """A finite number in ``low..high``."""
        value = self._number(name, float)
        real = isinstance(value, int | float) and not isinstance(value, bool)
        if value is not None and not (real and math.isfinite(value) and low <= value <= high):
            raise invalid(self.path(name), f"a number in {low:g}..{high:g}", value)
        return None if value is None else float(value)

    def neutral(self, name: str, *allowed: object) -> None:
        """A field that is known, but may only have a value that changes nothing."""
        value = self.take(name)
        if value is None:
            return
        fitting = any(type(value) is type(each) and value == each for each in allowed)
        if not fitting and not (self._texts and value in [str(each) for each in allowed]):
            shown = " or ".join(map(repr, allowed))
            raise invalid(self.path(name), f"{shown} (nothing else is supported)", value)

    def end(self) -> None:
        """Nothing else was given."""
        for name in self._values:
            path = self.path(name)
            path = path if len(path) <= 80 else f"{path[:77]}..."
            raise ApiError(400, f"{path}: expected no such field", path, "unknown_field")

    def _number(self, name: str, kind: Callable[[str], Any]) -> Any:
        value = self.take(name)
        if self._texts and isinstance(value, str) and len(value) <= 40:
            try:
                return kind(value)
            except ValueError:
                return value
        return value
