"""Find records that cannot be tokenized or are too long for the model before a run starts.

In the middle of a run such a record ends it, and ends it again at the same step after a restart.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from tqdm.auto import tqdm

from ..errors import DataError
from .collate import DiffusionCollator, PreferenceCollator
from .records import Record, name_of

_ERRORS_SHOWN = 10


@dataclass(frozen=True, slots=True)
class PositionLimit:
    """How long the sequences of a batch may be.

    Args:
        positions: of prompt, audio and response together, without padding.
        batch_size: rows of a batch.  Where texts are padded to the longest of a batch with tokens
            to be learned, the longest clip may meet the longest text.
    """

    positions: int
    batch_size: int = 1


def check_positions(
    records: Any,
    collator: DiffusionCollator | PreferenceCollator,
    audio: Sequence[int],
    limit: PositionLimit | None = None,
    *,
    progress: bool = True,
) -> None:
    """Tokenize and measure every record as the collator does.

    Args:
        records: anything with ``len`` and integer indexing that gives records.
        collator: of the run.
        audio: positions that each record's audio takes, in the same order.
        limit: of the backbone; None checks the texts alone.
        progress: show a bar.

    Raises:
        DataError: names the rows and fields that are wrong, the first few in full.
    """
    errors: list[str] = []
    longest_clip, longest_text = (0, ""), (0, "")
    for index in tqdm(range(len(records)), desc="tokens", unit="row", disable=not progress):
        record = records[index]
        try:
            prompt, response = collator.measure(record)
        except DataError as error:
            errors.append(str(error))
            continue
        heard, name = audio[index], name_of(record)
        if limit is not None and prompt + heard + response > limit.positions:
            errors.append(
                f"{name}, fields 'instruction', 'audio' and {_answer(record)}: expected at most "
                f"{limit.positions} positions, got {prompt} + {heard} + {response}"
            )
        longest_clip = max(longest_clip, (heard, name))
        longest_text = max(longest_text, (prompt + response, name))
    if errors:
        shown = "\n".join(errors[:_ERRORS_SHOWN])
        raise DataError(f"{len(errors)} of {len(records)} rows cannot be learned from:\n{shown}")
    if limit is None or limit.batch_size == 1 or collator.eos_padding.multiple is not None:
        return
    if longest_clip[0] + longest_text[0] > limit.positions:
        raise DataError(
            f"{longest_clip[1]} and {longest_text[1]}: expected a clip and a text that fit into "
            f"one batch of at most {limit.positions} positions, got {longest_clip[0]} + "
            f"{longest_text[0]}; shorten or leave out one of them, pad answers to a multiple, or "
            "use a batch size of 1"
        )


def _answer(record: Record) -> str:
    return "'target'" if hasattr(record, "target") else "'chosen' or 'rejected'"
