"""Checks of settings, which may come from a stranger's file."""

from __future__ import annotations

import sys

from ..errors import InvalidArgumentError

# No response has so many positions or passes; a number in a file must not become a long list.
LARGEST = 2**20
_FAR = sys.float_info.max


def check_integer(name: str, value: object, low: int = 1, high: int = LARGEST) -> None:
    """An ``int`` in ``low..high``, and no ``bool``.

    Raises:
        InvalidArgumentError: it is none.
    """
    if isinstance(value, bool) or not isinstance(value, int) or value < low:
        raise InvalidArgumentError(name, f"an integer >= {low}", shown(value))
    if value > high:
        raise InvalidArgumentError(name, f"an integer in {low}..{high}", shown(value))


def check_number(
    name: str, value: object, low: float = -_FAR, expected: str = "", high: float = _FAR
) -> None:
    """A finite ``int`` or ``float`` in ``[low, high]``, and no ``bool``.

    Args:
        name: of the argument.
        value: what came.
        low: smallest value.
        expected: for the message; the lower bound itself where empty.
        high: largest value.

    Raises:
        InvalidArgumentError: it is none.
    """
    number = isinstance(value, int | float) and not isinstance(value, bool)
    if not number or not -_FAR <= value <= high or value < low:  # type: ignore[operator]
        bound = "a finite number" if low == -_FAR else f"a finite number >= {low}"
        raise InvalidArgumentError(name, expected or bound, shown(value))


def check_choice(name: str, value: object, choices: tuple[object, ...]) -> None:
    """One of a few values.

    Raises:
        InvalidArgumentError: it is none of them.
    """
    if not any(type(value) is type(choice) and value == choice for choice in choices):
        raise InvalidArgumentError(name, f"one of {choices}", shown(value))


def check_flag(name: str, value: object) -> None:
    """True or False.

    Raises:
        InvalidArgumentError: anything else.
    """
    if not isinstance(value, bool):
        raise InvalidArgumentError(name, "True or False", shown(value))


def shown(value: object) -> object:
    """The value as an error may print it: not without end."""
    try:
        text = f"{value!r}" if isinstance(value, str) else f"{value}"
    except (ValueError, RecursionError):  # an integer of thousands of digits, perhaps inside
        return f"something long of type {type(value).__name__}"
    return text if len(text) <= 80 else f"{text[:77]}..."
