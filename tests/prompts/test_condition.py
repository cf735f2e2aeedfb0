"""The conditioned predictor against one row at a time, written out plainly."""

from __future__ import annotations

import dataclasses

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from dllm_audio import AudioEmbeddings, LLaDA, condition
from dllm_audio.errors import InvalidArgumentError, ShapeError
from dllm_audio.protocols import CacheablePredictor, MaskPredictor
from small_parts import EOS, MASK, VOCAB, WIDTH, random_audio, same, small_llada

LLADA = small_llada()
few = settings(max_examples=12)
# prompt tokens, audio embeddings, where the audio goes (share of the prompt), response tokens
row = st.tuples(st.integers(1, 5), st.integers(0, 4), st.floats(0, 1), st.integers(1, 5))


@dataclasses.dataclass
class Batch:
    prompt_ids: Tensor
    prompt_mask: Tensor
    audio: AudioEmbeddings
    audio_start: Tensor
    x_t: Tensor
    response_mask: Tensor

    @classmethod
    def of(cls, rows: list[tuple]) -> Batch:
        generator = torch.Generator().manual_seed(len(rows))
        tokens, frames = torch.tensor([r[0] for r in rows]), [r[1] for r in rows]
        wanted = torch.tensor([r[3] for r in rows])
        columns, length = int(tokens.max()), int(wanted.max())
        x_t = torch.randint(VOCAB, (len(rows), length), generator=generator)
        x_t[torch.rand(x_t.shape, generator=generator) < 0.5] = MASK
        return cls(
            torch.randint(VOCAB, (len(rows), columns), generator=generator),
            torch.arange(columns) >= columns - tokens[:, None],
            random_audio(frames),
            torch.tensor([round(r[2] * r[0]) for r in rows]),
            x_t,
            torch.arange(length) < wanted[:, None],
        )

    def predictor(self, llada: LLaDA = LLADA, **changes: object):
        arguments = {
            "prompt_mask": self.prompt_mask,
            "response_mask": self.response_mask,
            "audio": self.audio,
            "audio_start": self.audio_start,
            **changes,
        }
        return condition(llada, self.prompt_ids, **arguments)


def plain_logits(llada: LLaDA, batch: Batch, i: int, hide: str | None = None) -> Tensor:
    """Row ``i`` alone: tokens and audio put together by hand, nothing padded."""
    ids = batch.prompt_ids[i][batch.prompt_mask[i]]
    if hide == "text":
        ids = torch.full_like(ids, MASK)
    text, start = llada.wte(ids), int(batch.audio_start[i])
    sound = batch.audio.embeds[i, : int(batch.audio.lengths[i])]
    if hide == "audio":
        sound = sound[:0]
    response = batch.x_t[i][batch.response_mask[i]]
    sequence = torch.cat((text[:start], sound, text[start:], llada.wte(response)))
    return llada(inputs_embeds=sequence[None]).logits[0, -len(response) :]


@torch.no_grad()
@few
@given(rows=st.lists(row, min_size=1, max_size=4))
def test_each_row_of_a_batch_is_the_row_alone(rows: list) -> None:
    batch = Batch.of(rows)
    logits = batch.predictor()(batch.x_t)
    assert logits.shape == (*batch.x_t.shape, VOCAB)
    for i in range(len(rows)):
        alone = plain_logits(LLADA, batch, i)
        same(logits[i][batch.response_mask[i]], alone)
        assert torch.equal(logits[i][batch.response_mask[i]].argmax(-1), alone.argmax(-1))


@torch.no_grad()
@few
@given(rows=st.lists(row, min_size=1, max_size=3), hide=st.sampled_from(["text", "audio"]))
def test_the_second_half_of_a_pair_lacks_the_text_or_the_audio(rows: list, hide: str) -> None:
    batch = Batch.of(rows)
    pair = batch.predictor().paired(hide)
    assert pair.batch_size == 2 * len(rows)
    logits = pair(torch.cat((batch.x_t, batch.x_t)))
    for i in range(len(rows)):
        real = batch.response_mask[i]
        same(logits[i][real], plain_logits(LLADA, batch, i))
        same(logits[len(rows) + i][real], plain_logits(LLADA, batch, i, hide))


@torch.no_grad()
def test_padding_is_never_looked_at() -> None:
    batch = Batch.of([(2, 3, 0.5, 2), (5, 1, 0.0, 5), (1, 0, 1.0, 1)])
    logits = batch.predictor()(batch.x_t)
    other = dataclasses.replace(
        batch,
        # Not even ids that do not exist matter where nothing is real.
        prompt_ids=batch.prompt_ids.masked_fill(~batch.prompt_mask, -100),
        x_t=torch.where(batch.response_mask, batch.x_t, (batch.x_t + 7) % VOCAB),
        audio=random_audio(batch.audio.lengths.tolist(), junk=1e9),
    )
    again = other.predictor()(other.x_t)
    assert torch.equal(again[batch.response_mask], logits[batch.response_mask])


@torch.no_grad()
def test_a_real_response_token_is_looked_at() -> None:
    batch = Batch.of([(2, 3, 0.5, 4)])
    changed = batch.x_t.clone()
    changed[0, 3] = (changed[0, 3] + 1) % VOCAB
    difference = batch.predictor()(changed) - batch.predictor()(batch.x_t)
    assert (difference[0].abs().amax(-1) > 1e-5).all()


@torch.no_grad()
def test_positions_windows_and_rows_are_parts_of_the_whole() -> None:
    batch = Batch.of([(2, 3, 0.5, 5), (5, 0, 0.0, 5), (1, 2, 1.0, 5)])
    predictor = batch.predictor(response_mask=None)
    whole = predictor(batch.x_t)
    same(predictor(batch.x_t, torch.tensor([1, 4])), whole[:, [1, 4]])
    mixed = torch.tensor([[0, 1], [2, 2], [4, 3]])
    expected = torch.stack([whole[i, mixed[i]] for i in range(3)])
    same(predictor(batch.x_t, mixed), expected)
    cache = predictor.new_cache(5)
    assert torch.equal(predictor(batch.x_t, cache=cache), whole)
    window = torch.tensor([2, 3, 4])
    same(predictor(batch.x_t, cache=cache, window=window), whole[:, 2:])
    same(predictor(batch.x_t, torch.tensor([4, 2]), cache=cache, window=window), whole[:, [4, 2]])
    rows = torch.tensor([2, 0])
    fewer = predictor.select(rows)
    assert fewer.batch_size == 2
    same(fewer(batch.x_t[rows]), whole[rows])
    chosen = cache.keep(predictor.cache_rows(rows))
    same(fewer(batch.x_t[rows], cache=chosen, window=window), whole[rows][:, 2:])
    same(fewer.select(torch.tensor([1]))(batch.x_t[:1]), whole[:1])


@torch.no_grad()
def test_rows_may_be_chosen_before_they_are_paired() -> None:
    batch = Batch.of([(2, 3, 0.5, 3), (5, 2, 0.0, 4), (1, 2, 1.0, 2)])
    once = batch.predictor().select(torch.tensor([2, 1, 0]))
    pair = once.select(torch.tensor([0, 2])).paired("text")
    logits = pair(batch.x_t[[2, 0, 2, 0]])
    for place, (i, hide) in enumerate([(2, None), (0, None), (2, "text"), (0, "text")]):
        real = batch.response_mask[i]
        same(logits[place][real], plain_logits(LLADA, batch, i, hide))


@torch.no_grad()
def test_one_predictor_serves_responses_of_several_lengths() -> None:
    batch = Batch.of([(2, 3, 0.5, 5), (4, 0, 0.0, 5)])
    predictor = batch.predictor(response_mask=None)
    for length in (5, 2, 5):
        fresh = batch.predictor(response_mask=None)
        x_t = batch.x_t[:, :length]
        assert torch.equal(predictor(x_t), fresh(x_t))


def test_gradients_reach_the_audio_embeddings() -> None:
    batch = Batch.of([(2, 3, 0.5, 2), (3, 1, 0.0, 3)])
    sound = batch.audio.embeds.nan_to_num(0.0).requires_grad_()
    audio = AudioEmbeddings(sound, batch.audio.lengths)
    batch.predictor(audio=audio)(batch.x_t)[batch.response_mask].sum().backward()
    reached = sound.grad.abs().sum(-1) > 0
    assert torch.equal(reached, torch.arange(3) < batch.audio.lengths[:, None])


@torch.no_grad()
def test_prompt_and_audio_are_read_once() -> None:
    batch = Batch.of([(2, 3, 0.5, 3), (4, 2, 0.5, 3)])
    embedded = []
    hook = LLADA.wte.register_forward_hook(lambda _, inputs, __: embedded.append(inputs[0].shape))
    try:
        predictor = batch.predictor(response_mask=None)
        for _ in range(3):
            predictor(batch.x_t)
    finally:
        hook.remove()
    assert embedded == [batch.prompt_ids.shape, *[batch.x_t.shape] * 3]


@torch.no_grad()
def test_the_head_runs_on_the_wanted_rows_alone() -> None:
    batch = Batch.of([(2, 3, 0.5, 4), (4, 2, 0.5, 4)])
    rows = []
    hook = LLADA.ff_out.register_forward_hook(lambda _, inputs, __: rows.append(inputs[0].shape))
    try:
        batch.predictor()(batch.x_t, torch.tensor([0, 3]))
    finally:
        hook.remove()
    assert rows == [(2, 2, WIDTH)]


def test_it_is_a_predictor_with_the_ids_of_the_config() -> None:
    predictor = condition(LLADA, torch.zeros(1, 2, dtype=torch.long))
    assert isinstance(predictor, MaskPredictor)
    assert isinstance(predictor, CacheablePredictor)
    assert (predictor.mask_token_id, predictor.eos_token_id) == (MASK, EOS)
    other = condition(LLADA, torch.zeros(1, 2).long(), mask_token_id=3, eos_token_id=4)
    assert (other.mask_token_id, other.eos_token_id) == (3, 4)


@torch.no_grad()
def test_one_start_serves_all_rows() -> None:
    batch = Batch.of([(3, 2, 0.0, 3), (3, 1, 0.0, 3)])
    both = batch.predictor(audio_start=torch.tensor([2, 2]))(batch.x_t)
    assert torch.equal(batch.predictor(audio_start=2)(batch.x_t), both)


@pytest.mark.parametrize(
    ("name", "changes"),
    [
        ("prompt_ids", {"prompt_ids": torch.zeros(3).long()}),
        ("prompt_ids", {"prompt_ids": torch.zeros(2, 3)}),
        ("prompt_ids", {"prompt_ids": torch.full((2, 3), VOCAB)}),
        ("prompt_ids", {"prompt_ids": torch.full((2, 3), -1)}),
        ("prompt_mask", {"prompt_mask": torch.ones(2, 2).bool()}),
        ("prompt_mask", {"prompt_mask": torch.tensor([[1, 0, 1], [1, 1, 1]])}),
        ("response_mask", {"response_mask": torch.ones(1, 2).bool()}),
        ("response_mask", {"response_mask": torch.tensor([[0, 1], [1, 1]]).bool()}),
        ("audio_start", {"audio": random_audio([1, 1])}),
        ("audio_start", {"audio": random_audio([1, 1]), "audio_start": 4}),
        ("audio", {"audio": torch.zeros(2, 1, WIDTH), "audio_start": 0}),
    ],
)
def test_misuse_is_named(name: str, changes: dict) -> None:
    arguments = {"prompt_ids": torch.zeros(2, 3, dtype=torch.long), **changes}
    with pytest.raises((InvalidArgumentError, ShapeError)) as caught:
        condition(LLADA, **arguments)
    assert caught.value.argument == name


@pytest.mark.parametrize(
    ("name", "x_t", "options"),
    [
        ("x_t", torch.zeros(2, 3).long(), {}),
        ("x_t", torch.zeros(3).long(), {}),
        ("x_t", torch.zeros(1, 0).long(), {}),
        ("x_t", torch.zeros(1, 2).long(), {}),  # the response mask has three columns
        ("x_t", torch.zeros(1, 3), {}),
        ("cache", torch.zeros(1, 3).long(), {"window": torch.tensor([0, 1])}),
    ],
)
def test_misuse_of_the_predictor_is_named(name: str, x_t: Tensor, options: dict) -> None:
    mask = torch.ones(1, 3, dtype=torch.bool)
    predictor = condition(LLADA, torch.zeros(1, 2).long(), response_mask=mask)
    with pytest.raises((InvalidArgumentError, ShapeError)) as caught:
        predictor(x_t, **options)
    assert caught.value.argument == name


def test_what_cannot_be_paired_is_named() -> None:
    predictor = condition(LLADA, torch.zeros(1, 2).long())
    for unconditional in ("audio", "nonsense"):
        with pytest.raises(InvalidArgumentError, match="unconditional"):
            predictor.paired(unconditional)


def test_a_sequence_longer_than_the_backbone_knows_is_refused() -> None:
    llada = small_llada(max_sequence_length=8)
    predictor = condition(
        llada, torch.zeros(1, 2).long(), audio=random_audio([3]), audio_start=torch.tensor([1])
    )
    predictor(torch.zeros(1, 3).long())
    with pytest.raises(InvalidArgumentError, match=r"8 positions, got 5 \+ 4"):
        predictor(torch.zeros(1, 4).long())


@torch.no_grad()
def test_what_fits_alone_fits_into_a_batch() -> None:
    llada = small_llada(max_sequence_length=8)
    ids, x_t = torch.arange(12).view(2, 6), torch.full((2, 5), MASK)
    prompt_mask = torch.tensor([[False] * 4 + [True] * 2, [True] * 6])
    response_mask = torch.tensor([[True] * 5, [True] * 2 + [False] * 3])
    both = condition(llada, ids, prompt_mask=prompt_mask, response_mask=response_mask)(x_t)
    same(both[:1], condition(llada, ids[:1, 4:])(x_t[:1]))
    same(both[1:, :2], condition(llada, ids[1:])(x_t[1:, :2]))
    with pytest.raises(InvalidArgumentError, match=r"8 positions, got 6 \+ 5 in row 1"):
        condition(llada, ids, prompt_mask=prompt_mask)(x_t)


@torch.no_grad()
def test_audio_alone_is_a_prompt_and_so_is_nothing() -> None:
    nothing = torch.zeros(1, 0, dtype=torch.long)
    x_t = torch.full((2, 3), MASK)
    assert condition(LLADA, nothing)(x_t[:1]).shape == (1, 3, VOCAB)
    predictor = condition(LLADA, nothing, audio=random_audio([2]), audio_start=0)
    without = condition(LLADA, nothing)(x_t[:1])
    same(predictor.paired("audio")(x_t)[1:], without)
    same(predictor.paired("text")(x_t)[1:], predictor(x_t[:1]))


def test_a_mask_id_is_needed() -> None:
    with pytest.raises(InvalidArgumentError, match="mask_token_id"):
        condition(small_llada(mask_token_id=None), torch.zeros(1, 2).long())
