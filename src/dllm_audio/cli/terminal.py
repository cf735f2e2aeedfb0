"""Output of the command: results on standard output, everything else on standard error."""

from __future__ import annotations

import io
import json
import os
import sys
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

from tqdm import tqdm


class OutputError(Exception):
    """Standard output is closed or full: no matter of a single input."""


def prepare_streams() -> None:
    """Let every text be printed whatever the terminal's encoding, and remarks go somewhere."""
    if sys.stderr is None:
        sys.stderr = open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115 (until the end)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper) and stream.errors == "strict":
            stream.reconfigure(errors="backslashreplace")


def silence() -> None:
    """Let what is still to be flushed when Python exits go nowhere."""
    with suppress(AttributeError, io.UnsupportedOperation):  # closed, or no file at all
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def say(text: str, end: str = "\n") -> None:
    """Print a result, flushed, so that a reader sees it at once.

    Raises:
        OutputError: it could not be printed.
    """
    if sys.stdout is None:
        raise OutputError("standard output: closed")
    try:
        print(text, end=end, flush=True)
    except OSError as error:
        raise OutputError(f"standard output: {error.strerror}") from error


def complain(message: str) -> None:
    """One line on standard error, above any progress bar."""
    tqdm.write(f"dllm-audio: {' '.join(message.split())}", file=sys.stderr)


def note(message: str) -> None:
    """A remark on standard error."""
    tqdm.write(message, file=sys.stderr)


def print_json(record: Mapping[str, Any]) -> None:
    """One JSON object on one line."""
    text = json.dumps(record, ensure_ascii=False)
    try:
        text.encode(getattr(sys.stdout, "encoding", None) or "utf-8")
    except UnicodeEncodeError:
        text = json.dumps(record)  # JSON has escapes of its own
    say(text)


def human_bytes(count: float) -> str:
    """A size in binary units.

    Example:
        >>> human_bytes(1536), human_bytes(17 * 2**30)
        ('1.5 KiB', '17.0 GiB')
    """
    for unit in ("B", "KiB", "MiB", "GiB"):
        if count < 1024 or unit == "GiB":
            return f"{count:.0f} {unit}" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1024
    raise AssertionError("the last unit always returns")
