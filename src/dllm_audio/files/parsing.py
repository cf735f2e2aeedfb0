"""JSON of strangers, bounded in depth and digits; an error names where it stands."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from ..errors import DataError, DllmAudioError

MAX_DEPTH = 100
MAX_DIGITS = 300  # whatever has no more of them also fits a float
_NO_SPACE = re.compile(r"[^ \t\n\r]")
_SURROGATE = re.compile("[\ud800-\udfff]")

ErrorType = type[DllmAudioError]


def parse_json(text: str, source: str, error: ErrorType = DataError) -> Any:
    """The value that a JSON text stands for.

    Args:
        text: of anybody.
        source: what errors call it, such as a file's name.
        error: type of what is raised.

    Raises:
        DllmAudioError: of the type ``error``; no JSON, nested too deep, a number of too many
            digits, a key twice in one object, or half of a surrogate pair in a text.

    Example:
        >>> parse_json('{"steps": 8}', "run.json")
        {'steps': 8}
    """
    with _refusing(source, error):
        value = _DECODER.decode(text)
        _check_tree(value, _may_hold_halves(text))
    return value


def parse_json_list(text: str, source: str) -> list[Any]:
    """The values of a JSON list one by one, so that an error names the one that is wrong.

    Raises:
        DataError: as :func:`parse_json`; names the source and the row, from 0.

    Example:
        >>> parse_json_list('[{"id": 1}, {"id": 2}]', "rows.json")
        [{'id': 1}, {'id': 2}]
    """
    rows: list[Any] = []
    texts, place = _may_hold_halves(text), _skip(text, 0)
    with _refusing(source, DataError):
        if not text.startswith("[", place):
            raise json.JSONDecodeError("Expecting a list", text, place)
        place = _skip(text, place + 1)
        ended = text.startswith("]", place)
    while not ended:
        with _refusing(f"{source}, row {len(rows)}", DataError):
            value, place = _DECODER.raw_decode(text, place)
            _check_tree(value, texts)
            rows.append(value)
            place = _skip(text, place)
            ended = text.startswith("]", place)
            if not ended and not text.startswith(",", place):
                raise json.JSONDecodeError("Expecting ',' delimiter", text, place)
        place = place if ended else _skip(text, place + 1)
    with _refusing(source, DataError):
        place = _skip(text, place + 1)
        if place < len(text):
            raise json.JSONDecodeError("Extra data", text, place)
    return rows


def _skip(text: str, place: int) -> int:
    """Where the next character stands that is no space."""
    found = _NO_SPACE.search(text, place)
    return found.start() if found else len(text)


def _may_hold_halves(text: str) -> bool:
    return "\\ud" in text.lower()


def _unique(pairs: Sequence[tuple[str, Any]]) -> dict[str, Any]:
    made = dict(pairs)
    if len(made) != len(pairs):
        keys = [key for key, _ in pairs]
        twice = next(key for key in keys if keys.count(key) > 1)
        raise ValueError(f"a key comes twice in one JSON object: {twice!r:.80}")
    return made


def _integer(digits: str) -> int:
    if len(digits) > MAX_DIGITS:
        raise ValueError(f"an integer of {len(digits)} digits, at most {MAX_DIGITS} fit")
    return int(digits)


_DECODER = json.JSONDecoder(object_pairs_hook=_unique, parse_int=_integer)


def _check_tree(value: Any, texts: bool) -> None:
    """Refuse what is nested too deep and, where ``texts``, halves of surrogate pairs."""
    level, depth = [value], 0
    while level:
        below: list[Any] = []
        for each in level:
            if isinstance(each, dict):
                below += each.values()
                below += each if texts else ()
            elif isinstance(each, list):
                below += each
            elif texts and isinstance(each, str) and _SURROGATE.search(each):
                raise ValueError(f"half of a surrogate pair, which is no character: {each!a:.80}")
        level, depth = below, depth + 1
        if depth > MAX_DEPTH + 1:
            raise RecursionError


@contextmanager
def _refusing(source: str, error: ErrorType) -> Iterator[None]:
    """What is wrong with a JSON text becomes an error that names its source."""
    try:
        yield
    except RecursionError as cause:
        raise error(f"{source}: not readable as JSON (nested deeper than {MAX_DEPTH})") from cause
    except json.JSONDecodeError as cause:
        raise error(f"{source}: not readable as JSON ({cause})") from cause
    except ValueError as cause:
        raise error(f"{source}: {cause}") from cause
