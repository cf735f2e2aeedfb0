"""What a sampler, a rule or a guidance is given: refused by name, before anything is allocated."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch

from dllm_audio import (
    BlockSampler,
    CachedParallelSampler,
    ClassifierFreeGuidance,
    EntropyBound,
    Factor,
    FixedQuota,
    LLaDA,
    LLaDAConfig,
    LocalLeap,
    LowConfidenceSampler,
    Threshold,
    condition,
)
from dllm_audio.errors import InvalidArgumentError
from dllm_audio.samplers import (
    CachePolicy,
    Hierarchical,
    LengthRule,
    Sampler,
    SamplingOptions,
    TimestepQuota,
    TraceCredit,
    choose_among,
    from_dict,
    infilling_start,
    preset,
    remask,
    response_mask,
    token_confidence,
)

from .models import EOS, MASK, VOCAB, TablePredictor

TABLE = TablePredictor(torch.zeros(1, 4, VOCAB), MASK, EOS)
IDS, SURE = torch.zeros(1, 4, dtype=torch.long), torch.zeros(1, 4)
NUMBERS: dict[str, Callable[[Any], object]] = {
    "tau": Threshold,
    "decay": lambda v: Threshold(0.5, v),
    "floor": lambda v: Threshold(0.5, 0.1, v),
    "factor": Factor,
    "gamma": EntropyBound,
    "anchor": lambda v: LocalLeap(v, v),
    "relaxed": lambda v: LocalLeap(0.9, v),
    "high": lambda v: Hierarchical(v, v),
    "low": lambda v: Hierarchical(0.9, v),
    "eps": lambda v: TimestepQuota(4, v),
    "scale": ClassifierFreeGuidance,
    "alpha": TraceCredit,
    "credit gamma": lambda v: TraceCredit(0.1, v),
    "credit decay": lambda v: TraceCredit(0.1, 0.1, v),
    "temperature": lambda v: LowConfidenceSampler(4, 4, temperature=v),
    "preset temperature": lambda v: preset("answers", temperature=v),
    "described temperature": lambda v: from_dict({"gen_length": 4, "steps": 4, "temperature": v}),
    "tokens_per_second": LengthRule,
    "extra": lambda v: LengthRule(1.0, v),
    "coverage": lambda v: LengthRule.fit([1.0, 2.0], [3, 4], v),
    "fraction": lambda v: remask(IDS, SURE, v, mask_token_id=MASK),
}
INTEGERS: dict[str, Callable[[Any], object]] = {
    "gen_length": lambda v: LowConfidenceSampler(4, v),
    "steps": lambda v: LowConfidenceSampler(v, 4),
    "block_length": lambda v: BlockSampler(4, 4, v),
    "block gen_length": lambda v: BlockSampler(4, v, 4),
    "block steps": lambda v: BlockSampler(v, 4, 4),
    "cached gen_length": lambda v: CachedParallelSampler(v, 4),
    "cached block_length": lambda v: CachedParallelSampler(4, v),
    "cached steps": lambda v: CachedParallelSampler(4, 4, steps=v),
    "refresh_interval": lambda v: CachedParallelSampler(4, 4, refresh_interval=v),
    "plain gen_length": lambda v: Sampler(v, 4, Threshold(0.9)),
    "described gen_length": lambda v: from_dict({"gen_length": v, "steps": 4}),
    "described steps": lambda v: from_dict({"gen_length": 4, "steps": v}),
    "preset gen_length": lambda v: preset("answers", gen_length=v),
    "quota": FixedQuota,
    "timesteps": TimestepQuota,
    "radius": lambda v: LocalLeap(radius=v),
    "end_token_ids": lambda v: SamplingOptions(end_token_ids=(v,)),
    "limit": lambda v: LengthRule(1.0)([1.0], v),
    "mask width": lambda v: response_mask(torch.tensor([1]), v),
    "infilling": lambda v: infilling_start([[1]], v, mask_token_id=MASK),
    "passes": lambda v: token_confidence(TABLE, IDS, v),
    "choice gen_length": lambda v: choose_among(TABLE, [[[1]]], gen_length=v, end_token_ids=[EOS]),
}
BAD_NUMBERS = [10**400, -(10**400), float("nan"), float("inf"), -float("inf"), True, "0.5", [0.5]]
BAD_INTEGERS = [*BAD_NUMBERS, 10**12, 2.0, -1, None]


@pytest.mark.parametrize("name", NUMBERS)
@pytest.mark.parametrize("value", BAD_NUMBERS, ids=range(len(BAD_NUMBERS)))
def test_a_number_is_a_finite_number(name: str, value: Any) -> None:
    with pytest.raises(InvalidArgumentError) as caught:
        NUMBERS[name](value)
    assert str(caught.value).count("\n") == 0
    assert len(str(caught.value)) < 250


@pytest.mark.parametrize("name", INTEGERS)
@pytest.mark.parametrize("value", BAD_INTEGERS, ids=range(len(BAD_INTEGERS)))
def test_an_integer_is_one_and_not_without_end(name: str, value: Any) -> None:
    unbounded = {"cached steps", "refresh_interval", "mask width"}
    if value is None and name in unbounded:
        INTEGERS[name](value)  # no bound of its own
        return
    with pytest.raises(InvalidArgumentError) as caught:
        INTEGERS[name](value)
    assert len(str(caught.value)) < 250


@pytest.mark.parametrize(
    ("make", "argument"),
    [
        (lambda: Sampler(4, 4, Threshold(0.9), cache="prefix"), "cache"),  # type: ignore[arg-type]
        (lambda: Sampler(4, 4, Threshold(0.9), options={"eos": "stop"}), "options"),  # type: ignore[arg-type]
        (lambda: Sampler(4, 4, Threshold), "commit"),  # type: ignore[arg-type]
        (lambda: CachePolicy(["prefix"]), "cache"),  # type: ignore[arg-type]
        (lambda: ClassifierFreeGuidance(1.0, ["text"]), "unconditional"),  # type: ignore[arg-type]
        (lambda: Factor(1.0, commit_last=1), "commit_last"),  # type: ignore[arg-type]
        (lambda: LowConfidenceSampler(4, 4)(TABLE, start=[[1] * 4]), "start"),  # type: ignore[arg-type]
        (lambda: LowConfidenceSampler(4, 4)(TABLE, start="x"), "start"),  # type: ignore[arg-type]
        (
            lambda: LowConfidenceSampler(4, 4, temperature=1.0)(TABLE, generator=[7]),  # type: ignore[list-item]
            "generator",
        ),
        (
            lambda: LowConfidenceSampler(4, 4, temperature=1.0)(TABLE, generator=7),  # type: ignore[arg-type]
            "generator",
        ),
    ],
)
def test_what_is_of_another_kind_is_named(make: Callable[[], object], argument: str) -> None:
    with pytest.raises(InvalidArgumentError, match=f"^{argument}: expected .*, got "):
        make()


class Watched(LLaDA):
    """Tells what it was asked for."""

    asked: list[str]

    def new_cache(self, batch_size: int, length: int) -> Any:
        self.asked.append("cache")
        return super().new_cache(batch_size, length)

    def forward(self, *args: Any, **options: Any) -> Any:
        self.asked.append("pass")
        return super().forward(*args, **options)


@pytest.mark.parametrize(
    "decode",
    [
        lambda predictor: LowConfidenceSampler(4, 60)(predictor),
        lambda predictor: BlockSampler(4, 60, 30)(predictor),
        lambda predictor: CachedParallelSampler(60, 30)(predictor),
        lambda predictor: CachedParallelSampler(2**20, 2**20)(predictor),
        lambda predictor: CachedParallelSampler(60, 30, guidance=ClassifierFreeGuidance(1.0))(
            predictor
        ),
        lambda predictor: next(CachedParallelSampler(60, 30, cache="dual").stream(predictor)),
        lambda predictor: choose_among(predictor, [[[1], [2]]], gen_length=60, end_token_ids=[EOS]),
        lambda predictor: predictor.new_cache(60),
    ],
)
def test_a_response_that_does_not_fit_is_refused_before_anything_is_allocated(
    decode: Callable[[Any], object], monkeypatch: pytest.MonkeyPatch
) -> None:
    config = LLaDAConfig(
        d_model=16, n_layers=1, n_heads=2, mlp_hidden_size=16, vocab_size=VOCAB,
        max_sequence_length=62, mask_token_id=MASK, eos_token_id=EOS,
    )  # fmt: skip
    model = Watched(config)
    model.asked = []
    predictor = condition(model, torch.tensor([[1, 2, 3]]))
    made: list[object] = []
    full = torch.full
    monkeypatch.setattr(torch, "full", lambda *args, **kw: made.append(args) or full(*args, **kw))
    with pytest.raises(InvalidArgumentError, match=r"within 62 positions, got 3 \+ "):
        decode(predictor)
    assert model.asked == []
    assert made == []
    assert LowConfidenceSampler(1, 59)(predictor).tokens.shape == (1, 59)


def test_tokens_that_the_model_does_not_know_are_refused() -> None:
    config = LLaDAConfig(
        d_model=16, n_layers=1, n_heads=2, mlp_hidden_size=16, vocab_size=VOCAB,
        mask_token_id=MASK, eos_token_id=EOS,
    )  # fmt: skip
    predictor = condition(LLaDA(config), torch.tensor([[1, 2, 3]]))
    with pytest.raises(InvalidArgumentError, match=r"start: expected ids in \[0, 24\)"):
        LowConfidenceSampler(2, 2)(predictor, start=torch.tensor([[MASK, VOCAB]]))
    with pytest.raises(InvalidArgumentError, match=r"choices: expected ids in \[0, 24\)"):
        choose_among(predictor, [[[VOCAB]]], gen_length=4, end_token_ids=[EOS])
