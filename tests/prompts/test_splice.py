"""Splicing against a plain loop over rows."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from dllm_audio import AudioEmbeddings
from dllm_audio.errors import InvalidArgumentError, ShapeError
from dllm_audio.prompts.splice import PlacedAudio, splice
from small_parts import WIDTH, random_audio

row = st.tuples(st.integers(0, 5), st.integers(0, 4), st.floats(0, 1), st.booleans())


def at(audio: AudioEmbeddings, starts: object, rows: object = None) -> PlacedAudio:
    """One clip a row, unless rows are given."""
    starts = torch.tensor(starts) if isinstance(starts, list) else starts
    rows = torch.arange(2) if rows is None else rows
    return PlacedAudio(audio, starts, torch.tensor(rows) if isinstance(rows, list) else rows)  # type: ignore[arg-type]


def plain_splice(embeds: Tensor, mask: Tensor, audio: AudioEmbeddings, starts: list[int]) -> list:
    """Rows without padding, one after another."""
    rows = []
    for i, start in enumerate(starts):
        text = embeds[i][mask[i]]
        sound = audio.embeds[i, : int(audio.lengths[i])]
        rows.append(torch.cat((text[:start], sound, text[start:])))
    return rows


def left_padded(lengths: list[int], extra: int = 0) -> tuple[Tensor, Tensor]:
    columns = max(lengths) + extra
    generator = torch.Generator().manual_seed(5)
    embeds = torch.randn(len(lengths), columns, WIDTH, generator=generator)
    mask = torch.arange(columns) >= columns - torch.tensor(lengths)[:, None]
    return embeds.masked_fill(~mask[..., None], float("nan")), mask


@settings(max_examples=40)
@given(rows=st.lists(row, min_size=1, max_size=4), extra=st.integers(0, 2), more=st.integers(0, 2))
def test_each_row_is_the_plain_concatenation(rows: list, extra: int, more: int) -> None:
    tokens = [r[0] for r in rows]
    audio = random_audio([r[1] * r[3] for r in rows])
    starts = [round(r[2] * r[0]) for r in rows]
    embeds, mask = left_padded(tokens, extra)
    expected = plain_splice(embeds, mask, audio, starts)
    length = max(map(len, expected)) + more
    result = splice(
        embeds, mask, at(audio, starts, list(range(len(rows)))), length if more else None
    )
    assert result.embeds.shape == (len(rows), length, WIDTH)
    for i, alone in enumerate(expected):
        assert result.mask[i].tolist() == [False] * (length - len(alone)) + [True] * len(alone)
        assert torch.equal(result.embeds[i][result.mask[i]], alone)
    assert not result.embeds[~result.mask].any()


def test_without_audio_only_the_padding_is_cleaned() -> None:
    embeds, mask = left_padded([3, 1])
    result = splice(embeds, mask)
    assert torch.equal(result.mask, mask)
    assert torch.equal(result.embeds[mask], embeds[mask])


def test_gradients_reach_text_and_valid_audio_only() -> None:
    embeds, mask = torch.randn(2, 3, WIDTH, requires_grad=True), torch.ones(2, 3).bool()
    sound = torch.randn(2, 4, WIDTH, requires_grad=True)
    audio = AudioEmbeddings(sound, torch.tensor([4, 1]))
    splice(embeds, mask, at(audio, [0, 3])).embeds.sum().backward()
    assert embeds.grad is not None
    assert sound.grad is not None
    assert torch.equal(embeds.grad, torch.ones_like(embeds))
    assert torch.equal(sound.grad[0], torch.ones(4, WIDTH))
    assert torch.equal(sound.grad[1, :1], torch.ones(1, WIDTH))
    assert not sound.grad[1, 1:].any()


def test_audio_takes_the_precision_of_the_prompt() -> None:
    embeds, mask = torch.zeros(1, 2, WIDTH, dtype=torch.bfloat16), torch.ones(1, 2).bool()
    result = splice(embeds, mask, at(random_audio([2]), [1], [0]))
    assert result.embeds.dtype == torch.bfloat16


def _arguments(**changes: object) -> dict:
    embeds, mask = left_padded([3, 2])
    return {
        "prompt_embeds": embeds,
        "prompt_mask": mask,
        "audio": random_audio([2, 1]),
        "audio_start": torch.tensor([3, 0]),
        **changes,
    }


clip = st.tuples(st.integers(0, 2), st.integers(0, 3), st.floats(0, 1))


@settings(max_examples=60)
@given(
    tokens=st.lists(st.integers(0, 5), min_size=3, max_size=3),
    clips=st.lists(clip, min_size=1, max_size=6),
)
def test_several_clips_of_a_row_go_to_their_places_in_order(tokens: list, clips: list) -> None:
    embeds, mask = left_padded(tokens, 1)
    rows, lengths = [c[0] for c in clips], [c[1] for c in clips]
    starts = [round(c[2] * tokens[c[0]]) for c in clips]
    audio = random_audio(lengths)
    result = splice(embeds, mask, at(audio, starts, rows))
    for i in range(3):
        text = embeds[i][mask[i]]
        pieces = []
        for position in range(len(text) + 1):
            pieces += [
                audio.embeds[n, : lengths[n]]
                for n in range(len(clips))
                if rows[n] == i and starts[n] == position
            ]
            pieces.append(text[position : position + 1])
        expected = torch.cat(pieces)
        assert torch.equal(result.embeds[i][result.mask[i]], expected)


@pytest.mark.parametrize(
    ("name", "changes"),
    [
        ("prompt_embeds", {"prompt_embeds": torch.zeros(2, 3)}),
        ("prompt_mask", {"prompt_mask": torch.ones(2, 4).bool()}),
        ("prompt_mask", {"prompt_mask": torch.tensor([[True, False, True], [True] * 3])}),
        ("prompt_mask", {"prompt_mask": torch.tensor([[True, True, False], [True] * 3])}),
        ("audio", {"audio": torch.zeros(2, 1, WIDTH)}),
        ("audio.embeds", {"audio": random_audio([2, 1, 1])}),
        (
            "audio.embeds",
            {"audio": AudioEmbeddings(torch.zeros(2, 1, WIDTH + 1), torch.ones(2).long())},
        ),
        (
            "audio.lengths",
            {"audio": AudioEmbeddings(torch.zeros(2, 1, WIDTH), torch.ones(1).long())},
        ),
        (
            "audio.lengths",
            {"audio": AudioEmbeddings(torch.zeros(2, 1, WIDTH), torch.tensor([1, 2]))},
        ),
        (
            "audio.lengths",
            {"audio": AudioEmbeddings(torch.zeros(2, 1, WIDTH), torch.tensor([1, -1]))},
        ),
        ("audio.lengths", {"audio": AudioEmbeddings(torch.zeros(2, 1, WIDTH), torch.ones(2))}),
        ("audio_start", {"audio_start": torch.tensor([1])}),
        ("audio_start", {"audio_start": torch.tensor([3, 3])}),  # beyond the second row's tokens
        ("audio_start", {"audio_start": torch.tensor([-1, 0])}),
        ("audio_start", {"audio_start": torch.tensor([1.0, 0.0])}),
        ("audio_rows", {"rows": torch.tensor([0, 2])}),
        ("audio_rows", {"rows": torch.tensor([0.0, 1.0])}),
        ("length", {"length": 4}),
    ],
)
def test_misuse_is_named(name: str, changes: dict) -> None:
    arguments = _arguments(**changes)
    places = arguments.pop("audio"), arguments.pop("audio_start"), arguments.pop("rows", None)
    with pytest.raises((InvalidArgumentError, ShapeError)) as caught:
        splice(**arguments, placed=at(*places))
    assert caught.value.argument == name
