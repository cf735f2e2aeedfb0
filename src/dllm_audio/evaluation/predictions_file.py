"""Read predictions that were made elsewhere, in any of the forms that benchmarks publish."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ..errors import DataError
from ..files import read_rows
from .items import Item

_OWN_KEY = "prediction"  # of this package's results.jsonl


def read_predictions(
    path: str | Path, items: Sequence[Item], keys: Sequence[str]
) -> list[str | None]:
    """Predictions of a file, in the order of the questions.

    Rows are matched by ``id``; where no row has one, by position.

    Args:
        path: ``.json``, ``.jsonl``, ``.csv`` or ``.tsv``.
        items: the questions.
        keys: fields that may hold the prediction, in the order in which they are looked for.

    Returns:
        One prediction an item; None where the file has none, which counts as a failure.

    Raises:
        DataError: an unknown or repeated id, a prediction that is no text, or a file without ids
            whose length differs from the number of questions.
    """
    rows = read_rows(Path(path))
    if all(row.get("id") in (None, "") for row in rows):
        if len(rows) != len(items):
            raise DataError(f"{path}: expected {len(items)} rows, got {len(rows)} without ids")
        return [_prediction(row, keys, f"{path}, row {i}") for i, row in enumerate(rows)]
    known = {item.id for item in items}
    found: dict[str, str | None] = {}
    for index, row in enumerate(rows):
        where, identifier = f"{path}, row {index}", str(row.get("id"))
        if identifier not in known:
            raise DataError(f"{where}: the id {identifier!r} is not that of a question")
        if identifier in found:
            raise DataError(f"{where}: the id {identifier!r} occurs twice")
        found[identifier] = _prediction(row, keys, where)
    return [found.get(item.id) for item in items]


def _prediction(row: Mapping[str, Any], keys: Sequence[str], where: str) -> str | None:
    empty = None
    for key in (*keys, _OWN_KEY):
        value = row.get(key)
        if value is not None and not isinstance(value, str):
            raise DataError(f"{where}, field {key!r}: expected text, got {value!r}")
        if value and value.strip():
            return value
        empty = value if empty is None else empty  # perhaps the text is under another name
    return empty
