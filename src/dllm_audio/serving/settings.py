"""What a server may do, and how much of it."""

from __future__ import annotations

import math
from dataclasses import dataclass, fields

from ..errors import InvalidArgumentError

_MAY_BE_0 = ("max_queue", "seed")


@dataclass(frozen=True, slots=True)
class ServerSettings:
    """Limits of a server; every one of them bounds memory or time.

    Attributes:
        name: of the model, as clients ask for it.
        instruction: what is asked about a recording that is to be transcribed, where the request
            says nothing.
        api_key: clients must send it; None: anybody may ask.
        max_batch: requests in work at once.
        max_queue: requests that may wait; further ones are refused with 429.
        max_tokens: tokens of the longest answer that a request may ask for.
        max_audio_seconds: sound of one request.
        max_request_mb: size of a request's body, in MB (10^6 bytes).
        timeout: seconds that a request may take, waiting included.
        seed: where the seeds of requests that name none are drawn from.

    Raises:
        InvalidArgumentError: a limit that is no limit.
    """

    name: str
    instruction: str
    api_key: str | None = None
    max_batch: int = 8
    max_queue: int = 32
    max_tokens: int = 1024
    max_audio_seconds: float = 600.0
    max_request_mb: float = 25.0
    timeout: float = 120.0
    seed: int = 0

    def __post_init__(self) -> None:
        for field in fields(self):
            value, low = getattr(self, field.name), 0 if field.name in _MAY_BE_0 else 1
            if field.type == "int" and (not isinstance(value, int) or value < low):
                raise InvalidArgumentError(field.name, f"an integer >= {low}", value)
            if field.type == "float" and not (value > 0 and math.isfinite(value)):
                raise InvalidArgumentError(field.name, "a number > 0", value)
        if self.api_key is not None and not self.api_key.strip():
            raise InvalidArgumentError("api_key", "a text that is not empty, or None", "")

    @property
    def max_bytes(self) -> int:
        """Bytes of the largest body."""
        return int(self.max_request_mb * 1e6)
