"""The choices of a question: reading them from a row and showing them in another order."""

from __future__ import annotations

import ast
import random
from collections.abc import Sequence
from contextlib import suppress
from string import ascii_uppercase
from typing import Any

from ..errors import DataError
from ..files import parse_json


def parse_choices(value: Any, where: str) -> list[str | None]:
    """Choices of a row: a list, or text that holds one (JSON, as some copies store them).

    Raises:
        DataError: it is neither; ``where`` names the row and the field.

    Example:
        >>> parse_choices('["rain", "a dog"]', "row 0")
        ['rain', 'a dog']
    """
    if isinstance(value, str):
        value = _parse_text(value)
    if not isinstance(value, list | tuple) or not all(
        choice is None or isinstance(choice, str) for choice in value
    ):
        raise DataError(f"{where}: expected a list of texts, got {value!r}")
    if not any(choice is not None for choice in value):
        raise DataError(f"{where}: expected at least one choice, got none")
    if len(value) > len(ascii_uppercase):
        most = len(ascii_uppercase)
        raise DataError(f"{where}: expected at most {most}, one a letter, got {len(value)}")
    return list(value)


def _parse_text(text: str) -> Any:
    with suppress(DataError):
        return parse_json(text, "choices")
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError, RecursionError, MemoryError):
        return text


def permute_choices(
    choices: Sequence[str | None], seed: int, item_id: str
) -> tuple[list[str | None], list[int]]:
    """Choices in an order drawn from the seed and the item's id; missing ones stay last.

    A model that answers by position instead of content loses under another order.

    Returns:
        The choices as they are to be shown, and the original index of each shown choice.

    Example:
        >>> shown, order = permute_choices(["a", "b", None], seed=0, item_id="7")
        >>> sorted(order), shown == [["a", "b", None][i] for i in order]
        ([0, 1, 2], True)
    """
    present = [i for i, choice in enumerate(choices) if choice is not None]
    absent = [i for i, choice in enumerate(choices) if choice is None]
    # A text seed is hashed the same way on every platform and in every process.
    random.Random(f"{seed}:{item_id}").shuffle(present)
    order = [*present, *absent]
    return [choices[i] for i in order], order
