"""The one description of decoding: strict, plain JSON, and equal after the way there and back."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

import hypothesis.strategies as st
import pytest
import torch
from hypothesis import given, settings
from torch import Tensor

from dllm_audio import (
    KLASS,
    BlockSampler,
    CachedParallelSampler,
    ClassifierFreeGuidance,
    EntropyBound,
    Factor,
    FixedQuota,
    LocalLeap,
    LowConfidenceSampler,
    Prophet,
    Threshold,
    register,
)
from dllm_audio.errors import InvalidArgumentError
from dllm_audio.samplers import (
    PRESETS,
    CachePolicy,
    CommitRule,
    CommitState,
    Hierarchical,
    Sampler,
    SamplingOptions,
    TimestepQuota,
    TraceCredit,
    from_dict,
    preset,
)


@register("commit", "test-first-n")
@dataclass(frozen=True)
class FirstN(CommitRule):
    """Somebody else's rule."""

    n: int = 2
    note: str = ""

    def commit(self, state: CommitState) -> Tensor:
        return state.candidates & (state.candidates.cumsum(-1) <= self.n)


unit = st.floats(0, 1)
rules = st.one_of(
    st.builds(FixedQuota, st.integers(40, 200)),
    st.builds(TimestepQuota, st.integers(40, 200), st.floats(1e-6, 0.5)),
    st.builds(Threshold, unit, unit, unit),
    st.builds(Factor, st.floats(0, 50), st.booleans()),
    st.builds(EntropyBound, st.floats(0, 50), st.none() | unit),
    st.builds(KLASS, st.integers(40, 200), unit, unit, st.integers(1, 9)),
    st.builds(Prophet, st.integers(40, 200), answer_length=st.none() | st.integers(1, 9)),
    st.builds(LocalLeap, st.floats(0.5, 1), st.floats(0, 0.5), st.integers(0, 20)),
    st.builds(Hierarchical, st.floats(0.5, 1), st.floats(0, 0.5)),
    st.builds(FirstN, st.integers(1, 5), st.text(max_size=5)),
)
caches = st.one_of(
    st.none(),
    st.builds(
        CachePolicy,
        st.sampled_from(["prefix", "dual"]),
        st.none() | st.integers(1, 9),
        st.sampled_from(["sequence", "response"]),
    ),
)
options = st.builds(
    SamplingOptions,
    temperature=st.floats(0, 5) | st.integers(0, 2),
    guidance=st.none()
    | st.builds(ClassifierFreeGuidance, st.floats(0, 5), st.sampled_from(["text", "audio"])),
    confidence=st.sampled_from(["max_probability", "margin", "entropy", "random"]),
    eos=st.sampled_from(["allow", "forbid", "delay", "exclude"]),
    end_token_ids=st.none() | st.lists(st.integers(0, 2**31), max_size=3).map(tuple),
    eos_stop=st.booleans(),
    credit=st.none() | st.builds(TraceCredit, unit, unit, st.floats(0, 0.9)),
    trace=st.booleans(),
    context=st.sampled_from(["full", "prefix"]),
)
samplers = st.builds(
    Sampler,
    st.integers(1, 40),
    st.integers(1, 64),
    rules,
    caches,
    options,
    st.none() | st.integers(40, 99),
)


@settings(max_examples=200)
@given(samplers)
def test_there_and_back(sampler: Sampler) -> None:
    description = sampler.to_dict()
    text = json.dumps(description, allow_nan=False)
    again = from_dict(json.loads(text))
    assert again == sampler
    assert hash(again) == hash(sampler)
    assert json.dumps(again.to_dict()) == text
    assert (again.commit, again.options, again.plan()) == (
        sampler.commit,
        sampler.options,
        sampler.plan(),
    )
    assert again.cache == sampler.cache


@settings(max_examples=60)
@given(samplers, samplers)
def test_equal_samplers_have_equal_descriptions(one: Sampler, two: Sampler) -> None:
    assert (one == two) == (one.to_dict() == two.to_dict())


def test_named_samplers_are_equal_to_what_describes_them() -> None:
    for sampler in (
        LowConfidenceSampler(4, 8, guidance=ClassifierFreeGuidance(1.5, "audio")),
        BlockSampler(4, 8, 4, temperature=0.5),
        CachedParallelSampler(8, 4, Factor(1.0), "dual", refresh="response", credit=TraceCredit()),
    ):
        assert from_dict(sampler.to_dict()) == sampler
    assert LowConfidenceSampler(4, 8) == BlockSampler(4, 8, 8)
    assert LowConfidenceSampler(4, 8) != LowConfidenceSampler(5, 8)
    assert LowConfidenceSampler(4, 8) != "LowConfidenceSampler(4, 8)"


@pytest.mark.parametrize("name", PRESETS)
def test_presets_are_plain_descriptions(name: str) -> None:
    assert from_dict(json.loads(json.dumps(PRESETS[name]))) == preset(name)


def test_what_is_not_given_has_a_default() -> None:
    assert from_dict({"gen_length": 8, "steps": 4}) == Sampler(8, 8, FixedQuota(4), steps=4)
    rule = {"name": "entropy-bound"}
    assert from_dict({"gen_length": 8, "commit": rule}) == Sampler(8, 8, EntropyBound())
    cached = from_dict({"gen_length": 8, "commit": rule, "cache": {"kind": "dual"}})
    assert cached.cache == CachePolicy("dual")


def test_an_unregistered_rule_is_refused_with_the_line_that_registers_it() -> None:
    class Mine(FirstN):
        pass

    with pytest.raises(InvalidArgumentError, match=r"@register\('commit', 'mine'\)"):
        Sampler(4, 4, Mine()).to_dict()


GOOD: dict[str, Any] = {
    "gen_length": 8,
    "commit": {"name": "threshold", "settings": {"tau": 0.9}},
}


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"treshold": 0.9}, "treshold"),
        ({"cache": {"kind": "prefix", "interval": 3}}, "cache: .*interval"),
        ({"guidance": {"scale": 1.0, "strength": 2}}, "guidance: .*strength"),
        ({"credit": {"beta": 1}}, "credit: .*beta"),
        ({"commit": {"name": "threshold", "settings": {"tau": 0.9, "teu": 1}}}, "commit: .*teu"),
        ({"commit": {"name": "threshold", "options": {}}}, "commit: .*options"),
    ],
)
def test_unknown_keys_are_named(changes: dict[str, Any], named: str) -> None:
    with pytest.raises(InvalidArgumentError, match=named):
        from_dict({**GOOD, **changes})


HUGE = 10**5000
ODD = [None, True, -1, 0, 0.5, HUGE, -HUGE, float("nan"), float("inf"), "8", "", [], [HUGE], {}]


@pytest.mark.parametrize("key", ["gen_length", "block_length", "steps", "commit", "cache",
                                 *SamplingOptions.__dataclass_fields__])  # fmt: skip
@pytest.mark.parametrize("value", ODD, ids=range(len(ODD)))
def test_odd_values_are_refused_or_make_a_sampler(key: str, value: Any) -> None:
    sampler, message = None, ""
    try:
        sampler = from_dict({**GOOD, key: value})
    except InvalidArgumentError as error:
        message = str(error)
    if sampler is None:
        assert key in message
        assert len(message) < 400
    else:
        assert from_dict(sampler.to_dict()) == sampler


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"gen_length": 2**40, "block_length": 1}, "gen_length"),
        ({"commit": {"name": "nobody", "settings": {}}}, "commit: .*nobody"),
        ({"commit": {"name": "threshold"}}, "commit: .*tau"),
        ({"commit": {"name": "threshold", "settings": {"tau": "high"}}}, "commit: .*tau"),
        ({"commit": {"name": "threshold", "settings": {"tau": HUGE}}}, "commit: .*tau"),
        ({"commit": {"name": "factor", "settings": {"factor": [1]}}}, "commit: .*factor"),
        ({"commit": {"name": "local-leap", "settings": {"radius": 2**60}}}, "commit: .*radius"),
        ({"commit": {"name": ["threshold"], "settings": {}}}, "commit"),
        ({"commit": {"name": "threshold", "settings": [0.9]}}, "commit"),
        ({"commit": {"name": "fixed-quota", "settings": {"steps": 1}}, "block_length": 4}, "steps"),
        ({"commit": None}, "commit"),
        ({"cache": {"kind": "suffix"}}, r"cache\.cache"),
        ({"cache": "prefix"}, "cache: expected an object"),
        ({"guidance": {}}, r"guidance\.scale"),
        ({"guidance": {"scale": "1"}}, r"guidance\.scale"),
        ({"end_token_ids": [1, -1]}, "end_token_ids"),
        ({"end_token_ids": ["1"]}, "end_token_ids"),
        ({"trace": 1}, "trace"),
    ],
)
def test_values_that_do_not_fit_are_named(changes: dict[str, Any], named: str) -> None:
    with pytest.raises(InvalidArgumentError, match=named):
        from_dict({**GOOD, **changes})


@pytest.mark.parametrize("value", [None, [], "x", 3, {1: 2, "gen_length": 4}, {}])
def test_what_is_no_description_is_refused(value: Any) -> None:
    with pytest.raises(InvalidArgumentError, match=r"^sampler"):
        from_dict(value)


def test_a_described_sampler_decodes() -> None:
    from .models import MASK, mixed_batch, tiny_llada

    predictor = mixed_batch(tiny_llada(), 0).together()
    for rule in (FirstN(3), TimestepQuota(5), Threshold(0.5)):
        sampler = CachedParallelSampler(8, 8, rule)
        outputs = [s(predictor).tokens for s in (sampler, from_dict(sampler.to_dict()))]
        assert torch.equal(*outputs)
        assert not (outputs[0] == MASK).any()
