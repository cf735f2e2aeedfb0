"""Questions: what a benchmark asks about one row, and all questions of a run in their order."""

from __future__ import annotations

import ast
import hashlib
import json
import random
import re
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from string import ascii_uppercase
from typing import Protocol

from ..errors import DataError, InvalidArgumentError
from ..files import parse_json
from .scoring import Row, Scores
from .sources import HubDataset, Source

_MAX_LITERAL = 2**16  # characters
_SURROGATE = re.compile("[\ud800-\udfff]")


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
        answers: what is offered for each choice where the model chooses among answers: its text
            or its letter, as the question asks for it.
    """

    id: str
    prompt: str
    answer: str | None
    row: Row = field(repr=False)
    choices: tuple[str | None, ...] = ()
    choice_order: tuple[int, ...] | None = None
    answers: tuple[str | None, ...] = ()

    def offered(self) -> list[str]:
        """The answers that a model may choose among: none is empty, none comes twice."""
        texts = [(answer or "").strip() for answer in self.answers]
        return list(dict.fromkeys(text for text in texts if text))

    def index_of(self, chosen: str) -> int | None:
        """Index of the choice that an offered answer stands for; None where it was not offered."""
        offered = [(answer or "").strip() for answer in self.answers]
        return offered.index(chosen) if chosen in offered else None


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

    @property
    def choose_by(self) -> str | None:
        """How a model chooses among answers, see ``generate``; None where there are no choices."""
        ...

    def item(self, row: Row, index: int, choice_seed: int | None = None) -> Item:
        """Make the question of one row.

        Args:
            row: fields of the row.
            index: its position, for error messages and as an id where the row has none.
            choice_seed: show the choices in an order drawn from it; None: as they are.

        Raises:
            DataError: a field is missing or of the wrong type.
        """
        ...

    def score(
        self,
        items: Sequence[Item],
        predictions: Sequence[str | None],
        chosen: Sequence[int | None] | None = None,
    ) -> Scores:
        """Score all questions.

        Args:
            items: the questions.
            predictions: an answer each; None marks a row without one.
            chosen: index of the choice that an answer is known to be, because it was chosen among
                them; None where it must be read.
        """
        ...

    def export(self, items: Sequence[Item], predictions: Sequence[str | None]) -> list[Row]:
        """Rows for the benchmark's own evaluator, written as JSON Lines."""
        ...


@dataclass(frozen=True, slots=True)
class Fingerprint:
    """What must not change between the parts of one run.

    Attributes:
        benchmark: its name.
        data: where the rows come from.
        data_revision: commit or checksum of the data.
        rows: number of questions.
        choice_seed: order of the choices; None: as published.
        questions_sha256: first digits of a checksum of ids, prompts and orders of choices.
    """

    benchmark: str
    data: str
    data_revision: str
    rows: int
    choice_seed: int | None
    questions_sha256: str


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

    def fingerprint(self) -> Fingerprint:
        """What must not change between the parts of one run."""
        asked = [(item.id, item.prompt, item.choice_order) for item in self.items]
        return Fingerprint(
            benchmark=self.benchmark.name,
            data=self.source.description,
            data_revision=self.source.revision,
            rows=len(self.items),
            choice_seed=self.choice_seed,
            questions_sha256=hashlib.sha256(json.dumps(asked).encode()).hexdigest()[:16],
        )


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
        DataError: a row that cannot be asked or scored (a field is missing or of the wrong type,
            the right answer is no choice), or an id occurs twice; names the data, the row and the
            field.
        InvalidArgumentError: ``limit`` is not positive.
    """
    if limit is not None and limit < 1:
        raise InvalidArgumentError("limit", "a number of rows >= 1, or None", limit)
    count = len(source.facts) if limit is None else min(limit, len(source.facts))
    items: list[Item] = []
    seen: dict[str, int] = {}
    for index in range(count):
        try:
            item = benchmark.item(source.facts[index], index, choice_seed)
        except DataError as error:
            raise DataError(f"{source.description}, {error}") from error
        if item.id in seen:
            twice = f"the id {item.id!r:.80} is also that of row {seen[item.id]}"
            raise DataError(f"{source.description}, row {index}: {twice}")
        seen[item.id] = index
        items.append(item)
    return Task(benchmark, source, items, choice_seed)


def text_field(row: Row, name: str, index: int) -> str:
    """A field that must hold text.

    Raises:
        DataError: it is missing or is no text; the message names the row and the field.
    """
    value = row.get(name)
    if not isinstance(value, str):
        raise DataError(f"row {index}, field {name!r}: expected text, got {value!r:.80}")
    return _whole_text(value, f"row {index}, field {name!r}")


def first_text_field(row: Row, names: Sequence[str], index: int) -> str:
    """The first of several fields that holds text.

    Raises:
        DataError: none does.
    """
    for name in names:
        if isinstance(row.get(name), str):
            return text_field(row, name, index)
    raise DataError(
        f"row {index}: expected text in one of {', '.join(names)}, got {', '.join(row):.200}"
    )


def item_id(row: Row, index: int) -> str:
    """The row's own id as text, or its position where it has none.

    Raises:
        DataError: it holds half of a surrogate pair.
    """
    value = row.get("id")
    if value is None or value == "":
        return str(index)
    return _whole_text(str(value), f"row {index}, field 'id'")


def _whole_text(text: str, where: str) -> str:
    """The text; half of a surrogate pair is no character and could be neither asked nor saved."""
    if _SURROGATE.search(text):
        raise DataError(f"{where}: expected text, got half of a surrogate pair in {text!a:.80}")
    return text


def parse_choices(value: object, where: str) -> list[str | None]:
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
        raise DataError(f"{where}: expected a list of texts, got {value!r:.80}")
    if not any(choice is not None for choice in value):
        raise DataError(f"{where}: expected at least one choice, got none")
    if len(value) > len(ascii_uppercase):
        most = len(ascii_uppercase)
        raise DataError(f"{where}: expected at most {most}, one a letter, got {len(value)}")
    return [choice if choice is None else _whole_text(choice, where) for choice in value]


def _parse_text(text: str) -> object:
    with suppress(DataError):
        return parse_json(text, "choices")
    if len(text) > _MAX_LITERAL:  # Python's parser takes much memory and depth
        return text
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
