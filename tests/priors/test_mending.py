"""The shipped model on priors that were damaged on purpose; figures in ``docs/decoding.md``."""

from __future__ import annotations

import importlib
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from dllm_audio import toy

ROOT = Path(__file__).parents[2]


@pytest.fixture
def priors(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(ROOT))
    return importlib.import_module("benchmarks.priors")


@pytest.mark.slow
@pytest.mark.parametrize("sure", [False, True])
def test_most_errors_are_mended_and_ten_times_fewer_words_are_spoiled(sure: bool, priors) -> None:
    found = priors.measure(toy.small_model(), rows=64, seed=7, sure=sure, shown=False)
    print(found)
    assert found.errors >= 20
    assert 2 * found.mended >= found.errors
    assert 10 * (found.lost + found.added) <= found.mended
    assert found.left == found.errors - found.mended + found.lost + found.added


def test_what_became_of_a_prior_is_counted(priors) -> None:
    said = ["one", "two", "three", "four"]
    before, after = ["one", "nine", "three", "four", "five"], ["one", "two", "three", "six"]
    assert priors.compare(said, before, after) == priors.Figures(1, 4, 2, 2, 1, 0, 1)
    assert priors.compare(said, said, said[:1]) == priors.Figures(1, 4, 0, 0, 3, 0, 3)
    assert priors.compare(said[:1], said[:1], said) == priors.Figures(1, 1, 0, 0, 0, 3, 3)


def test_a_fifth_of_the_words_is_damaged_in_three_ways(priors) -> None:
    rng, words, kinds = np.random.default_rng(0), list(toy.DIGITS), []
    for _ in range(100):
        given, found = priors.damage(words, rng, 0.2, sure=True)
        kinds += found
        assert all(word.confidence is not None for word in given.words)
    assert 150 < len(kinds) < 250
    for kind in priors.KINDS:
        assert kinds.count(kind) > 40
