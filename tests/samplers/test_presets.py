"""Presets are ordinary samplers with the settings that they name."""

from __future__ import annotations

import pytest

from dllm_audio import BlockSampler, Factor, FixedQuota, LocalLeap, Threshold
from dllm_audio.errors import InvalidArgumentError
from dllm_audio.samplers.presets import answers, multiple_choice, published_scores, transcription

from .models import MASK, mixed_batch, tiny_llada


def test_settings() -> None:
    short = multiple_choice()
    assert (short.bounds(), short.commit) == ([(0, 16)], Threshold(0.9))
    assert answers().commit == Threshold(0.9)
    assert answers(fast=True).commit == LocalLeap(0.9, 0.75, 4)
    assert answers(20).bounds() == [(0, 20)]
    assert transcription(40).bounds() == [(0, 32), (32, 40)]
    careful = transcription(10, accurate=True)
    assert (careful.bounds(), careful.commit) == ([(0, 4), (4, 8), (8, 10)], Threshold(0.95))
    for preset in (short, answers(), careful):
        assert preset.options.eos_stop
        assert preset.cache.kind == "prefix"
    low = published_scores(16, steps=8, block_length=4)
    assert isinstance(low, BlockSampler)
    assert (low.commit, low.cache.kind, low.options.eos_stop) == (FixedQuota(8), None, False)
    parallel = published_scores(16, factor=1.0)
    assert (parallel.commit, parallel.cache.kind) == (Factor(1.0), None)
    assert parallel.options.eos_stop


def test_options_pass_through_and_misspellings_do_not() -> None:
    assert multiple_choice(trace=True).options.trace
    with pytest.raises(InvalidArgumentError, match=r"options: .*temprature"):
        answers(temprature=0.5)
    for wrong in ({}, {"steps": 4, "factor": 1.0}):
        with pytest.raises(InvalidArgumentError, match="steps: expected either it or factor"):
            published_scores(16, **wrong)


@pytest.mark.parametrize(
    "sampler",
    [
        multiple_choice(7),
        answers(9, fast=True),
        transcription(9, accurate=True),
        published_scores(8, steps=4, block_length=4),
        published_scores(8, factor=1.0, block_length=4),
    ],
    ids=["choice", "answers", "transcription", "low confidence", "factor"],
)
def test_they_decode(sampler: BlockSampler) -> None:
    output = sampler(mixed_batch(tiny_llada(), 0).together())
    assert output.tokens.shape == (3, sampler.gen_length)
    assert not (output.tokens == MASK).any()
