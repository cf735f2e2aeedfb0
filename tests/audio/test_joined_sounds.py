"""Of files that were joined, every part is heard, or it is said which one cannot be."""

from __future__ import annotations

import io
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from ogg_pages import ogg_flac, pages, without_end
from sound_files import CODECS, HEADERS, RATE, encode, id3, said, tone

from dllm_audio import load_audio
from dllm_audio.audio import stream_windows
from dllm_audio.errors import AudioDecodeError, EmptyAudioError

FORMS = (*HEADERS, *CODECS)
RATES = {"OPUS": (16_000, 48_000, 24_000), "MP3": (16_000, 44_100, 24_000)}


def parts_of(form: str, rates: tuple[int, ...], channels: tuple[int, ...]) -> list[bytes]:
    sounds = []
    for index, (rate, count) in enumerate(zip(rates, channels, strict=True)):
        wave = tone(300 * (index + 1), rate, 0.4 + 0.2 * index)
        sounds.append(encode(np.repeat(wave[:, None], count, axis=1), form, rate))
    return sounds


def heard(parts: list[bytes]) -> torch.Tensor:
    return torch.cat([load_audio(part) for part in parts])


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("channels", [(1, 1, 1), (1, 2, 1)])
@pytest.mark.parametrize("rates", [(16_000,) * 3, None])
def test_parts_follow_one_another(form, rates, channels):
    parts = parts_of(form, rates or RATES.get(form, (16_000, 44_100, 8_000)), channels)
    assert torch.equal(load_audio(b"".join(parts)), heard(parts))


def test_parts_of_one_rate_are_resampled_as_one():
    wave = tone(440, 44_100, 1.0)
    joined = encode(wave[:20_000], rate=44_100) + encode(wave[20_000:], rate=44_100)
    assert torch.equal(load_audio(joined), load_audio(encode(wave, rate=44_100)))


@settings(max_examples=60)
@given(
    forms=st.lists(st.sampled_from(FORMS), min_size=1, max_size=4),
    between=st.sampled_from([b"", bytes(1), bytes(700), id3(300)]),
    rate=st.sampled_from([16_000, 24_000]),
)
def test_any_formats_may_be_joined(forms, between, rate):
    # No header tells where an MP3 begins, and neither FLAC nor Ogg where it ends.
    endless = ("FLAC", "OGG", "OPUS")
    assume(all(pair[0] not in endless or pair[1] != "MP3" for pair in pairwise(forms)))
    parts = [encode(tone(200 * (i + 1), rate, 0.3), form, rate) for i, form in enumerate(forms)]
    waveform = load_audio(between.join(parts))
    expected = heard(parts)
    assert abs(len(waveform) - len(expected)) <= len(parts)
    if rate == RATE:
        assert torch.equal(waveform, expected)


@pytest.mark.parametrize("form", HEADERS)
@pytest.mark.parametrize("size", [0, 0x7FFF_F000, -1])
def test_parts_that_were_recorded_live(form, size):
    parts = parts_of(form, (16_000, 8_000), (1, 2))
    live = b"".join(said(part, form, size) for part in parts)
    assert torch.equal(load_audio(live), heard(parts))


def test_parts_without_samples_are_passed_over():
    empty, full = encode(np.zeros(0)), encode(tone())
    assert torch.equal(load_audio(empty + full + empty), load_audio(full))
    with pytest.raises(EmptyAudioError, match="no samples"):
        load_audio(empty + empty)


@pytest.mark.parametrize("form", ["OGG", "OPUS"])
def test_streams_whose_writer_was_stopped(form):
    part = encode(tone(seconds=3), form)
    assert torch.equal(load_audio(without_end(part)), load_audio(part))
    joined = without_end(part) + part + without_end(part)
    assert torch.equal(load_audio(joined), heard([part] * 3))


def test_a_stream_that_ends_with_any_page():
    whole = list(pages(encode(tone(seconds=5), "OPUS")))
    lengths = [len(load_audio(b"".join(whole[:count]))) for count in range(4, len(whole) + 1)]
    assert sorted(set(lengths)) == lengths
    assert lengths[-1] == 5 * RATE


@pytest.mark.parametrize("form", ["OGG", "OPUS"])
def test_a_stream_that_ends_inside_a_page_is_truncated(form):
    part = encode(tone(seconds=3), form)
    for short in (part[:-1], part[: len(part) // 2], part + part[:-1], part + part[:40]):
        with pytest.raises(AudioDecodeError, match=r"truncated|cannot be decoded"):
            load_audio(short)


def test_the_part_that_cannot_be_heard_is_named(tmp_path: Path):
    path = tmp_path / "two.ogg"
    path.write_bytes(encode(tone(), "OGG") + ogg_flac())
    with pytest.raises(AudioDecodeError, match=r"two\.ogg: sound 2: .* got FLAC in Ogg"):
        load_audio(path)
    path.write_bytes(encode(tone()) + encode(tone(), "AIFF")[:-2000])
    with pytest.raises(AudioDecodeError, match=r"two\.ogg: sound 2: truncated"):
        load_audio(path)
    first = load_audio(encode(tone()))
    assert torch.equal(load_audio(path, allow_truncated=True)[: len(first)], first)


@pytest.mark.parametrize(("form", "total"), [("WAV", None), ("OGG", None), ("FLAC", 0.4)])
def test_windows_go_through_all_parts(form, total):
    """A FLAC is not searched before it is heard."""
    parts = parts_of(form, (44_100, 16_000), (2, 1))
    stream = stream_windows(b"".join(parts), 0.3)
    assert stream.total_seconds == total
    assert torch.equal(torch.cat([w.waveform for w in stream]), heard(parts))


@pytest.mark.parametrize("mode", ["CONSTANT", "VARIABLE"])
def test_mp3_parts_with_tags_around_them(mode):
    def part(frequency: float) -> bytes:
        buffer = io.BytesIO()
        soundfile.write(buffer, tone(frequency), RATE, format="MP3", bitrate_mode=mode)
        return buffer.getvalue()

    parts = [part(300), part(500), part(800)]
    old_tag = b"TAG" + bytes(125)
    tagged = [id3(77) + each + old_tag for each in parts]
    assert torch.equal(load_audio(b"".join(tagged)), heard(parts))


def test_a_header_inside_the_metadata_of_a_flac_is_no_part():
    flac = encode(tone(), "FLAC")
    inside = encode(tone(800)) + encode(tone(900), "FLAC")
    block = b"\2" + len(inside).to_bytes(3, "big") + inside  # an application's data
    assert torch.equal(load_audio(flac[:42] + block + flac[42:]), load_audio(flac))
