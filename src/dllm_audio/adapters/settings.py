"""Checks of settings that may come from a stranger's file."""

from __future__ import annotations

from ..errors import InvalidArgumentError

# Far above any adapter; a stranger's config must not keep us building layers for hours.
LARGEST = 2**24
MOST_LAYERS = 2**10


def check_integers(least: int = 1, most: int = LARGEST, **values: object) -> None:
    """Refuse what is no integer in the range.

    Raises:
        InvalidArgumentError: names the first such value.
    """
    for name, value in values.items():
        fits = isinstance(value, int) and not isinstance(value, bool) and least <= value <= most
        if not fits:
            expected = f"an integer >= {least} and at most {most}"
            raise InvalidArgumentError(name, expected, value)
