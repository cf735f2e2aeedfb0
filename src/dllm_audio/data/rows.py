"""From rows of a file or data set to records.

Three forms of a row are understood, and may be mixed:

* the published rows of DIFFA and DIFFA-2: ``audio_filepath, input, target`` (or, for stage 1,
  ``transcription`` as the target), with ``audio_id`` and ``duration`` where known; preference rows
  have ``chosen`` and ``rejected``;
* the same under the usual other names, see ``fields``;
* conversations: ``messages`` with a user's and an assistant's turn, whose content is a text or a
  list of blocks ``{"type": "audio", ...}`` and ``{"type": "text", "text": ...}``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from .fields import AUDIO_FIELDS, ID_FIELDS, INSTRUCTION_FIELDS, TARGET_FIELDS, Row
from .instructions import asr_instruction
from .messages import read_answer, read_conversation
from .records import Example, PreferencePair, Record

Parser = Callable[[Row], Record]


@dataclass(frozen=True, slots=True)
class ExampleParser:
    """Reads rows with one answer.

    Args:
        target: names under which the answer is looked for.
    """

    target: Sequence[str] = TARGET_FIELDS

    def __call__(self, row: Row) -> Example:
        """Parse and validate one row.

        Raises:
            DataError: names the row and the field.
        """
        if row.is_list("messages"):
            turn = read_conversation(row, "messages", answered=True)
            audio, instruction, target = turn.audio, turn.instruction, str(turn.answer)
            system = turn.system
        else:
            audio, instruction = row.audio(), row.text(INSTRUCTION_FIELDS)
            target, system = row.text(self.target), None
        _require_audio(row, audio)
        return Example(row.index, audio, instruction, target, *_common(row), system=system)


@dataclass(frozen=True, slots=True)
class TranscriptionParser:
    """Reads rows for speech recognition: the target is ``transcription``.

    The instruction is the row's own ``input`` or one of 25 templates, chosen by row number and
    seed, so that it is the same in every run.

    Args:
        seed: chooses which row gets which template.
        target: names under which the transcript is looked for.
    """

    seed: int = 0
    target: Sequence[str] = ("transcription", "text", "sentence")

    def __call__(self, row: Row) -> Example:
        """Parse and validate one row.

        Raises:
            DataError: names the row and the field.
        """
        audio = row.audio()
        _require_audio(row, audio)
        # As in the published training: a row's own words, and else one of the templates.
        own = row.optional_text(("input",)) or ""
        instruction = own if own.strip() else asr_instruction(row.index, self.seed)
        return Example(row.index, audio, instruction, row.text(self.target), *_common(row))


@dataclass(frozen=True, slots=True)
class PreferenceParser:
    """Reads rows with a chosen and a rejected answer, each a text or assistant ``messages``."""

    def __call__(self, row: Row) -> PreferencePair:
        """Parse and validate one row.

        Raises:
            DataError: names the row and the field; also where both answers are the same.
        """
        chosen, rejected = read_answer(row, "chosen"), read_answer(row, "rejected")
        if chosen.strip() == rejected.strip():
            raise row.error("rejected", "an answer other than the chosen one", rejected)
        system = None
        conversation = next((n for n in ("messages", "prompt") if row.is_list(n)), None)
        if conversation is not None:
            turn = read_conversation(row, conversation, answered=False)
            audio, instruction, system = turn.audio, turn.instruction, turn.system
        else:
            audio, instruction = row.audio(), row.text(INSTRUCTION_FIELDS)
        _require_audio(row, audio)
        return PreferencePair(
            row.index, audio, instruction, chosen, rejected, *_common(row), system=system
        )


def parse_rows(
    rows: Sequence[Mapping[str, Any]], parser: Parser, source: str = "rows"
) -> list[Record]:
    """Parse rows that are in memory; the first that is wrong raises DataError."""
    return [parser(Row(values, index, source)) for index, values in enumerate(rows)]


def _common(row: Row) -> tuple[str | None, float | None]:
    return row.optional_text(ID_FIELDS), row.seconds()


def _require_audio(row: Row, audio: Any) -> None:
    if audio is None:
        raise row.error(" or ".join(AUDIO_FIELDS), "an audio clip", None)
