"""Why there is no answer, in the form of OpenAI's errors."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..errors import (
    AudioError,
    AudioTooLongError,
    DataError,
    DllmAudioError,
    InvalidArgumentError,
    one_line,
)
from .engine import AbandonedError, RefusedError, TimeUpError

GONE = 499  # nobody reads it; it only counts


class ApiError(DllmAudioError):
    """A request that gets no answer.

    Args:
        status: of HTTP.
        message: what was expected and what came.
        param: the field that is meant.
        code: for programs.
        headers: of the response.

    Example:
        >>> ApiError(400, "seed: expected an integer, got 'x'", "seed").body()["error"]["param"]
        'seed'
    """

    def __init__(
        self,
        status: int,
        message: str,
        param: str | None = None,
        code: str | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.message = message
        self.param = param
        self.code = code
        self.headers = dict(headers or {})

    def body(self) -> dict[str, Any]:
        """The JSON object that a client gets."""
        kind = "invalid_request_error"
        if self.status >= 500 or self.status == GONE:
            kind = "server_error"
        elif self.status == 429:
            kind = "rate_limit_error"
        elif self.status == 401:
            kind = "authentication_error"
        found = {"message": self.message, "type": kind, "param": self.param, "code": self.code}
        return {"error": found}


def invalid(param: str, expected: str, got: object) -> ApiError:
    """A field with a value that cannot be.

    Example:
        >>> str(invalid("temperature", "a number in 0..2", 7))
        'temperature: expected a number in 0..2, got 7'
    """
    shown = got if isinstance(got, int | float | bool) and abs(got) < 1e300 else short(got)
    return ApiError(400, f"{param}: expected {expected}, got {shown}", param)


def short(value: object) -> str:
    """A value in a few characters, whatever it is."""
    text = ascii(value) if not isinstance(value, dict | list) else f"{type(value).__name__}"
    return text if len(text) <= 60 else f"{text[:45]}... ({len(text)} characters)"


def translated(error: BaseException, param: str | None = None, blame: bool = False) -> ApiError:
    """What a client is told of an error.

    Args:
        error: of anything that was done for the request.
        param: the field that was read, where the error does not name one.
        blame: whether numbers that are not finite are the fault of the request's own settings.
    """
    if isinstance(error, ApiError):
        return error
    text = one_line(error)
    if isinstance(error, RefusedError):
        return ApiError(503, f"{text}; try again later", code="stopping")
    if isinstance(error, TimeUpError):
        return ApiError(504, text, code="timeout")
    if isinstance(error, AbandonedError):
        return ApiError(GONE, text, code="abandoned")
    if isinstance(error, AudioTooLongError):
        return ApiError(413, _named(text, param), param, "audio_too_long")
    if isinstance(error, AudioError):
        return ApiError(400, _named(text, param), param, "invalid_audio")
    if isinstance(error, InvalidArgumentError):
        return ApiError(400, text, param or error.argument)
    if isinstance(error, DataError):
        return ApiError(400, text, param)
    if isinstance(error, ArithmeticError) and blame:
        return ApiError(400, f"sampler: expected settings that give finite numbers ({text})")
    # What went wrong inside is for the log, not for strangers.
    return ApiError(500, "the server failed to answer this request", code="internal_error")


def _named(text: str, param: str | None) -> str:
    return text if param is None or text.startswith(param) else f"{param}: {text}"
