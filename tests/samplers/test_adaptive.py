"""Responses that find their length: laws on random small models, and values by hand."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NoReturn

import hypothesis.strategies as st
import pytest
import torch
from hypothesis import given, settings
from torch import Tensor

from dllm_audio import AdaptiveSampler, ClassifierFreeGuidance, RhoEOS
from dllm_audio.errors import InvalidArgumentError
from dllm_audio.samplers import DAEDAL, SamplingOptions, from_dict
from dllm_audio.samplers.length_policies import Rows, Seen

from .models import EOS, MASK, TablePredictor, mixed_batch, sure_table, tiny_llada

MODELS = [tiny_llada(0), tiny_llada(1, n_kv_heads=1)]
POLICIES: dict[str, Any] = {
    "daedal": DAEDAL(4, 12, 3, 0.3, 0.05, 0.9, eos_check_tokens=2),
    "rho-eos": RhoEOS(4, 12, 2, 0.1, 0.4),
    "rho-eos, as released": RhoEOS(5, 12, 2, 0.1, 0.3, "linear", "confidence", 3, protect=False),
}
names, seeds, blocks = st.sampled_from(sorted(POLICIES)), st.integers(0, 2**31), st.integers(1, 12)


def sampler_of(name: str, block: int, cache: str | None = None, **options: Any) -> AdaptiveSampler:
    return AdaptiveSampler(POLICIES[name], block, 0.4, cache, SamplingOptions(**options))


@settings(max_examples=30)
@given(
    name=names,
    seed=seeds,
    block=blocks,
    cache=st.sampled_from([None, "prefix"]),
    eos_stop=st.booleans(),
    guided=st.booleans(),
)
def test_no_mask_is_left_and_lengths_and_passes_are_bounded(
    name: str, seed: int, block: int, cache: str | None, eos_stop: bool, guided: bool
) -> None:
    guidance = ClassifierFreeGuidance(0.5) if guided else None
    sampler = sampler_of(name, block, cache, eos_stop=eos_stop, guidance=guidance, trace=True)
    predictor = mixed_batch(MODELS[seed % 2], seed, rows=2).together()
    prompt = predictor.prompt.embeds.clone()
    output = sampler(predictor)
    assert not (output.tokens == MASK).any()
    assert output.tokens.shape[1] <= 12
    assert output.nfe <= POLICIES[name].most_passes
    assert (output.row_nfe <= output.nfe).all()
    assert torch.equal(predictor.prompt.embeds, prompt)
    assert output.trace is not None
    known = output.trace.step >= 0
    assert torch.equal(known, ~output.trace.confidence.isnan())


class Undecided:
    """Two masks expect an end, the second more surely; anything else expects text."""

    batch_size, mask_token_id, eos_token_id = 1, MASK, EOS
    device, can_cache, response_mask = torch.device("cpu"), False, None

    def __call__(self, x_t: Tensor, *_: object, **__: object) -> Tensor:
        logits = torch.zeros(*x_t.shape, MASK + 1)
        if x_t.tolist() == [[MASK, MASK]]:
            logits[0, :, EOS] = torch.tensor([1.0, 2.0])
        else:
            logits[..., 3] = 1.0
        return logits

    def within(self, *_: object) -> Undecided:
        return self

    select = within

    def new_cache(self, *_: object) -> NoReturn:
        raise NotImplementedError

    cache_rows = new_cache


@pytest.mark.parametrize("protect", [True, False])
def test_the_last_pass_appends_nothing(protect: bool) -> None:
    """Both masks expect an end, so the tail goes; then text, which asks for one more each time."""
    policy = RhoEOS(2, 3, 1, 0.4, 0.6, "const", protect=protect)
    output = AdaptiveSampler(policy, 8)(Undecided())
    assert output.nfe == policy.most_passes
    assert output.tokens.tolist() == [[3, 3]]


@settings(max_examples=20)
@given(name=names, seed=seeds, block=blocks, eos_stop=st.booleans())
def test_a_row_does_not_depend_on_its_batch(
    name: str, seed: int, block: int, eos_stop: bool
) -> None:
    batch = mixed_batch(MODELS[seed % 2], seed)
    sampler = sampler_of(name, block, eos_stop=eos_stop)
    together = sampler(batch.together())
    for row in range(3):
        alone = sampler(batch.alone(row))
        width = alone.tokens.shape[1]
        assert torch.equal(alone.tokens[0], together.tokens[row, :width])
        assert (together.tokens[row, width:] == EOS).all()
        assert alone.row_nfe[0] == together.row_nfe[row]


@settings(max_examples=15)
@given(name=st.sampled_from(["rho-eos", "rho-eos, as released"]), seed=seeds)
def test_a_cache_that_is_never_reused_changes_nothing(name: str, seed: int) -> None:
    """A block of one position moves on, and refreshes, in every pass that inserts nothing."""
    predictor = mixed_batch(MODELS[seed % 2], seed, rows=1).together()
    plain, cached = (sampler_of(name, 1, cache)(predictor) for cache in (None, "prefix"))
    assert torch.equal(plain.tokens, cached.tokens)
    assert plain.nfe == cached.nfe


@settings(max_examples=15)
@given(name=names, seed=seeds, block=blocks)
def test_what_streams_is_what_is_returned(name: str, seed: int, block: int) -> None:
    predictor = mixed_batch(MODELS[seed % 2], seed).together()
    sampler = sampler_of(name, block)
    steps = list(sampler.stream(predictor))
    output = sampler(predictor)
    assert torch.equal(steps[-1].tokens, output.tokens)
    assert [step.nfe for step in steps[:-1]] == list(range(1, output.nfe + 1))


@pytest.mark.parametrize("name", sorted(POLICIES))
def test_samplers_are_described(name: str) -> None:
    sampler = sampler_of(name, 4, "prefix", eos_stop=True)
    again = from_dict(sampler.to_dict())
    assert isinstance(again, AdaptiveSampler)
    assert again == sampler
    for broken in ({"name": "endless"}, {"name": "daedal", "settings": {"initial": 3}}):
        with pytest.raises(InvalidArgumentError, match="length"):
            from_dict({**sampler.to_dict(), "length": broken})
    with pytest.raises(InvalidArgumentError, match="gen_length"):
        from_dict({**sampler.to_dict(), "gen_length": 13})


def seen(confidence: list[float], ends: list[bool], masked: list[bool]) -> Seen:
    best = torch.tensor([[EOS if end else 0 for end in ends]])
    return Seen(best, torch.tensor([confidence]), torch.tensor([ends]), torch.tensor([masked]))


def test_confidence_and_density_by_hand() -> None:
    found = seen([0.9, 0.5, 0.8, 0.4], [True, False, True, True], [True, True, True, False])
    assert found.end_confidence(2).item() == pytest.approx((0.8 + 0.4) / 2)
    assert found.end_confidence(4).item() == pytest.approx((0.9 + 0.8 + 0.4) / 4)
    assert found.end_density().item() == pytest.approx(2 / 3)


def rows(tokens: list[int], length: int, committed: list[bool]) -> Rows:
    sureness = torch.tensor([[0.5 if known else float("nan") for known in committed]])
    one = torch.zeros(1, dtype=torch.long)
    return Rows(
        torch.tensor([tokens]), sureness, torch.full((1, len(tokens)), -1),
        one + length, one, one.bool(), one.bool(), one,
    )  # fmt: skip


def test_insertion_moves_what_is_behind() -> None:
    made = rows([1, MASK, 3, 4, MASK, MASK], 4, [True, False, True, True, False, False])
    made.insert(torch.tensor([1]), torch.tensor([2]))
    assert made.tokens.tolist() == [[1, MASK, MASK, MASK, 3, 4]]


@pytest.mark.parametrize(("protect", "left"), [(True, 5), (False, 0)])
def test_committed_text_is_not_cut(protect: bool, left: int) -> None:
    """Everything that is open expects an end: far above the threshold, 8 positions are to go."""
    policy = RhoEOS(4, 12, 1, 0.1, 0.3, "exp", protect=protect)
    made = rows([1, MASK, MASK, MASK, 4, MASK, MASK], 7, [True, *[False] * 3, True, False, False])
    found = seen([0.9] * 7, [True] * 7, [False, True, True, True, False, True, True])
    policy.resize(made, found, EOS)
    assert made.length.tolist() == [left]


@pytest.mark.parametrize(
    ("scheduler", "lengths"), [("const", [6, 2]), ("linear", [10, 0]), ("exp", [12, 0])]
)
def test_the_scheduler_by_hand(scheduler: str, lengths: list[int]) -> None:
    """Nothing expects an end (0.25 below, 3 steps), or everything does (0.5 above, 5 steps)."""
    policy = RhoEOS(4, 12, 2, 0.25, 0.5, scheduler, protect=False)
    for ends, length in zip((False, True), lengths, strict=True):
        made = rows([MASK] * 12, 4, [False] * 12)
        found = seen([0.9] * 12, [ends] * 4 + [False] * 8, [True] * 4 + [False] * 8)
        policy.resize(made, found, EOS)
        assert made.length.tolist() == [length]


def test_options_that_have_no_meaning_here_are_refused() -> None:
    with pytest.raises(InvalidArgumentError, match="guidance, eos_stop and trace"):
        AdaptiveSampler(DAEDAL(), options=SamplingOptions(temperature=1.0))
    with pytest.raises(InvalidArgumentError, match="cache"):
        AdaptiveSampler(DAEDAL(), cache="dual")
    table = TablePredictor(sure_table([[0.9] * 4]), MASK, EOS)
    with pytest.raises(InvalidArgumentError, match="condition"):
        AdaptiveSampler(DAEDAL(4, 4))(table)
    predictor = mixed_batch(MODELS[0], 1).together()
    start: Tensor = torch.full((3, 12), MASK)
    with pytest.raises(InvalidArgumentError, match="start"):
        sampler_of("daedal", 4)(predictor, start=start)


def test_a_policy_of_ones_own_is_described_by_its_name() -> None:
    @dataclass(frozen=True)
    class Constant(DAEDAL):
        """The first length, for good."""

        name = "constant"
        finds_first = False

        def insert(self, rows: Rows, seen: Seen, weak: Tensor) -> tuple[Tensor, Tensor]:
            return rows.at, torch.zeros_like(rows.length)

    sampler = AdaptiveSampler(Constant(5, 12), 3, 0.4)
    assert from_dict(sampler.to_dict()) == sampler
    output = sampler(mixed_batch(MODELS[0], 1).together())
    assert output.tokens.shape[1] == 5
    with pytest.raises(InvalidArgumentError, match="not taken by DAEDAL"):

        class Other(DAEDAL):
            name = "daedal"
