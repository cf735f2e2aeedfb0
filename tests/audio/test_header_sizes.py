"""Whatever size a header gives: what is there is heard, and what is missing is told."""

from __future__ import annotations

import struct

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sound_files import HEADERS, RATE, encode, said, size_of, tone

from dllm_audio import load_audio
from dllm_audio.audio import stream_windows
from dllm_audio.errors import AudioDecodeError, EmptyAudioError

SAMPLES = tone(440)
FILES = {form: encode(SAMPLES, form) for form in HEADERS}
HEARD = {form: load_audio(data) for form, data in FILES.items()}
LIVE = (
    0, 0x7FFF_F000, 0x7FFF_FFFF, 0x7FFF_FFFE, 0x8000_0000, 0x8000_0000 - 44, 0x7F00_0000,
    0xFFFF_FFFF, 0xFFFF_FFFF - 36, 0xFFFF_FF00, -1, 2**63 - 1, 2**64 - 1,
)  # fmt: skip


def test_the_plain_files_are_heard():
    for form in HEADERS:
        np.testing.assert_allclose(HEARD[form].numpy(), SAMPLES, atol=1 / 2**15)


@pytest.mark.parametrize("form", HEADERS)
@pytest.mark.parametrize("size", LIVE)
@pytest.mark.parametrize("whole", [None, 0, 0x7FFF_F024, -1])
def test_sizes_of_recorders_that_write_to_a_pipe_or_crash(form, size, whole):
    assert torch.equal(load_audio(said(FILES[form], form, size, whole)), HEARD[form])


@settings(max_examples=200)
@given(
    form=st.sampled_from(HEADERS),
    samples=st.integers(1, 3000),
    channels=st.sampled_from([1, 2, 3]),
    width=st.sampled_from(["PCM_16", "PCM_24", "FLOAT"]),
    size=st.sampled_from(LIVE),
)
def test_live_sizes_of_any_shape(form, samples, channels, width, size):
    sound = np.random.default_rng(samples).uniform(-1, 1, (samples, channels))
    data = encode(sound, form, subtype=width)
    assert torch.equal(load_audio(said(data, form, size)), load_audio(data))


@pytest.mark.parametrize("form", HEADERS)
@pytest.mark.parametrize("more", [1, 2, 4, 36, 44, 100])
@pytest.mark.parametrize("also_the_whole", [False, True])
def test_a_size_that_counts_a_header_too(form, more, also_the_whole):
    data = FILES[form]
    inclusive = form == "W64"
    whole = len(data) - 8 * (not inclusive) + more if also_the_whole else None
    changed = said(data, form, size_of(data, form) + more, whole)
    assert torch.equal(load_audio(changed), HEARD[form])


@pytest.mark.parametrize("form", ["WAV", "WAVEX", "RIFX", "AIFF", "W64"])
def test_a_container_that_is_complete_is_not_truncated(form):
    data = FILES[form]
    changed = said(data, form, size_of(data, form) + 5000)
    assert torch.equal(load_audio(changed), HEARD[form])


@pytest.mark.parametrize("form", HEADERS)
@pytest.mark.parametrize("part", [0.5, 0.7, 0.95])
def test_a_file_that_was_cut_is_an_error_and_can_be_kept(form, part):
    short = FILES[form][: int(part * len(FILES[form]))]
    with pytest.raises(AudioDecodeError, match="truncated"):
        load_audio(short)
    kept = load_audio(short, allow_truncated=True)
    assert 0 < len(kept) < len(SAMPLES)
    assert torch.equal(kept, HEARD[form][: len(kept)])


@pytest.mark.parametrize("form", HEADERS)
def test_the_last_byte_of_a_file_is_missed(form):
    with pytest.raises(AudioDecodeError, match="truncated"):
        load_audio(FILES[form][:-1])


@pytest.mark.parametrize("form", ["WAV", "RIFX", "AIFF"])
def test_no_samples_are_no_samples_whatever_follows(form):
    order = "<" if form == "WAV" else ">"
    note = b"note" + struct.pack(f"{order}I", 6) + b"a note"
    data = encode(np.zeros(0), form)
    empty = said(data + 50 * note, form, size_of(data, form), len(data) - 8 + 50 * len(note))
    with pytest.raises(EmptyAudioError, match="no samples"):
        load_audio(empty)


@pytest.mark.parametrize("form", ["WAV", "AIFF", "W64", "CAF"])
def test_what_lies_behind_the_samples_is_not_heard(form):
    whole = FILES[form]
    head = {"W64": b"note\xf3\xac\xd3\x11\x8c\xd1\x00\xc0\x4f\x8e\xdb\x8a"}.get(form, b"note")
    order = {"WAV": "<I", "AIFF": ">I", "W64": "<Q", "CAF": ">Q"}[form]
    note = head + struct.pack(order, 24 if form == "W64" else 8) + bytes(8)
    for behind in (note, note * 9, b"\x7f\x80 garbage \xfe" * 30, bytes(500)):
        assert torch.equal(load_audio(whole + behind), HEARD[form])


@pytest.mark.parametrize("form", ["WAV", "AIFF", "AU", "RF64", "W64", "CAF"])
def test_more_than_four_gigabytes(form, tmp_path):
    """Four bytes hold the size up to a multiple of 4 GiB.  The file has a hole, not 5 GiB."""
    held = 5 << 30
    inside = {"AIFF": 8, "CAF": 4, "W64": 24}.get(form, 0)
    data = said(encode(np.zeros(0), form), form, held + inside)
    path = tmp_path / "long.sound"
    path.write_bytes(data)
    with path.open("r+b") as file:
        file.truncate(len(data) + held)
    stream = stream_windows(path, 1.0)
    assert stream.total_seconds == held / 2 / RATE
    assert next(stream).end_sample > 0
    stream.close()
