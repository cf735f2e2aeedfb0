from __future__ import annotations

from typing import Any

import pytest
import torch
from transformers import WhisperConfig

from dllm_audio import (
    AcousticAdapter,
    AudioEmbeddings,
    ChatTemplate,
    DualAdapter,
    EncoderOutput,
    LogMel,
    SemanticAdapter,
    WhisperEncoder,
)
from dllm_audio.data import (
    DiffusionCollator,
    EosPadding,
    Example,
    PositionLimit,
    PreferenceCollator,
    PreferencePair,
    audio_positions,
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
    records, audio = [example(0), example(1, target="That." * 10)], [9, 2]

    def longest(collator: DiffusionCollator) -> int:
        measured = zip(records, audio, strict=True)
        return max(sum(collator.measure(record)) + heard for record, heard in measured)

    unpadded = DiffusionCollator(*OPTIONS[:2], EosPadding(8))
    limit = PositionLimit(longest(unpadded), 2)
    check_positions(records, unpadded, audio, limit, progress=False)
    limit = PositionLimit(longest(COLLATOR))
    check_positions(records, COLLATOR, audio, limit, progress=False)
    together = PositionLimit(limit.positions, 2)
    with pytest.raises(DataError, match=r"^a.json, row 0 and a.json, row 1: .* one batch .* 9 \+ "):
        check_positions(records, COLLATOR, audio, together, progress=False)


def test_a_system_turn_is_checked_like_every_text() -> None:
    record = Example(2, None, "What?", "That.", origin="a.json, row 2", system="be <|eot_id|>")
    with pytest.raises(DataError, match=r"row 2, field 'system': expected text without the chat"):
        check_positions([record], COLLATOR, [0], progress=False)


class Seconds:
    """Somebody's encoder that says no more than it must: a frame for every 100 samples."""

    hidden_size, num_layers, sampling_rate, window_seconds = 8, 2, 1000, None

    def features(self, waveforms: Any) -> Any:
        return torch.stack(waveforms), torch.tensor([len(w) for w in waveforms])

    def __call__(self, features: torch.Tensor, lengths: torch.Tensor) -> EncoderOutput:
        frames = torch.zeros(len(features), features.shape[1] // 100, 8)
        return EncoderOutput(frames, (frames,) * 3, lengths // 100)


def pairs(output: EncoderOutput) -> AudioEmbeddings:
    frames = output.last_hidden_state
    return AudioEmbeddings(frames[:, : frames.shape[1] // 2], output.lengths // 2)


def dual() -> DualAdapter:
    return DualAdapter(SemanticAdapter(8, 4), AcousticAdapter(8, 4, (1,), 2, num_queries=3))


@pytest.mark.parametrize("samples", [1, 160, 161, 3333, 16000])
def test_positions_of_audio_are_those_of_the_model(samples: int) -> None:
    encoder = WhisperEncoder(
        WhisperConfig(
            d_model=8,
            encoder_layers=2,
            encoder_attention_heads=2,
            encoder_ffn_dim=8,
            max_source_positions=50,
        )
    )
    encoded = encoder(*encoder.features([torch.zeros(samples)]))
    assert audio_positions(encoder, dual())(samples / 16000) == int(dual()(encoded).lengths)
    assert audio_positions(encoder, pairs)(samples / 16000) == int(pairs(encoded).lengths)


def test_parts_that_say_nothing_are_measured() -> None:
    assert audio_positions(Seconds(), pairs)(3.0) == 15
    assert audio_positions(Seconds(), pairs)(2.2) == 11
    assert audio_positions(Seconds(), dual())(3.0) == 3 + 7
    with torch.device("meta"):
        planned = dual()
    assert audio_positions(Seconds(), planned)(3.0) == 3 + 7
