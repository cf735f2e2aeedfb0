"""Windows that are streamed are those of the whole waveform, in bounded memory."""

from __future__ import annotations

import io
import tracemalloc

import numpy as np
import pytest
import soundfile
import soxr
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from dllm_audio import load_audio
from dllm_audio.audio import cut_at_pauses, stream_windows
from dllm_audio.errors import AudioDecodeError, EmptyAudioError, InvalidArgumentError

RATE = 16_000


def speech(seconds: float, rate: int, channels: int, seed: int = 0) -> np.ndarray:
    """Noise whose volume wanders, so that there are quieter and louder places."""
    random = np.random.default_rng(seed)
    volume = np.repeat(random.uniform(0, 0.3, int(seconds * 10) + 1), rate // 10)
    samples = random.normal(0, 1, (int(seconds * rate), channels))
    return np.clip(samples * volume[: len(samples), None], -1, 1)


def encode(samples: np.ndarray, rate: int, format: str) -> bytes:
    buffer = io.BytesIO()
    soundfile.write(buffer, samples, rate, format=format)
    return buffer.getvalue()


@pytest.mark.parametrize(("format", "rate"), [("WAV", RATE), ("FLAC", 44_100), ("OGG", 8000)])
@pytest.mark.parametrize("window_seconds", [0.3, 2.0, 30.0])
def test_streamed_windows_are_those_of_the_whole_waveform(format, rate, window_seconds):
    data = encode(speech(7.3, rate, 2), rate, format)
    waveform = load_audio(data)
    expected = cut_at_pauses(waveform, window_seconds)
    stream = stream_windows(data, window_seconds)
    assert stream.total_seconds == pytest.approx(7.3, abs=1e-3)
    heard = list(stream)
    assert [(w.start, w.end) for w in heard] == [(w.start, w.end) for w in expected]
    assert all(
        torch.equal(w.waveform, e.cut(waveform)) for w, e in zip(heard, expected, strict=True)
    )


@settings(max_examples=30)
@given(
    samples=st.integers(1, 90_000),
    rate=st.sampled_from([8000, 11_025, 16_000, 22_050, 48_000, 7999.5]),
    target=st.sampled_from([8000, 16_000, 24_000]),
    window_seconds=st.floats(0.05, 4),
    search_seconds=st.floats(0, 5),
)
def test_any_length_rate_and_window(samples, rate, target, window_seconds, search_seconds):
    source = (np.random.default_rng(samples).normal(0, 0.1, samples).astype(np.float32), rate)
    options = {"sampling_rate": target, "search_seconds": search_seconds}
    try:
        waveform = load_audio(source, target)
    except EmptyAudioError:
        with pytest.raises(EmptyAudioError):
            list(stream_windows(source, window_seconds, **options))
        return
    whole = source[0] if rate == target else soxr.resample(source[0], rate, target)
    np.testing.assert_allclose(waveform.numpy(), whole, atol=1e-6)
    heard = list(stream_windows(source, window_seconds, **options))
    expected = cut_at_pauses(waveform, window_seconds, **options)
    assert [(w.start, w.end) for w in heard] == [(w.start, w.end) for w in expected]
    assert torch.equal(torch.cat([w.waveform for w in heard]), waveform)


def peak_of(data: bytes) -> int:
    """Most bytes that were allocated at once while the windows were heard."""
    tracemalloc.start()
    try:
        for _ in stream_windows(data, 1.0):
            pass
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("format", ["WAV", "FLAC"])
def test_memory_does_not_grow_with_the_recording(format):
    short, long = (encode(speech(s, 44_100, 2), 44_100, format) for s in (4, 40))
    peak_of(short)  # what is loaded once
    assert peak_of(long) < 1.5 * peak_of(short) + 100_000
    assert peak_of(long) < 44_100 * 2 * 4 * 10  # a quarter of the samples as float32


def test_a_long_clip_is_loaded_with_little_more_than_itself():
    data = encode(speech(40, 44_100, 2), 44_100, "FLAC")
    load_audio(data)
    tracemalloc.start()
    try:
        waveform = load_audio(data)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 1.5 * waveform.nbytes + 1_000_000


def test_one_window_is_held_at_a_time():
    windows = list(stream_windows((np.ones(50_000, dtype=np.float32), RATE), 1.0))
    for window in windows:
        assert window.waveform.untyped_storage().nbytes() == window.waveform.nbytes


def test_the_length_is_unknown_where_the_header_does_not_tell():
    flac = bytearray(encode(speech(1, RATE, 1), RATE, "FLAC"))
    flac[21] &= 0xF0  # total samples: 36 bits of STREAMINFO
    flac[22:26] = bytes(4)
    stream = stream_windows(flac, 30.0)
    assert stream.total_seconds is None
    assert [w.end for w in stream] == [1.0]


def test_windows_before_the_damage_are_heard():
    data = encode(speech(6, RATE, 1), RATE, "FLAC")
    stream = stream_windows(data[: len(data) // 2], 1.0)
    assert next(stream).start == 0.0
    with pytest.raises(AudioDecodeError, match="truncated"):
        list(stream)
    kept = list(stream_windows(data[: len(data) // 2], 1.0, allow_truncated=True))
    assert 2 < kept[-1].end < 4


@pytest.mark.parametrize("default", [torch.float64, torch.bfloat16, torch.device("meta")])
def test_torch_defaults_change_nothing(default):
    data = encode(speech(3.0, 44_100, 2), 44_100, "FLAC")
    waveform, windows = load_audio(data), list(stream_windows(data, 1.0))
    is_dtype = isinstance(default, torch.dtype)
    try:
        (torch.set_default_dtype if is_dtype else torch.set_default_device)(default)
        again, heard = load_audio(data), list(stream_windows(data, 1.0))
    finally:
        torch.set_default_dtype(torch.float32)
        torch.set_default_device(None)
    assert torch.equal(again, waveform)
    assert heard == windows
    assert all(torch.equal(h.waveform, w.waveform) for h, w in zip(heard, windows, strict=True))
    assert all(window.waveform.dtype == torch.float32 for window in heard)


@pytest.mark.parametrize("started", [False, True])
def test_a_stream_can_be_closed_early(tmp_path, started):
    path = tmp_path / "clip.wav"
    path.write_bytes(encode(speech(3, RATE, 1), RATE, "WAV"))
    stream = stream_windows(path, 1.0)
    if started:
        next(stream)
    stream.close()
    assert list(stream) == []


def test_what_is_wrong_at_once_is_said_at_once(tmp_path):
    with pytest.raises(AudioDecodeError, match="cannot be read"):
        stream_windows(tmp_path / "missing.wav", 1.0)
    for wrong in (0, float("nan"), -1.0):
        with pytest.raises(InvalidArgumentError, match="window_seconds"):
            stream_windows((np.ones(10), RATE), wrong)
