"""Values of options, checked when the command line is read: before any file is touched."""

from __future__ import annotations

import math
import re
from argparse import ArgumentTypeError
from collections.abc import Callable
from typing import Final

LARGEST: Final = 2**20  # tokens, passes, rows at once: more than any model or memory holds
LARGEST_SEED: Final = 2**63 - 1


def integer(low: int = 1, high: int = LARGEST) -> Callable[[str], int]:
    """What reads an integer in ``low..high``.

    Example:
        >>> integer()("8")
        8
        >>> integer(high=10)("10000")
        Traceback (most recent call last):
        ...
        argparse.ArgumentTypeError: expected an integer in 1..10, got '10000'
    """

    def read(value: str) -> int:
        # Python has a limit of its own for digits, and also reads those of other scripts.
        found = int(value) if re.fullmatch(r"[+-]?[0-9]{1,40}", value) else None
        if found is None or not low <= found <= high:
            raise ArgumentTypeError(f"expected an integer in {low}..{high}, got {_shown(value)}")
        return found

    return read


def seed(value: str) -> int:
    """Read what generators of random numbers start from."""
    return integer(0, LARGEST_SEED)(value)


def number(
    low: float, high: float = math.inf, *, above: bool = False, unit: str = ""
) -> Callable[[str], float]:
    """What reads a finite number in ``low..high``.

    Args:
        low: smallest.
        high: largest.
        above: ``low`` itself is not among them.
        unit: for the message.
    """
    bound = f"{'>' if above else '>='} {low:g}" + (f" and <= {high:g}" if high < math.inf else "")
    expected = f"a number {f'of {unit} ' if unit else ''}{bound}"

    def read(value: str) -> float:
        try:
            found = float(value)
        except ValueError:
            found = math.nan
        if not math.isfinite(found) or not low <= found <= high or (above and found == low):
            raise ArgumentTypeError(f"expected {expected}, got {_shown(value)}")
        return found

    return read


def text(value: str) -> str:
    """Read a text that says something, in characters."""
    if not value.strip():
        raise ArgumentTypeError(f"expected a text, got {_shown(value)}")
    try:
        value.encode()
    except UnicodeEncodeError:
        raise ArgumentTypeError(f"expected UTF-8, got {_shown(value)}") from None
    return value


def name(value: str) -> str:
    """Read the name of a file, folder, model or setting; whether it exists is seen later."""
    if not value.strip() or "\0" in value:
        raise ArgumentTypeError(f"expected a name, got {_shown(value)}")
    return value


def _shown(value: str) -> str:
    quoted = ascii(value) if not value.isprintable() else repr(value)
    return quoted if len(quoted) <= 60 else f"{quoted[:57]}..."
