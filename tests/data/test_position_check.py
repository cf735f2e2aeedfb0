from __future__ import annotations

from typing import Any

import pytest

from dllm_audio import ChatTemplate, LogMel
from dllm_audio.data import (
    DiffusionCollator,
    EosPadding,
    Example,
    PositionLimit,
    PreferenceCollator,
    PreferencePair,
    check_positions,
)
from dllm_audio.errors import DataError

from .chat_tokenizer import CharacterTokenizer

OPTIONS: tuple[Any, ...] = (
    ChatTemplate(CharacterTokenizer(), None),
    LogMel(8, chunk_length=1.0),
    EosPadding(None),
)
COLLATOR = DiffusionCollator(*OPTIONS)


def example(row: int, instruction: str = "What?", target: str = "That.") -> Example:
    return Example(row, None, instruction, target, origin=f"a.json, row {row}")


def test_texts_that_no_template_takes_are_all_named() -> None:
    records = [
        example(0),
        example(1, target="x <|eot_id|>"),
        example(2),
        example(3, "<audio> and <audio>"),
    ]
    with pytest.raises(DataError) as caught:
        check_positions(records, COLLATOR, [0] * 4, progress=False)
    message = str(caught.value)
    assert "2 of 4 rows" in message
    assert "\na.json, row 1, field 'target': expected text without the chat marker" in message
    assert "\na.json, row 3, field 'instruction': expected as many <audio>" in message


def test_a_row_fits_to_the_position() -> None:
    prompt, response = COLLATOR.measure(example(0))
    total = prompt + 7 + response
    check_positions([example(0)], COLLATOR, [7], PositionLimit(total), progress=False)
    with pytest.raises(DataError, match=rf"row 0, .*'target': .* {total - 1} .* {prompt} \+ 7 \+"):
        check_positions([example(0)], COLLATOR, [7], PositionLimit(total - 1), progress=False)


def test_a_pair_is_as_long_as_its_longer_answer() -> None:
    collator = PreferenceCollator(*OPTIONS)
    pair = PreferencePair(4, None, "What?", "No.", "No, that is not so.")
    limit = PositionLimit(sum(collator.measure(pair)))
    check_positions([pair], collator, [0], limit, progress=False)
    with pytest.raises(DataError, match=r"row 4, fields .* 'chosen' or 'rejected': "):
        check_positions([pair], collator, [1], limit, progress=False)


def test_rows_that_fit_alone_may_not_fit_together_where_padding_is_learned() -> None:
    records = [example(0, instruction="What is it?" * 5), example(1, target="That." * 10)]
    unpadded = DiffusionCollator(*OPTIONS[:2], EosPadding(8))
    for collator in (COLLATOR, unpadded):
        limit = max(sum(collator.measure(record)) for record in records)
        check_positions(records, collator, [0, 0], PositionLimit(limit), progress=False)
    check_positions(records, unpadded, [0, 0], PositionLimit(limit, 2), progress=False)
    with pytest.raises(DataError, match=r"^a.json, row 0 and a.json, row 1: .* one batch"):
        check_positions(records, COLLATOR, [0, 0], PositionLimit(limit, 2), progress=False)


def test_a_system_turn_is_checked_like_every_text() -> None:
    record = Example(2, None, "What?", "That.", origin="a.json, row 2", system="be <|eot_id|>")
    with pytest.raises(DataError, match=r"row 2, field 'system': expected text without the chat"):
        check_positions([record], COLLATOR, [0], progress=False)
