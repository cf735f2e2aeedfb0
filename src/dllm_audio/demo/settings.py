"""What the page may be asked for, and how much of it."""

from __future__ import annotations

import math
from dataclasses import dataclass

from ..errors import InvalidArgumentError

SLOWEST = 2.0  # seconds that a pass may be shown


@dataclass(frozen=True, slots=True)
class DemoSettings:
    """Limits of the page; every one of them bounds memory or time.

    Attributes:
        name: of the model, as the page shows it.
        max_queue: visitors who may wait; further ones are told to come back.
        max_file_mb: size of a clip's file, in MB (10^6 bytes).
        max_question: characters of a question.
        pace: seconds that each pass is shown at least, unless the visitor chooses.
        seed: for temperatures above 0.

    Raises:
        InvalidArgumentError: a limit that is no limit.
    """

    name: str = "dllm-audio-small"
    max_queue: int = 16
    max_file_mb: float = 25.0
    max_question: int = 1000
    pace: float = 0.4
    seed: int = 0

    def __post_init__(self) -> None:
        for name in ("max_queue", "max_question"):
            value = getattr(self, name)
            if not isinstance(value, int) or value < 1:
                raise InvalidArgumentError(name, "an integer >= 1", value)
        if not (self.max_file_mb > 0 and math.isfinite(self.max_file_mb)):
            raise InvalidArgumentError("max_file_mb", "a number > 0", self.max_file_mb)
        if not 0 <= self.pace <= SLOWEST:
            raise InvalidArgumentError("pace", f"seconds in 0..{SLOWEST:g}", self.pace)

    @property
    def max_bytes(self) -> int:
        """Bytes of the largest file."""
        return int(self.max_file_mb * 1e6)
