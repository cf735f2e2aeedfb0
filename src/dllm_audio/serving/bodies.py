"""Bodies of requests, read within bounds, and the client's presence watched."""

from __future__ import annotations

import asyncio
import time
from typing import Any

from starlette.requests import ClientDisconnect, Request

from ..errors import DataError
from ..files import parse_json
from .engine import AbandonedError
from .refusals import ApiError, short


async def read_body(request: Request, most: int, deadline: float) -> bytes:
    """The body, but no more than is allowed, in size and in time.

    Raises:
        ApiError: 413 and 408.
        AbandonedError: the client is gone.
    """
    too_large = ApiError(413, f"body: expected at most {most} bytes, got more", "body", "too_large")
    said = request.headers.get("content-length", "")
    if said.isdecimal() and (len(said) > 18 or int(said) > most):
        raise too_large

    async def collect() -> bytes:
        pieces: list[bytes] = []
        size = 0
        async for piece in request.stream():
            size += len(piece)
            if size > most:
                raise too_large
            pieces.append(piece)
        return b"".join(pieces)

    try:
        return await asyncio.wait_for(collect(), deadline - time.monotonic())
    except asyncio.TimeoutError:
        raise ApiError(408, "body: expected within the time limit", "body", "timeout") from None
    except ClientDisconnect:
        raise AbandonedError("the client is gone") from None


def json_body(request: Request, body: bytes) -> Any:
    """The value of a JSON body.

    Raises:
        ApiError: another type of content, or no JSON.
    """
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind != "application/json":
        raise ApiError(415, f"content-type: expected application/json, got {short(kind)}")
    try:
        return parse_json(body.decode("utf-8"), "body")
    except (UnicodeDecodeError, DataError) as error:
        raise ApiError(400, f"{error}"[:400], "body", "invalid_json") from error
