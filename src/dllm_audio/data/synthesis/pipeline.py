"""Making whole data sets: what was made stays made, what fails is counted, never passed over."""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, TypeVar

from tqdm.auto import tqdm

from ...errors import DataError
from ..journal import Journal
from .makers import AnswerCorrupter, ClipFacts, QuestionMaker

logger = logging.getLogger(__name__)
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Synthesized:
    """Rows in the published form, and what could not be made.

    Attributes:
        rows: for ``ExampleParser`` or ``PreferenceParser``; write them with :meth:`write`.
        failures: reason by item.
    """

    rows: list[dict[str, Any]]
    failures: dict[str, str]

    def write(self, path: str | Path) -> None:
        """Write the rows as a JSON list; the file appears whole or not at all."""
        path = Path(path)
        path.parent.mkdir(parents=True, exist_ok=True)
        partial = path.with_name(path.name + ".partial")
        partial.write_text(json.dumps(self.rows, ensure_ascii=False, indent=1), encoding="utf-8")
        partial.replace(path)


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

    items = [(facts.id, {"maker": maker.name, **asdict(facts)}, facts) for facts in clips]
    return _run(items, make, journal, "questions", progress)


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
        DataError: not one pair could be made.
    """

    def make(row: Mapping[str, Any]) -> list[dict[str, Any]]:
        made = corrupter(row["input"], row["target"])
        return [
            {
                **row,
                "chosen": row["target"],
                "rejected": made.rejected,
                "dpo_explanation": made.explanation,
                "dpo_source": corrupter.name,
            }
        ]

    items = [
        (
            str(row.get("audio_id", index)),
            {"maker": corrupter.name, "input": row["input"], "target": row["target"]},
            row,
        )
        for index, row in enumerate(rows)
    ]
    return _run(items, make, journal, "preferences", progress)


def _run(
    items: Sequence[tuple[str, Mapping[str, Any], T]],
    make: Callable[[T], list[dict[str, Any]]],
    path: str | Path | None,
    what: str,
    progress: bool,
) -> Synthesized:
    journal = Journal(path)
    rows, failures = [], {}
    for name, identity, item in tqdm(items, desc=what, unit="item", disable=not progress):
        key = hashlib.sha256(json.dumps([name, identity], sort_keys=True).encode()).hexdigest()
        made = journal.get(key)
        if made is None:
            try:
                made = make(item)
            except DataError as error:
                failures[name] = str(error)
                logger.warning("%s: %s", name, error)
                continue
            journal[key] = made
        rows += made
    if items and not rows:
        raise DataError(
            f"none of {len(items)} {what} could be made: {next(iter(failures.values()))}"
        )
    return Synthesized(rows, failures)
