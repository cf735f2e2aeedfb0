"""Every kind of source becomes the same waveform; every kind of damage has its own error."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from dllm_audio import load_audio
from dllm_audio.errors import (
    AudioDecodeError,
    AudioError,
    EmptyAudioError,
    InvalidArgumentError,
    NonFiniteAudioError,
    ShapeError,
)

RATE = 16_000


def tone(frequency: float, rate: int, seconds: float = 1.0) -> np.ndarray:
    return 0.5 * np.sin(2 * np.pi * frequency * np.arange(round(seconds * rate)) / rate)


def encode(samples: np.ndarray, rate: int = RATE, format: str = "WAV", subtype=None) -> bytes:
    buffer = io.BytesIO()
    soundfile.write(buffer, samples, rate, format=format, subtype=subtype)
    return buffer.getvalue()


@pytest.mark.parametrize(
    ("format", "subtype", "atol"),
    [
        ("WAV", "PCM_U8", 1 / 128),
        ("WAV", "PCM_16", 1 / 2**15),
        ("WAV", "PCM_24", 1 / 2**23),
        ("WAV", "PCM_32", 1e-7),
        ("WAV", "FLOAT", 1e-7),
        ("WAV", "DOUBLE", 1e-7),
        ("FLAC", "PCM_16", 1 / 2**15),
        ("FLAC", "PCM_24", 1 / 2**23),
        ("OGG", "VORBIS", 0.03),
        ("MP3", "MPEG_LAYER_III", 0.03),
    ],
)
def test_formats_decode_to_the_samples_that_were_written(format, subtype, atol):
    samples = tone(440, RATE)
    waveform = load_audio(encode(samples, format=format, subtype=subtype))
    assert waveform.dtype == torch.float32
    assert waveform.shape == (RATE,)
    inside = slice(1000, -1000)  # lossy codecs ring at the edges
    np.testing.assert_allclose(waveform.numpy()[inside], samples[inside], atol=atol, rtol=0)


def test_path_bytes_file_and_array_agree(tmp_path: Path):
    samples = (tone(300, RATE) * 2**15).astype(np.int16)
    path = tmp_path / "clip.with.no.audio.suffix.raw"  # names do not matter
    path.write_bytes(data := encode(samples))
    expected = load_audio((samples, RATE))
    with path.open("rb") as file:
        others = [file, path, str(path), data, bytearray(data), memoryview(data), io.BytesIO(data)]
        for source in others:
            assert torch.equal(load_audio(source), expected)
    for array in (torch.from_numpy(samples), torch.from_numpy(samples)[None], samples[:, None]):
        assert torch.equal(load_audio((array, RATE)), expected)


@settings(max_examples=60)
@given(
    dtype=st.sampled_from(["int8", "int16", "int32", "int64", "uint8", "uint16", "uint32"]),
    fraction=st.sampled_from([-1.0, -0.5, -0.25, 0.0, 0.125, 0.5, 0.75]),
)
def test_integers_of_every_width_have_the_same_full_scale(dtype, fraction):
    info = np.iinfo(dtype)
    half_range = 2 ** (info.bits - 1)
    middle = half_range if info.kind == "u" else 0
    array = np.full(40, middle + int(fraction * half_range), dtype=dtype)
    assert load_audio((array, RATE)).tolist() == [fraction] * 40


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
def test_floats_keep_their_value_even_beyond_one(dtype):
    array = np.array([0.5, -3.0, 2.25] * 20, dtype=dtype)
    assert load_audio((array, RATE)).tolist() == array.tolist()


def test_bfloat16_tensors_and_lists_of_floats_are_arrays():
    assert load_audio((torch.full((3,), 0.5, dtype=torch.bfloat16), RATE)).tolist() == [0.5] * 3
    assert load_audio(([0.5, -0.5], RATE)).tolist() == [0.5, -0.5]


@pytest.mark.parametrize("channels", [1, 2, 8])
def test_channels_are_averaged_in_files_and_both_orientations(channels):
    samples = np.random.default_rng(0).uniform(-1, 1, (500, channels)).astype(np.float32)
    expected = samples.astype(np.float64).mean(axis=1)
    sources = [
        (samples, RATE),
        (samples.T, RATE),
        encode(samples, subtype="FLOAT"),
    ]
    for source in sources:
        np.testing.assert_allclose(load_audio(source).numpy(), expected, atol=1e-7)


def test_integer_channels_do_not_overflow():
    array = np.full((100, 2), 32767, dtype=np.int16)
    assert load_audio((array, RATE)).tolist() == [32767 / 32768] * 100


@pytest.mark.parametrize("rate", [8_000, 11_025, 22_050, 44_100, 48_000, 96_000, 192_000])
def test_resampling_keeps_the_tone_and_the_duration(rate):
    waveform = load_audio((tone(1000, rate), rate))
    assert abs(len(waveform) - RATE) <= 1
    inside = slice(2000, 14_000)
    np.testing.assert_allclose(waveform.numpy()[inside], tone(1000, RATE)[inside], atol=1e-3)


def test_resampling_removes_what_the_lower_rate_cannot_hold():
    assert load_audio((tone(15_000, 48_000), 48_000))[2000:14_000].abs().max() < 1e-3


def test_other_target_rates():
    assert load_audio((tone(440, RATE), RATE), 24_000).shape == (24_000,)


def test_silence_and_a_single_sample_are_audio():
    assert load_audio((np.zeros(400, np.int16), RATE)).tolist() == [0.0] * 400
    assert load_audio((np.array([0.25]), RATE)).tolist() == [0.25]
    assert load_audio(encode(np.zeros(1))).tolist() == [0.0]


def test_the_result_is_the_callers_own():
    array = np.ones(100, dtype=np.float32)
    load_audio((array, RATE)).zero_()
    assert array.min() == 1.0
    tensor = torch.ones(100)
    load_audio((tensor, RATE)).zero_()
    assert tensor.min() == 1.0


def test_channel_axis_settles_what_is_unclear():
    array = np.arange(6, dtype=np.float32).reshape(2, 3)
    assert load_audio((array, RATE), channel_axis=0).tolist() == [1.5, 2.5, 3.5]
    assert load_audio((array, RATE), channel_axis=-1).tolist() == [1.0, 4.0]


@pytest.mark.parametrize("shape", [(), (2, 3), (32, 32), (33, 33), (100, 40), (2, 50, 1)])
def test_arrays_of_unclear_orientation_or_wrong_rank(shape):
    with pytest.raises(ShapeError, match="source: expected"):
        load_audio((np.zeros(shape), RATE))


@pytest.mark.parametrize("shape", [(0,), (0, 2), (2, 0)])
def test_empty_arrays(shape):
    with pytest.raises(EmptyAudioError):
        load_audio((np.zeros(shape), RATE))


def test_empty_files(tmp_path):
    with pytest.raises(EmptyAudioError, match="no bytes"):
        load_audio(b"")
    with pytest.raises(EmptyAudioError, match="no samples"):
        load_audio(encode(np.zeros(0)))
    (tmp_path / "empty.wav").touch()
    with pytest.raises(EmptyAudioError, match=r"empty\.wav"):
        load_audio(tmp_path / "empty.wav")


def test_too_short_to_survive_resampling():
    with pytest.raises(EmptyAudioError, match="16000"):
        load_audio((np.ones(1), 192_000))


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("as_file", [False, True])
@pytest.mark.parametrize("rate", [RATE, 48_000])
def test_non_finite_samples(bad, as_file, rate):
    samples = np.zeros((600, 2), dtype=np.float32)
    samples[7, 1] = bad
    source = encode(samples, rate, subtype="FLOAT") if as_file else (samples, rate)
    with pytest.raises(NonFiniteAudioError, match="1 of 600"):
        load_audio(source)


def test_opposite_infinities_and_values_beyond_float32_are_not_finite():
    with pytest.raises(NonFiniteAudioError):
        load_audio((np.array([[np.inf, -np.inf]] * 50), RATE))
    with pytest.raises(NonFiniteAudioError):
        load_audio((np.full(50, 1e300), RATE))


@pytest.mark.parametrize(
    "data", [b"once upon a time there was a text", b"RIFF", b"\0" * 500, b"OggS", b"fLaC\0\0"]
)
def test_what_is_not_audio(data, tmp_path):
    path = tmp_path / "story.wav"
    path.write_bytes(data)
    for source in (path, data):
        with pytest.raises(AudioDecodeError):
            load_audio(source)
    with pytest.raises(AudioDecodeError, match=r"story\.wav"):
        load_audio(path)


def test_unreadable_paths(tmp_path):
    for path in (tmp_path / "missing.wav", tmp_path, "a\0b.wav", ""):
        with pytest.raises(AudioDecodeError, match="cannot be read"):
            load_audio(path)


@pytest.mark.parametrize("url", ["https://x.org/a.wav", "s3://bucket/a.wav", "HTTP://x"])
def test_an_address_is_not_a_missing_file(url):
    with pytest.raises(AudioDecodeError, match="is a URL, and only files are read"):
        load_audio(url)


@pytest.mark.parametrize("device", ["/dev/zero", "/dev/urandom"])
def test_files_without_end_are_not_read(device, tmp_path):
    (tmp_path / "clip.wav").symlink_to(device)
    for path in (device, tmp_path / "clip.wav"):
        with pytest.raises(AudioDecodeError, match="it is a device, not a file"):
            load_audio(path)


def test_closed_and_text_files(tmp_path):
    path = tmp_path / "clip.wav"
    path.write_bytes(encode(tone(440, RATE)))
    with path.open("rb") as file:
        pass
    with pytest.raises(AudioDecodeError, match="closed"):
        load_audio(file)
    with pytest.raises(InvalidArgumentError, match="binary"):
        load_audio(io.StringIO("text"))


@pytest.mark.parametrize("format", ["WAV", "AIFF", "FLAC", "OGG", "MP3"])
@pytest.mark.parametrize("part", [0.5, 0.7, 0.9, 0.94])
def test_truncated_files_are_errors_and_can_be_kept(format, part):
    samples = np.random.default_rng(0).normal(0, 0.1, 3 * RATE)
    data = encode(samples, format=format)
    assert load_audio(data).shape == samples.shape
    short = data[: int(part * len(data))]
    with pytest.raises(AudioDecodeError, match="truncated"):
        load_audio(short)
    kept = load_audio(short, allow_truncated=True)
    assert 0 < len(kept) < len(samples)
    if format in ("WAV", "AIFF", "FLAC"):
        np.testing.assert_allclose(kept.numpy(), samples[: len(kept)], atol=1 / 2**15)


def test_the_last_byte_of_a_file_is_missed():
    samples = np.random.default_rng(0).normal(0, 0.1, RATE)
    for format in ("WAV", "FLAC", "OGG"):  # the length of an MP3 is only estimated
        with pytest.raises(AudioDecodeError, match="truncated"):
            load_audio(encode(samples, format=format)[:-1])


def test_recordings_that_were_streamed_are_whole():
    """A writer that cannot seek leaves the size in the header unknown."""
    samples = tone(440, RATE)
    wav = bytearray(encode(samples))
    size = wav.index(b"data") + 4
    wav[size : size + 4] = wav[4:8] = b"\xff\xff\xff\xff"
    flac = bytearray(encode(samples, format="FLAC"))
    flac[21] &= 0xF0  # total samples: 36 bits of STREAMINFO
    flac[22:26] = bytes(4)
    for data in (wav, flac):
        np.testing.assert_allclose(load_audio(data).numpy(), samples, atol=1 / 2**15)


@pytest.mark.parametrize("mode", ["CONSTANT", "VARIABLE"])
def test_mp3_equals_one_read_of_the_whole_file(mode):
    """Frames of an MP3 borrow bits from earlier ones, so a seek inside the file is audible."""
    buffer = io.BytesIO()
    samples = np.random.default_rng(0).normal(0, 0.1, 4 * RATE)
    soundfile.write(buffer, samples, RATE, format="MP3", bitrate_mode=mode)
    expected, _ = soundfile.read(io.BytesIO(buffer.getvalue()), dtype="float32")
    np.testing.assert_allclose(load_audio(buffer.getvalue()).numpy(), expected, atol=1e-6)


@settings(max_examples=60)
@given(data=st.data(), format=st.sampled_from(["WAV", "FLAC", "OGG", "MP3"]))
def test_damaged_files_raise_audio_errors_only(data, format):
    """Random bytes changed anywhere: a waveform or an audio error, never anything else."""
    content = bytearray(_CLIPS[format])
    for _ in range(data.draw(st.integers(1, 8))):
        place = data.draw(st.integers(0, min(len(content), 200) - 1))
        content[place] = data.draw(st.integers(0, 255))
    try:
        waveform = load_audio(bytes(content))
    except AudioError:
        return
    assert waveform.isfinite().all()
    assert waveform.dim() == 1


_CLIPS = {
    format: encode(tone(440, RATE, 0.2), format=format) for format in ("WAV", "FLAC", "OGG", "MP3")
}


@pytest.mark.parametrize("rate", [0, -16_000, 16, float("nan"), float("inf"), True, "16000", None])
def test_wrong_rates(rate):
    with pytest.raises(InvalidArgumentError, match="rate in Hz"):
        load_audio((np.zeros(100), rate))
    with pytest.raises(InvalidArgumentError, match="sampling_rate"):
        load_audio((np.zeros(100), RATE), rate)


def test_a_file_with_an_absurd_rate():
    with pytest.raises(AudioDecodeError, match="sampling rate"):
        load_audio(encode(np.zeros(100), rate=8))


def test_swapped_tuple_and_other_sources():
    with pytest.raises(InvalidArgumentError, match="rate in Hz"):
        load_audio((RATE, np.zeros(100)))
    for source in (None, 3, np.zeros(10), torch.zeros(10), (1, 2, 3), {"array": []}):
        with pytest.raises(InvalidArgumentError, match="source"):
            load_audio(source)


@pytest.mark.parametrize(
    "samples", [np.zeros(9, bool), np.zeros(9, complex), ["a", "b"], [1, 2, 3], [object()]]
)
def test_arrays_that_are_not_real_samples(samples):
    with pytest.raises(InvalidArgumentError, match="source"):
        load_audio((samples, RATE))


def test_ragged_lists():
    with pytest.raises(ShapeError, match="rectangular"):
        load_audio(([[0.0], [0.0, 1.0]], RATE))


def test_unknown_channel_axis():
    with pytest.raises(InvalidArgumentError, match="channel_axis"):
        load_audio((np.zeros((2, 50)), RATE), channel_axis=2)
