"""Presets are ordinary samplers with the settings that they name."""

from __future__ import annotations

import pytest

from dllm_audio import BlockSampler, CachedParallelSampler, Factor, FixedQuota, LocalLeap, Threshold
from dllm_audio.errors import InvalidArgumentError
from dllm_audio.samplers import PRESETS, preset

from .models import MASK, mixed_batch, tiny_llada


def test_settings() -> None:
    short = preset("multiple-choice")
    assert (short.bounds(), short.commit) == ([(0, 16)], Threshold(0.9))
    assert preset("multiple-choice", gen_length=40).bounds() == [(0, 40)]
    assert preset("answers").commit == Threshold(0.9)
    assert preset("answers") == CachedParallelSampler(128, 32, Threshold(0.9), "prefix")
    assert preset("answers-fast").commit == LocalLeap(0.9, 0.75, 4)
    assert preset("answers", gen_length=20).bounds() == [(0, 20)]
    assert preset("transcription", gen_length=40).bounds() == [(0, 32), (32, 40)]
    careful = preset("transcription-accurate", gen_length=10)
    assert (careful.bounds(), careful.commit) == ([(0, 4), (4, 8), (8, 10)], Threshold(0.95))
    for sampler in (short, preset("answers"), careful):
        assert sampler.options.eos_stop
        assert sampler.cache.kind == "prefix"


@pytest.mark.parametrize(
    ("name", "length"), [("diffa", 16), ("diffa-mmsu", 4), ("diffa-librispeech", 128)]
)
def test_published_scores_took_one_token_a_step(name: str, length: int) -> None:
    sampler = preset(name)
    assert sampler.plan() == [length]
    assert sampler.bounds() == [(0, length)]
    assert (sampler.commit, sampler.cache.kind) == (FixedQuota(length), None)
    assert not sampler.options.eos_stop


def test_published_parallel_decoding() -> None:
    parallel = preset("diffa-2")
    assert (parallel.commit, parallel.cache.kind) == (Factor(1.0), None)
    assert parallel.options.eos_stop
    low = preset("diffa", gen_length=16, steps=8, block_length=4)
    assert low.plan() == BlockSampler(8, 16, 4).plan()


def test_changes_pass_through_and_misspellings_do_not() -> None:
    assert preset("multiple-choice", trace=True).options.trace
    with pytest.raises(InvalidArgumentError, match="temprature"):
        preset("answers", temprature=0.5)
    with pytest.raises(InvalidArgumentError, match=r"preset: expected one of .*'answer'"):
        preset("answer")


@pytest.mark.parametrize("name", PRESETS)
def test_they_decode(name: str) -> None:
    sampler = preset(name, gen_length=9)
    output = sampler(mixed_batch(tiny_llada(), 0).together())
    assert output.tokens.shape == (3, 9)
    assert not (output.tokens == MASK).any()
