"""One question of a benchmark, in the form that every benchmark shares."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from ..errors import DataError
from .sources import HubDataset


@dataclass(frozen=True, slots=True)
class Item:
    """One question, without its audio.

    Attributes:
        id: unique within the benchmark.
        prompt: what the model is asked, beside the audio.
        answer: the right answer or transcript; None where judging is left to another tool.
        row: the fields of the data set.
        choices: the choices as shown; empty for open questions.
        choice_order: original index of each shown choice; None in the original order.
    """

    id: str
    prompt: str
    answer: str | None
    row: Mapping[str, Any] = field(repr=False)
    choices: tuple[str | None, ...] = ()
    choice_order: tuple[int, ...] | None = None


class Benchmark(Protocol):
    """A kind of question, how it is asked, and how the answers are scored."""

    @property
    def name(self) -> str:
        """As in the command line."""
        ...

    @property
    def dataset(self) -> HubDataset | None:
        """Where it is published; None where local files must be given."""
        ...

    @property
    def prediction_keys(self) -> tuple[str, ...]:
        """Fields under which a file of predictions may hold them."""
        ...

    @property
    def presets(self) -> Mapping[str, str]:
        """Names of samplers' presets by recipe, the default first; empty: the model's own."""
        ...

    def item(self, row: Mapping[str, Any], index: int, choice_seed: int | None = None) -> Item:
        """Make the question of one row.

        Args:
            row: fields of the row.
            index: its position, for error messages and as an id where the row has none.
            choice_seed: show the choices in an order drawn from it; None: as they are.

        Raises:
            DataError: a field is missing or of the wrong type.
        """
        ...

    def score(self, items: Sequence[Item], predictions: Sequence[str | None]) -> dict[str, Any]:
        """Score all questions; None marks a row without prediction. The result fits JSON."""
        ...

    def export(self, items: Sequence[Item], predictions: Sequence[str | None]) -> list[dict]:
        """Rows for the benchmark's own evaluator, written as JSON Lines."""
        ...


def text_field(row: Mapping[str, Any], name: str, index: int) -> str:
    """A field that must hold text.

    Raises:
        DataError: it is missing or is no text; the message names the row and the field.
    """
    value = row.get(name)
    if not isinstance(value, str):
        raise DataError(f"row {index}, field {name!r}: expected text, got {value!r}")
    return value


def first_text_field(row: Mapping[str, Any], names: Sequence[str], index: int) -> str:
    """The first of several fields that holds text.

    Raises:
        DataError: none does.
    """
    for name in names:
        if isinstance(row.get(name), str):
            return row[name]
    raise DataError(
        f"row {index}: expected text in one of {', '.join(names)}, got {', '.join(row)}"
    )


def item_id(row: Mapping[str, Any], index: int) -> str:
    """The row's own id as text, or its position where it has none."""
    value = row.get("id")
    return str(index) if value is None or value == "" else str(value)
