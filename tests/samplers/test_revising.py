"""Laws of the samplers that take tokens back, on random small models."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import hypothesis.strategies as st
import pytest
import torch
from hypothesis import given, settings
from torch import Tensor

from dllm_audio import (
    CachedParallelSampler,
    ClassifierFreeGuidance,
    EditingSampler,
    RemaskingSampler,
    WINOSampler,
    condition,
)
from dllm_audio.errors import InvalidArgumentError
from dllm_audio.samplers import (
    CachePolicy,
    Draft,
    RevisingRule,
    Revision,
    Sampler,
    SamplingOptions,
    from_dict,
    stream_to,
)
from dllm_audio.samplers.plotting import plot_trace

from .models import EOS, MASK, TablePredictor, mixed_batch, sure_table, tiny_llada

MODELS = [tiny_llada(0), tiny_llada(1, n_kv_heads=1)]
LENGTH = 11
SAMPLERS: dict[str, Callable[..., Sampler]] = {
    "wino": lambda block, **o: WINOSampler(LENGTH, block, 0.2, 0.6, **o),
    "editing": lambda block, **o: EditingSampler(LENGTH, block, 0.4, 0.1, 3, **o),
    "editing, penalty": lambda block, **o: EditingSampler(LENGTH, block, 0.6, 0.3, 1, 2.0, **o),
    "remasking": lambda block, **o: RemaskingSampler(LENGTH, block, 2, **o),
}
BOUNDS = {
    "wino": lambda block: LENGTH,
    "editing": lambda block: LENGTH + 3 * -(-LENGTH // block),
    "editing, penalty": lambda block: LENGTH + 1 * -(-LENGTH // block),
    "remasking": lambda block: 2 * LENGTH,
}
names = st.sampled_from(sorted(SAMPLERS))
seeds = st.integers(0, 2**31)
blocks = st.integers(1, LENGTH)


def some_given(seed: int, count: int) -> Tensor:
    g = torch.Generator().manual_seed(seed)
    start = torch.full((2, LENGTH), MASK)
    for row in range(2):
        where = torch.randperm(LENGTH, generator=g)[:count]
        start[row, where] = torch.randint(0, EOS, (count,), generator=g)
    return start


@settings(max_examples=30)
@given(
    name=names,
    seed=seeds,
    block=blocks,
    cache=st.sampled_from([None, "prefix", "dual"]),
    eos_stop=st.booleans(),
    count=st.integers(0, LENGTH),
    guided=st.booleans(),
)
def test_no_mask_is_left_given_tokens_stay_passes_are_bounded(
    name: str, seed: int, block: int, cache: str | None, eos_stop: bool, count: int, guided: bool
) -> None:
    start = some_given(seed, count)
    guidance = ClassifierFreeGuidance(0.5) if guided else None
    sampler = SAMPLERS[name](block, cache=cache, eos_stop=eos_stop, guidance=guidance)
    predictor = mixed_batch(MODELS[seed % 2], seed, rows=2).together()
    prompt = predictor.prompt.embeds.clone()
    output = sampler(predictor, start=start)
    assert not (output.tokens == MASK).any()
    fixed = start != MASK
    if eos_stop:  # a row that ended holds EOS behind its end
        fixed &= torch.arange(LENGTH) < output.lengths[:, None]
    assert torch.equal(output.tokens[fixed], start[fixed])
    assert output.nfe <= BOUNDS[name](block)
    assert torch.equal(predictor.prompt.embeds, prompt)


@settings(max_examples=30)
@given(name=names, seed=seeds, block=blocks, eos_stop=st.booleans())
def test_a_row_does_not_depend_on_its_batch(
    name: str, seed: int, block: int, eos_stop: bool
) -> None:
    batch = mixed_batch(MODELS[seed % 2], seed)
    sampler = SAMPLERS[name](block, eos_stop=eos_stop)
    together = sampler(batch.together())
    for row in range(3):
        alone = sampler(batch.alone(row))
        assert torch.equal(alone.tokens[0], together.tokens[row])
        assert alone.row_nfe[0] == together.row_nfe[row]


@settings(max_examples=30)
@given(name=names, seed=seeds, block=blocks, kind=st.sampled_from(["prefix", "dual"]))
def test_a_cache_that_is_refreshed_in_every_step_is_none(
    name: str, seed: int, block: int, kind: str
) -> None:
    predictor = mixed_batch(MODELS[seed % 2], seed).together()
    plain = SAMPLERS[name](block)
    cached = Sampler(LENGTH, block, plain.commit, CachePolicy(kind, refresh_interval=1))
    expected, found = plain(predictor), cached(predictor)
    assert torch.equal(found.tokens, expected.tokens)
    assert found.nfe == expected.nfe


@settings(max_examples=30)
@given(name=names, seed=seeds, block=blocks)
def test_what_streams_is_what_is_returned_and_final_positions_stay(
    name: str, seed: int, block: int
) -> None:
    predictor = mixed_batch(MODELS[seed % 2], seed).together()
    sampler = SAMPLERS[name](block, trace=True)
    steps = list(sampler.stream(predictor))
    output = sampler(predictor)
    assert torch.equal(steps[-1].tokens, output.tokens)
    assert [step.nfe for step in steps[:-1]] == list(range(1, output.nfe + 1))
    for step in steps[:-1]:
        assert step.final is not None
        assert torch.equal(step.tokens[:, : step.final], output.tokens[:, : step.final])
    assert output.trace is not None
    assert output.trace.drafts is not None
    assert torch.equal(output.trace.drafts, torch.stack([step.tokens for step in steps[:-1]]))


def test_every_rule_takes_back_somewhere() -> None:
    """Else the laws above would say nothing."""
    for name in SAMPLERS:
        taken = 0
        for seed in range(12):
            output = SAMPLERS[name](8, trace=True)(mixed_batch(MODELS[0], seed).together())
            assert output.trace is not None
            drafts = output.trace.drafts
            assert drafts is not None
            before, after = drafts[:-1], drafts[1:]
            taken += int(((before != MASK) & (before != after)).sum())
        assert taken > 0, name


@pytest.mark.parametrize("name", sorted(SAMPLERS))
def test_samplers_are_described(name: str) -> None:
    sampler = SAMPLERS[name](4, eos_stop=True)
    assert from_dict(sampler.to_dict()) == sampler


def test_wino_by_hand() -> None:
    """What is doubted goes, but less than was drafted before."""
    rule = WINOSampler(4, 4, 0.8, 0.9).commit
    confidence = torch.tensor([[0.95, 0.85, 0.2, 0.1, 0.99]])
    masked = torch.tensor([[True, True, True, True, False]])
    own = ~masked
    tokens = torch.zeros(1, 5, dtype=torch.long)

    def draft(backing: float, drafted_before: int) -> Draft:
        return Draft(
            tokens, masked, own, tokens, confidence, confidence, torch.full((1, 5), backing),
            torch.tensor([drafted_before]), 1,
        )  # fmt: skip

    revision = rule.revise(draft(0.5, 2))
    assert revision.write.tolist() == [[True, True, False, False, False]]
    assert revision.reopen.tolist() == [[False, False, False, False, True]]
    assert revision.memory.tolist() == [2]
    assert not rule.revise(draft(0.95, 2)).reopen.any()  # backed
    assert not rule.revise(draft(0.5, 1)).reopen.any()  # one drafted before: none may go


def test_editing_replaces_what_is_no_longer_likeliest() -> None:
    class Settles(TablePredictor):
        """Wants token 1 while it sees a mask, and token 2 from then on."""

        def __call__(self, x_t: Tensor) -> Tensor:
            super().__call__(x_t)
            wanted = 1 if (x_t == MASK).any() else 2
            return sure_table([[0.9, 0.6]], [[wanted, wanted]])

    sampler = EditingSampler(2, 2, threshold=0.8, edit_threshold=0.5, trace=True)
    output = sampler(Settles(sure_table([[0.9, 0.6]]), MASK, EOS))
    assert output.tokens.tolist() == [[2, 2]]
    assert output.trace.drafts[:, 0].tolist() == [[1, MASK], [1, 1], [2, 2], [2, 2]]
    never = EditingSampler(2, 2, threshold=0.8, edit_threshold=0.95)
    assert never(Settles(sure_table([[0.9, 0.6]]), MASK, EOS)).tokens.tolist() == [[1, 1]]


@dataclass(frozen=True)
class Flips(RevisingRule):
    """Reopens everything it wrote, for ever."""

    def plan(self, block_lengths: Any) -> list[int | None]:
        return [7 for _ in block_lengths]

    def revise(self, draft: Draft) -> Revision:
        everything = torch.ones_like(draft.open)
        return Revision(draft.open, everything, torch.ones_like(draft.memory, dtype=torch.bool))


def test_a_rule_that_never_ends_is_ended() -> None:
    predictor = TablePredictor(sure_table([[0.9] * 4]), MASK, EOS)
    output = Sampler(4, 4, Flips())(predictor)
    assert output.nfe == 7
    assert output.tokens.tolist() == [[0] * 4]


def test_a_shadow_needs_a_backbone_that_hides_positions() -> None:
    with pytest.raises(InvalidArgumentError, match="shadow"):
        WINOSampler(4, 4)(TablePredictor(sure_table([[0.9] * 4]), MASK, EOS))


def test_the_shadow_does_not_see_its_twin_and_nobody_sees_the_shadow() -> None:
    batch = mixed_batch(MODELS[1], 3)
    predictor = batch.together()
    generator = torch.Generator().manual_seed(1)
    x = torch.randint(0, EOS, (3, LENGTH), generator=generator)
    with torch.inference_mode():
        logits, shadow = predictor.shadowed(x, (4, 8))
        torch.testing.assert_close(logits, predictor(x)[:, 4:8])
        changed = x.clone()
        changed[:, 5] = (x[:, 5] + 1) % EOS
        _, after = predictor.shadowed(changed, (4, 8))
    moved = (after - shadow).abs().amax((0, 2))
    assert moved[1] > 1e-9  # through the other positions, which see what changed
    one = tiny_llada(1, n_kv_heads=1)
    del one.blocks[1:]  # a single layer: the others' keys are the tokens themselves
    one.config.n_layers = 1
    alone = condition(one, torch.tensor([[1, 2]]))
    with torch.inference_mode():
        before = alone.shadowed(x[:1], (4, 8))[1]
        after = alone.shadowed(changed[:1], (4, 8))[1]
    moved = (after - before).abs().amax((0, 2))
    assert moved[1] == 0
    assert (moved[[0, 2, 3]] > 1e-9).all()


def test_options_reach_the_samplers() -> None:
    sampler = WINOSampler(8, 4, cache="dual", eos_stop=True, trace=True)
    assert sampler.options == SamplingOptions(eos_stop=True, trace=True)
    assert sampler.cache == CachePolicy("dual")
    assert not isinstance(sampler, CachedParallelSampler)


def test_streamers_get_what_is_final_and_drafts_show_what_is_taken_back() -> None:
    put: list[int] = []
    drafts: list[list[int]] = []

    class Streamer:
        def put(self, ids: Tensor) -> None:
            put.extend(ids.tolist())

        def put_draft(self, ids: Tensor) -> None:
            drafts.append(ids.tolist())

        def end(self) -> None:
            put.append(-1)

    predictor = mixed_batch(MODELS[0], 5, rows=1).together()
    sampler = SAMPLERS["wino"](8)
    output = stream_to(Streamer(), sampler, predictor, end_token_ids=[])
    assert put == [*output.tokens[0].tolist(), -1]
    assert any(MASK in draft for draft in drafts)


def test_a_picture_of_what_was_taken_back(tmp_path: Path) -> None:
    output = SAMPLERS["wino"](8, trace=True)(mixed_batch(MODELS[0], 5, rows=1).together())
    labels = [[str(token) for token in row] for row in output.tokens.tolist()]
    plot_trace(output.trace, labels, tmp_path / "revised.png")
    assert (tmp_path / "revised.png").stat().st_size > 5000
