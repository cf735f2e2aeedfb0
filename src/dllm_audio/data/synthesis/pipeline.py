"""Making whole data sets: what was made stays made, what fails is counted, never passed over."""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Generic, TypeVar

from tqdm.auto import tqdm

from ...errors import DataError
from ...files import write_json
from ..fields import Row
from ..journal import Journal
from .makers import AnswerCorrupter, ClipFacts, QuestionMaker, check_plain

logger = logging.getLogger(__name__)
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Synthesized:
    """Rows in the published form, and what could not be made.

    Attributes:
        rows: for ``ExampleParser`` or ``PreferenceParser``; write them with :meth:`write`.
        failures: reason by item: its index, and its id where it has one (``"3: clip7"``).
    """

    rows: list[dict[str, Any]]
    failures: dict[str, str]

    def write(self, path: str | Path) -> None:
        """Write the rows as a JSON list; the file appears whole or not at all."""
        write_json(path, self.rows)


def synthesize_questions(
    clips: Iterable[ClipFacts],
    maker: QuestionMaker,
    journal: str | Path | None = None,
    *,
    progress: bool = True,
) -> Synthesized:
    """Questions and answers about clips, as rows with ``input`` and ``target``.

    Args:
        clips: what is known of each.
        maker: asks the questions.
        journal: file of what was made; a run that was stopped goes on from it.
        progress: show a bar.

    Raises:
        DataError: not one question could be made.
    """

    def make(facts: ClipFacts) -> list[dict[str, Any]]:
        known = {"transcript": facts.transcript, "caption": facts.caption, **facts.attributes}
        for name, text in known.items():
            check_plain(name, text)
        return [
            {
                "audio_id": facts.id,
                "audio_filepath": facts.audio,
                "transcription": facts.transcript,
                "seed_transcript": facts.caption,
                "input": pair.question,
                "target": pair.answer,
            }
            for pair in maker(facts)
        ]

    items = [
        _Item(facts, f"{index}: {facts.id}", _key(facts.id, {"maker": maker.name, **asdict(facts)}))
        for index, facts in enumerate(clips)
    ]
    made, failures = _run(items, make, journal, "questions", progress)
    return Synthesized([row for rows in made.values() for row in rows], failures)


def synthesize_preferences(
    rows: Sequence[Mapping[str, Any]],
    corrupter: AnswerCorrupter,
    journal: str | Path | None = None,
    *,
    progress: bool = True,
) -> Synthesized:
    """Preference pairs from rows with ``input`` and ``target``: the target is the chosen answer.

    Args:
        rows: in the published form.
        corrupter: makes the rejected answer.
        journal: file of what was made; a run that was stopped goes on from it.
        progress: show a bar.

    Raises:
        DataError: a row without one of the two texts, or not one pair could be made.
    """

    def make(row: Mapping[str, Any]) -> list[dict[str, Any]]:
        check_plain("input", row["input"], place=True)
        check_plain("target", row["target"])
        made = corrupter(row["input"], row["target"])
        return [{"rejected": made.rejected, "dpo_explanation": made.explanation}]

    items = [_row_item(index, row, corrupter.name) for index, row in enumerate(rows)]
    made, failures = _run(items, make, journal, "preferences", progress)
    # The journal's part alone comes from earlier runs; everything else is the row as it is now.
    pairs = [
        {
            **rows[index],
            "chosen": rows[index]["target"],
            "rejected": parts[0]["rejected"],
            "dpo_explanation": parts[0]["dpo_explanation"],
            "dpo_source": corrupter.name,
        }
        for index, parts in made.items()
    ]
    return Synthesized(pairs, failures)


@dataclass(frozen=True, slots=True)
class _Item(Generic[T]):
    """What something is made from, its name in messages, and its key in the journal."""

    source: T
    name: str
    key: str


def _row_item(index: int, row: Mapping[str, Any], maker: str) -> _Item[Mapping[str, Any]]:
    fields = Row(row, index, "rows")
    texts = {name: fields.text((name,)) for name in ("input", "target")}
    name = fields.optional_text(("audio_id",))
    key = _key(str(index) if name is None else name, {"maker": maker, **texts})
    return _Item(row, str(index) if name is None else f"{index}: {name}", key)


def _key(name: str, identity: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps([name, identity], sort_keys=True).encode()).hexdigest()


def _run(
    items: Sequence[_Item[T]],
    make: Callable[[T], list[dict[str, Any]]],
    path: str | Path | None,
    what: str,
    progress: bool,
) -> tuple[dict[int, list[dict[str, Any]]], dict[str, str]]:
    """What was made, by index of the item, and the reasons of what could not be made."""
    journal = Journal(path)
    found: dict[int, list[dict[str, Any]]] = {}
    failures: dict[str, str] = {}
    for index, item in enumerate(tqdm(items, desc=what, unit="item", disable=not progress)):
        made = journal.get(item.key)
        if made is None:
            try:
                made = make(item.source)
            except DataError as error:
                failures[item.name] = str(error)
                logger.warning("%s: %s", item.name, error)
                continue
            journal[item.key] = made
        found[index] = made
    if items and not any(found.values()):
        raise DataError(
            f"none of {len(items)} {what} could be made: {next(iter(failures.values()), 'no rows')}"
        )
    return found, failures
