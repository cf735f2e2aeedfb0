"""Windows cover a recording exactly, never exceed their length, and are cut in pauses."""

from __future__ import annotations

import dataclasses
from itertools import pairwise

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from dllm_audio.audio import AudioWindow, cut_at_pauses
from dllm_audio.errors import (
    EmptyAudioError,
    InvalidArgumentError,
    NonFiniteAudioError,
    ShapeError,
)

RATE = 1000  # small, so that many cases are cheap


def noise(samples: int, seed: int = 0) -> torch.Tensor:
    return torch.rand(samples, generator=torch.Generator().manual_seed(seed)) - 0.5


@settings(max_examples=100)
@given(
    samples=st.integers(1, 20_000),
    max_seconds=st.floats(0.001, 30),
    search_seconds=st.floats(0, 40),
    seed=st.integers(0, 3),
)
def test_windows_cover_everything_once_and_are_bounded(samples, max_seconds, search_seconds, seed):
    if samples / RATE / max_seconds > 500:
        max_seconds = samples / RATE / 500
    waveform = noise(samples, seed)
    options = {"search_seconds": search_seconds, "sampling_rate": RATE}
    windows = cut_at_pauses(waveform, max_seconds, **options)
    assert torch.equal(torch.cat([window.cut(waveform) for window in windows]), waveform)
    assert windows[0].start_sample == 0
    assert windows[-1].end_sample == samples
    longest = int(max_seconds * RATE)
    for window, following in pairwise(windows):
        assert window.end_sample == following.start_sample
        earliest = longest - min(round(search_seconds * RATE), longest // 2)
        assert earliest <= window.end_sample - window.start_sample <= longest
    assert 0 < windows[-1].end_sample - windows[-1].start_sample <= longest
    assert windows == cut_at_pauses(waveform.clone(), max_seconds, **options)


@settings(max_examples=60)
@given(
    pauses=st.lists(st.integers(600, 900), min_size=1, max_size=5),
    exponent=st.integers(-8, 8),
)
def test_cuts_lie_in_the_pauses_whatever_the_volume(pauses, exponent):
    """Pauses of 100 ms, each 0.6 to 0.9 s after the last cut; windows of 1 s."""
    pieces = []
    for index, gap in enumerate(pauses):
        pieces += [noise(gap - 50, index) + 1.0, torch.zeros(100)]
    waveform = torch.cat([*pieces, noise(700, 99) + 1.0])
    windows = cut_at_pauses(waveform * 2.0**exponent, 1.0, search_seconds=0.5, sampling_rate=RATE)
    for window in windows[:-1]:
        assert not waveform[window.end_sample - 15 : window.end_sample + 15].any()


def test_short_recordings_stay_whole():
    assert cut_at_pauses(torch.zeros(480_000)) == [AudioWindow(0, 480_000)]
    assert len(cut_at_pauses(torch.zeros(480_001))) == 2


def test_of_equally_quiet_places_the_latest():
    windows = cut_at_pauses(torch.zeros(2500), 1.0, sampling_rate=RATE)
    assert [window.end for window in windows] == [0.98, 1.96, 2.5]


def test_quietest_place_of_several():
    waveform = torch.ones(1500)
    waveform[600:660] = 0.2
    waveform[750:810] = 0.1
    waveform[900:960] = 0.3
    cut = cut_at_pauses(waveform, 1.0, sampling_rate=RATE)[0].end_sample
    assert 770 <= cut <= 790


def test_no_search_cuts_at_the_limit():
    windows = cut_at_pauses(noise(2500), 1.0, search_seconds=0, sampling_rate=RATE)
    assert [window.end_sample for window in windows] == [1000, 2000, 2500]


def test_records_are_frozen_and_in_seconds():
    window = AudioWindow(8000, 24_000)
    assert (window.start, window.end) == (0.5, 1.5)
    with pytest.raises(dataclasses.FrozenInstanceError):
        window.end_sample = 3


@pytest.mark.parametrize(
    ("options", "argument"),
    [
        ({"max_seconds": 0}, "max_seconds"),
        ({"max_seconds": float("nan")}, "max_seconds"),
        ({"search_seconds": -1}, "search_seconds"),
        ({"search_seconds": float("inf")}, "search_seconds"),
        ({"sampling_rate": 0}, "sampling_rate"),
    ],
)
def test_wrong_options(options, argument):
    with pytest.raises(InvalidArgumentError, match=argument):
        cut_at_pauses(torch.zeros(10), **options)


def test_wrong_waveforms():
    with pytest.raises(ShapeError):
        cut_at_pauses(torch.zeros(1, 10))
    with pytest.raises(EmptyAudioError):
        cut_at_pauses(torch.zeros(0))
    with pytest.raises(NonFiniteAudioError):
        cut_at_pauses(torch.tensor([0.0, float("nan")]))
    for waveform in ([0.0], torch.zeros(10, dtype=torch.int16)):
        with pytest.raises(InvalidArgumentError, match="floating"):
            cut_at_pauses(waveform)
