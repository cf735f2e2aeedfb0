"""Output of the command: results on standard output, everything else on standard error."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from typing import Any

from tqdm import tqdm


def complain(message: str) -> None:
    """One line on standard error, above any progress bar."""
    tqdm.write(f"dllm-audio: {' '.join(message.split())}", file=sys.stderr)


def note(message: str) -> None:
    """A remark on standard error."""
    tqdm.write(message, file=sys.stderr)


def print_json(record: Mapping[str, Any]) -> None:
    """One JSON object on one line, flushed, so that a reader sees it at once."""
    print(json.dumps(record, ensure_ascii=False), flush=True)


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
