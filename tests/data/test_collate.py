from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from dllm_audio import ChatTemplate, LogMel
from dllm_audio.data import (
    IGNORED,
    DiffusionCollator,
    EosPadding,
    Example,
    PreferenceCollator,
    PreferencePair,
)
from dllm_audio.errors import DataError

from .chat_tokenizer import CharacterTokenizer

TOKENIZER = CharacterTokenizer()
TEMPLATE = ChatTemplate(TOKENIZER)
LOG_MEL = LogMel(8, chunk_length=1.0)
# Without chat markers and places of audio, which no plain text may hold.
words = st.text(st.characters(min_codepoint=32, max_codepoint=126), min_size=1, max_size=40).filter(
    lambda text: "<|" not in text and "<audio>" not in text
)


def clip(samples: int = 4000) -> tuple[np.ndarray, int]:
    return np.linspace(-0.5, 0.5, samples, dtype=np.float32), 16000


def example(row: int, target: str, instruction: str = "What?", **extra: object) -> Example:
    return Example(row, clip(1000 * (row + 1)), instruction, target, **extra)


@settings(max_examples=25)
@given(rows=st.lists(st.tuples(words, words), min_size=1, max_size=4), multiple=st.integers(1, 20))
def test_prompt_and_response_are_exactly_those_of_the_template(rows, multiple) -> None:
    collator = DiffusionCollator(TEMPLATE, LOG_MEL, EosPadding(multiple))
    batch = collator([example(i, target, text) for i, (text, target) in enumerate(rows)])
    for i, (text, target) in enumerate(rows):
        expected = TEMPLATE.training_example(text, target)
        prompt = batch["prompt_ids"][i][batch["prompt_mask"][i]]
        assert prompt.tolist() == expected.prompt_ids
        assert batch["prompt_mask"][i].tolist() == sorted(batch["prompt_mask"][i].tolist())
        assert batch["audio_start"][i] == expected.audio_start
        response = batch["labels"][i]
        real = response != IGNORED
        n, targets = len(expected.target_ids), int(real.sum())
        assert response[:n].tolist() == expected.target_ids
        assert (response[n:targets] == TOKENIZER.eos_token_id).all()
        assert real[:targets].all()
        assert n < targets <= n + multiple  # at least one EOS, and no more than needed
        assert targets % multiple == 0


def test_the_header_may_end_the_prompt_as_in_generation() -> None:
    collator = DiffusionCollator(TEMPLATE, LOG_MEL, EosPadding(4), header_in_target=False)
    batch = collator([example(0, "Yes."), example(1, "No, it is not.", "And this?")])
    expected = TEMPLATE(["What?", "And this?"])
    assert torch.equal(batch["prompt_ids"], expected.prompt_ids)
    assert torch.equal(batch["prompt_mask"], expected.prompt_mask)
    assert torch.equal(batch["audio_start"], expected.audio_start)
    answer = [*TOKENIZER.encode("Yes."), TEMPLATE.end_of_turn_id]
    assert batch["labels"][0, : len(answer)].tolist() == answer


def test_a_row_does_not_depend_on_its_batch() -> None:
    collator = DiffusionCollator(TEMPLATE, LOG_MEL, EosPadding(8))
    rows = [example(0, "A much longer answer than the other."), example(1, "Yes.")]
    together, alone = collator(rows), collator(rows[1:])
    width = alone["labels"].shape[1]
    assert torch.equal(together["labels"][1, :width], alone["labels"][0])
    assert (together["labels"][1, width:] == IGNORED).all()
    assert torch.equal(together["features"][1], alone["features"][0])
    assert together["feature_lengths"][1] == alone["feature_lengths"][0]


def test_published_padding_reaches_the_longest_sequence_of_the_batch() -> None:
    """Prompt and answer together: by hand, of texts whose every character is a token."""
    # The prompts differ by 25 tokens, the answers by 5: 12 + 20 of EOS, and 7 as it is.
    collator = DiffusionCollator(TEMPLATE, LOG_MEL, EosPadding(None))
    short, long = "What?", "What?" + 25 * "x"
    header = len(TEMPLATE.training_example(short, "a").target_ids) - 1
    rows = [example(0, "a" * 10, short), example(1, "b" * 5, long)]
    learned = (collator(rows)["labels"] != IGNORED).sum(-1)
    assert learned.tolist() == [header + 5 + 25, header + 5]
    labels = collator(rows)["labels"][0]
    assert (labels[header + 10 :] == TOKENIZER.eos_token_id).all()
    assert labels[header + 9] != TOKENIZER.eos_token_id
    # Whoever is alone learns no EOS beyond the end of the turn.
    assert len(collator(rows[:1])["labels"][0]) == header + 10
    assert EosPadding(None).lengths([10, 35], [12, 7]) == [32, 7]


def test_published_padding_of_pairs_is_that_of_each_side() -> None:
    rows = [("What?", "yes", "no, never"), ("What is it about?", "rain", "sun")]
    pairs = [PreferencePair(i, clip(), *texts) for i, texts in enumerate(rows)]
    batch = PreferenceCollator(TEMPLATE, LOG_MEL, EosPadding(None))(pairs)
    singles = DiffusionCollator(TEMPLATE, LOG_MEL, EosPadding(None))
    for side in ("chosen", "rejected"):
        records = [Example(p.row, p.audio, p.instruction, getattr(p, side)) for p in pairs]
        assert torch.equal(batch[side], singles(records)["labels"])


def test_a_system_turn_of_a_row_wins() -> None:
    collator = DiffusionCollator(TEMPLATE, LOG_MEL)
    ids = collator([example(0, "x", system="Be brief.")])["prompt_ids"][0]
    assert "Be brief." in TOKENIZER.decode(ids)
    assert "voice assistant" not in TOKENIZER.decode(ids)


def test_preference_batches_share_prompt_and_audio() -> None:
    pairs = [
        PreferencePair(4, clip(), "What?", "A sigh.", "A long soft whisper."),
        PreferencePair(9, clip(), "And now?", "Rain.", "Sun."),
    ]
    batch = PreferenceCollator(TEMPLATE, LOG_MEL, EosPadding(4))(pairs)
    singles = DiffusionCollator(TEMPLATE, LOG_MEL, EosPadding(4))
    for side in ("chosen", "rejected"):
        expected = singles(
            [Example(p.row, p.audio, p.instruction, getattr(p, side)) for p in pairs]
        )
        assert torch.equal(batch[side], expected["labels"])
        assert torch.equal(batch["prompt_ids"], expected["prompt_ids"])
    assert batch["labels"].tolist() == [1, 1]
    assert batch["row"].tolist() == [4, 9]


def test_errors_name_the_row(tmp_path) -> None:
    collator = DiffusionCollator(TEMPLATE, LOG_MEL)
    with pytest.raises(DataError, match=r"row 3, field 'audio': .*none.wav"):
        collator([Example(3, str(tmp_path / "none.wav"), "What?", "That.")])
    with pytest.raises(DataError, match=r"^row 1, field 'audio': .*at most 1 s"):
        collator([example(0, "x"), Example(1, clip(20_000), "What?", "That.")])
    with pytest.raises(DataError, match=r"^row 0, field 'target': .*<\|eot_id\|>"):
        collator([example(0, "x <|eot_id|>")])
    with pytest.raises(DataError, match=r"^a.json, row 2, field 'instruction': .*<audio>.* got 2"):
        collator([example(7, "x", "<audio> <audio>", origin="a.json, row 2")])
    pair = PreferencePair(3, clip(), "What?", "That.", "This <|eot_id|>")
    pairs = PreferenceCollator(TEMPLATE, LOG_MEL)
    with pytest.raises(DataError, match=r"^row 3, field 'rejected': "):
        pairs([pair])
    with pytest.raises(DataError, match=r"^row 3, field 'rejected': "):
        pairs.measure(pair)


def test_an_array_of_another_shape_is_named_too() -> None:
    record = Example(3, (np.zeros((2, 2, 2), np.float32), 16000), "What?", "That.")
    with pytest.raises(DataError, match="row 3, field 'audio': "):
        DiffusionCollator(TEMPLATE, LOG_MEL)([record])


@pytest.mark.parametrize("header", [True, False])
@pytest.mark.parametrize("multiple", [None, 8])
def test_measures_are_those_of_the_batch(header: bool, multiple: int | None) -> None:
    options = (TEMPLATE, LOG_MEL, EosPadding(multiple), header)
    record = example(0, "A longer answer.", "And now?")
    batch = DiffusionCollator(*options)([record])
    sizes = batch["prompt_ids"].shape[1], batch["labels"].shape[1]
    assert DiffusionCollator(*options).measure(record) == sizes
    pair = PreferencePair(0, record.audio, "And now?", "No.", "A longer answer.")
    batch = PreferenceCollator(*options)([pair])
    assert PreferenceCollator(*options).measure(pair) == (
        batch["prompt_ids"].shape[1],
        max(batch["chosen"].shape[1], batch["rejected"].shape[1]),
    )
