"""A benchmark together with its data: the questions in order, and access to their audio."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from ..errors import DataError, InvalidArgumentError
from .items import Benchmark, Item
from .sources import Source


@dataclass(frozen=True)
class Task:
    """What is run and scored; build one with ``make_task``.

    Attributes:
        benchmark: kind of question and scorer.
        source: rows and audio.
        items: the questions in the order of the rows.
        choice_seed: order of the choices; None: as published.
    """

    benchmark: Benchmark
    source: Source
    items: Sequence[Item]
    choice_seed: int | None = None

    def fingerprint(self) -> dict[str, Any]:
        """What must not change between the parts of one run."""
        asked = [(item.id, item.prompt, item.choice_order) for item in self.items]
        digest = hashlib.sha256(json.dumps(asked).encode()).hexdigest()[:16]
        return {
            "benchmark": self.benchmark.name,
            "data": self.source.description,
            "data_revision": self.source.revision,
            "rows": len(self.items),
            "choice_seed": self.choice_seed,
            "questions_sha256": digest,
        }


def make_task(
    benchmark: Benchmark,
    source: Source,
    *,
    choice_seed: int | None = None,
    limit: int | None = None,
) -> Task:
    """Make the questions of a benchmark from its rows.

    Args:
        benchmark: kind of question.
        source: rows and audio.
        choice_seed: show the choices in an order drawn from it; None: as published.
        limit: only the first so many rows.

    Raises:
        DataError: a row lacks a field, or an id occurs twice.
        InvalidArgumentError: ``limit`` is not positive.
    """
    if limit is not None and limit < 1:
        raise InvalidArgumentError("limit", "a number of rows >= 1, or None", limit)
    count = len(source.facts) if limit is None else min(limit, len(source.facts))
    items = [benchmark.item(source.facts[i], i, choice_seed) for i in range(count)]
    seen: dict[str, int] = {}
    for index, item in enumerate(items):
        if item.id in seen:
            raise DataError(f"row {index}: the id {item.id!r} is also that of row {seen[item.id]}")
        seen[item.id] = index
    return Task(benchmark, source, items, choice_seed)
