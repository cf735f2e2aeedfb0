"""Log-mel features agree with both originals and do not depend on the batch."""

from __future__ import annotations

import math
import pickle

import numpy as np
import pytest
import torch
import whisper
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import WhisperFeatureExtractor

from dllm_audio import LogMel
from dllm_audio.errors import (
    AudioTooLongError,
    EmptyAudioError,
    InvalidArgumentError,
    NonFiniteAudioError,
    ShapeError,
)

RATE, HOP = 16_000, 160


def speech_like(samples: int, seed: int = 0) -> torch.Tensor:
    """Gliding harmonics in syllables with pauses, over a little noise."""
    rng = np.random.default_rng(seed)
    time = np.arange(samples) / RATE
    pitch = 2 * np.pi * np.cumsum(120 + 30 * np.sin(2 * np.pi * 0.7 * time + seed)) / RATE
    voice = sum(np.sin(k * pitch) / k for k in range(1, 25))
    syllables = np.clip(np.sin(2 * np.pi * 3.1 * time), 0, None)
    signal = 0.1 * voice * syllables + 1e-3 * rng.standard_normal(samples)
    return torch.from_numpy(signal.astype(np.float32))


@pytest.mark.parametrize("n_mels", [80, 128])
@pytest.mark.parametrize("samples", [1, 160, 161, 399, 400, 16_000, 20_001, 479_800, 480_000])
def test_equals_both_originals(n_mels, samples):
    waveform = speech_like(samples)
    features, lengths = LogMel(n_mels)([waveform])
    extractor = WhisperFeatureExtractor(feature_size=n_mels)
    theirs = extractor(
        waveform.numpy(), sampling_rate=RATE, return_tensors="pt", return_attention_mask=True
    )
    assert features.dtype == torch.float32
    assert features.shape == (1, n_mels, 3000)
    torch.testing.assert_close(features, theirs.input_features, atol=1e-5, rtol=0)
    assert lengths.tolist() == theirs.attention_mask.sum(-1).tolist()
    openai = whisper.log_mel_spectrogram(whisper.pad_or_trim(waveform), n_mels)
    torch.testing.assert_close(features[0], openai, atol=1e-5, rtol=0)


def test_silence_equals_the_original():
    silence = torch.zeros(8000)
    openai = whisper.log_mel_spectrogram(whisper.pad_or_trim(silence))
    assert torch.equal(LogMel()([silence])[0][0], openai)
    assert openai.min() == openai.max() == -1.5  # log10(1e-10) normalized


@settings(max_examples=25)
@given(
    sizes=st.lists(st.integers(1, 32_000), min_size=1, max_size=5),
    gains=st.lists(st.sampled_from([0.0, 1e-4, 1.0, 30.0]), min_size=5, max_size=5),
    n_mels=st.sampled_from([40, 80, 128]),
)
def test_an_item_is_bit_equal_alone_and_in_any_batch(sizes, gains, n_mels):
    log_mel = LogMel(n_mels, chunk_length=2.0)
    waveforms = [gains[i] * speech_like(size, seed=i) for i, size in enumerate(sizes)]
    features, lengths = log_mel(waveforms)
    for index, waveform in enumerate(waveforms):
        alone, length = log_mel([waveform])
        assert torch.equal(features[index], alone[0])
        assert lengths[index] == length[0] == math.ceil(len(waveform) / HOP)


@settings(max_examples=25)
@given(samples=st.integers(4000, 31_000), exponent=st.integers(-3, 6))
def test_louder_sound_only_adds_a_constant(samples, exponent):
    """Power grows with the square of the gain, so features grow by 2 log10(gain) / 4."""
    waveform = speech_like(samples)
    log_mel = LogMel(chunk_length=2.0)
    loud, quiet = log_mel([2.0**exponent * waveform, waveform])[0]
    expected = quiet + 2 * exponent * math.log10(2) / 4
    torch.testing.assert_close(loud, expected, atol=2e-5, rtol=0)


@settings(max_examples=25)
@given(samples=st.integers(1000, 16_000), frames=st.integers(3, 90))
def test_later_sound_only_moves_the_frames(samples, frames):
    waveform = speech_like(samples)
    waveform[:200] = 0  # else the reflection at the start adds what is not there later
    log_mel = LogMel(chunk_length=2.0)
    late, early = log_mel([torch.cat([torch.zeros(frames * HOP), waveform]), waveform])[0]
    torch.testing.assert_close(late[:, frames:], early[:, :-frames], atol=2e-5, rtol=0)


@pytest.mark.parametrize("seconds", [0.02, 0.5, 1.5, 7.25])
def test_the_window_is_configurable(seconds):
    log_mel = LogMel(chunk_length=seconds)
    samples = round(seconds * RATE)
    features, lengths = log_mel([speech_like(samples), speech_like(1)])
    assert features.shape == (2, 80, log_mel.window_frames)
    assert lengths.tolist() == [log_mel.window_frames, 1]
    openai = whisper.log_mel_spectrogram(speech_like(samples))
    torch.testing.assert_close(features[0], openai, atol=1e-5, rtol=0)


def test_a_clip_that_is_too_long():
    waveform = speech_like(RATE + 1)
    with pytest.raises(AudioTooLongError, match=r"at most 1 s, got 1\.00 s; pass crop=True"):
        LogMel(chunk_length=1.0)([waveform[:100], waveform])
    cropped, lengths = LogMel(chunk_length=1.0, crop=True)([waveform])
    assert torch.equal(cropped, LogMel(chunk_length=1.0)([waveform[:RATE]])[0])
    assert lengths.tolist() == [100]


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), 1e30])
def test_non_finite_samples_name_their_items(bad):
    waveforms = [speech_like(4000) for _ in range(3)]
    waveforms[1][1234] = bad
    with pytest.raises(NonFiniteAudioError, match=r"items \[1\]"):
        LogMel()(waveforms)


def test_wrong_waveforms():
    log_mel = LogMel()
    with pytest.raises(EmptyAudioError, match=r"waveforms\[1\]"):
        log_mel([torch.zeros(10), torch.zeros(0)])
    with pytest.raises(ShapeError, match=r"waveforms\[0\]"):
        log_mel([torch.zeros(2, 100)])
    for waveforms in ([], torch.zeros(2, 100), torch.zeros(100), None, iter([torch.zeros(9)])):
        with pytest.raises(InvalidArgumentError, match="waveforms: expected a list"):
            log_mel(waveforms)
    for waveform in (np.zeros(100), [0.0], torch.zeros(10, dtype=torch.int16)):
        with pytest.raises(InvalidArgumentError, match=r"waveforms\[0\].*floating"):
            log_mel([waveform])


@pytest.mark.parametrize("options", [{"n_mels": 0}, {"n_mels": 129}, {"n_mels": 80.0}])
def test_wrong_mels(options):
    with pytest.raises(InvalidArgumentError, match="n_mels"):
        LogMel(**options)


@pytest.mark.parametrize("seconds", [0, -1, 0.01, 0.025, float("nan"), float("inf")])
def test_wrong_windows(seconds):
    with pytest.raises(InvalidArgumentError, match="chunk_length"):
        LogMel(chunk_length=seconds)


def test_every_number_of_mels_has_no_empty_filter():
    noise = torch.from_numpy(np.random.default_rng(0).standard_normal(RATE).astype(np.float32))
    for n_mels in (1, 20, 127, 128):
        features, _ = LogMel(n_mels, chunk_length=1.0)([noise])
        assert (features.amax(dim=-1) > features.max() - 1.5).all()


@pytest.mark.parametrize("dtype", [torch.float64, torch.float16, torch.bfloat16])
def test_other_float_dtypes_are_computed_in_float32(dtype):
    waveform = speech_like(4000).to(dtype)
    assert torch.equal(LogMel()([waveform])[0], LogMel()([waveform.float()])[0])


def test_travels_to_worker_processes():
    log_mel = pickle.loads(pickle.dumps(LogMel(128, chunk_length=1.0, crop=True)))
    assert repr(log_mel) == "LogMel(n_mels=128, chunk_length=1.0, crop=True)"


@pytest.mark.cuda
def test_runs_where_its_input_is():
    waveforms = [speech_like(16_000), speech_like(300)]
    features, lengths = LogMel()([waveform.cuda() for waveform in waveforms])
    assert features.is_cuda
    assert lengths.is_cuda
    torch.testing.assert_close(features.cpu(), LogMel()(waveforms)[0], atol=1e-4, rtol=0)
    alone, _ = LogMel()([waveforms[1].cuda()])
    assert torch.equal(features[1], alone[0])


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16, torch.float16])
def test_the_default_dtype_changes_nothing(dtype):
    waveform = speech_like(8000)
    expected = LogMel(80, chunk_length=1.0)([waveform])[0]
    torch.set_default_dtype(dtype)
    try:
        got = LogMel(80, chunk_length=1.0)([waveform])[0]
    finally:
        torch.set_default_dtype(torch.float32)
    assert torch.equal(got, expected)
