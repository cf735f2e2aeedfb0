"""Tags, zeros and junk around a sound, streams that are no files, and files that are no sound."""

from __future__ import annotations

import gzip
import io
import os
import struct
import threading
import zipfile
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from ogg_pages import ogg_flac, page
from sound_files import CODECS, HEADERS, RATE, encode, id3, said, tone

from dllm_audio import load_audio
from dllm_audio.audio import stream_windows
from dllm_audio.audio.foreign import foreign
from dllm_audio.errors import AudioDecodeError, AudioError, EmptyAudioError

FORMS = (*HEADERS, *CODECS)
FILES = {form: encode(tone(), form) for form in FORMS}
HEARD = {form: load_audio(data) for form, data in FILES.items()}
FRAME = 576  # samples of a frame of an MP3 at 16 kHz


def mp3(samples: np.ndarray, mode: str = "CONSTANT") -> bytes:
    buffer = io.BytesIO()
    soundfile.write(buffer, samples, RATE, format="MP3", bitrate_mode=mode)
    return buffer.getvalue()


def noise_and_silence(seconds: float = 3.0) -> np.ndarray:
    noise = np.random.default_rng(0).normal(0, 0.2, round(seconds * RATE))
    return np.concatenate([noise, np.zeros(len(noise)), noise]).clip(-1, 1)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize(
    "front", [id3(0), id3(9999), id3(300) + id3(40), bytes(1), bytes(5000), id3(50) + bytes(900)]
)
def test_tags_and_zeros_in_front_are_passed_over(form, front):
    assert torch.equal(load_audio(front + FILES[form]), HEARD[form])


@pytest.mark.parametrize("form", FORMS)
def test_tags_and_zeros_behind_are_not_heard(form):
    for behind in (id3(99), bytes(3000), b"TAG" + bytes(125), b"APETAGEX" + bytes(400)):
        assert torch.equal(load_audio(FILES[form] + behind), HEARD[form])


@pytest.mark.parametrize("size", [1, 100, 70_000, 600_000])
def test_junk_in_front_of_an_mp3_is_passed_over(size):
    junk = np.random.default_rng(size).bytes(size)
    assert torch.equal(load_audio(junk + FILES["MP3"]), HEARD["MP3"])


def test_a_tag_whose_size_is_wrong():
    for size in (10, 20_000):
        tag = id3(size)[:10] + bytes(1000)
        assert torch.equal(load_audio(tag + FILES["MP3"]), HEARD["MP3"])


@pytest.mark.parametrize("mode", ["CONSTANT", "VARIABLE"])
@pytest.mark.parametrize("backwards", [False, True])
@settings(max_examples=15)
@given(part=st.floats(0.001, 0.5))
def test_an_mp3_whose_start_is_lost_is_heard_to_its_end(mode, backwards, part):
    """Its first frame, which tells the number of frames, is gone; frames differ in length."""
    samples = noise_and_silence()[: 6 * RATE][:: -1 if backwards else 1]
    data = mp3(np.append(samples, tone(seconds=1)), mode)
    kept = load_audio(data[round(part * len(data)) :])
    loud = kept[-RATE // 2 : -3 * FRAME]
    spectrum = torch.fft.rfft(loud).abs()
    assert abs(float(spectrum.argmax()) * RATE / len(loud) - 440) < 5
    assert load_audio(data[round(part * len(data)) :], allow_truncated=True).shape == kept.shape


def test_an_mp3_without_a_count_of_its_frames_is_heard_whole():
    for backwards in (1, -1):
        samples = noise_and_silence()[::backwards]
        data = mp3(samples, "VARIABLE")
        frames = data.index(b"\xff\xf3", 4)
        waveform = load_audio(data[frames:])
        assert abs(len(waveform) - len(samples)) <= 3 * FRAME
        assert stream_windows(data[frames:], 1.0).total_seconds == len(waveform) / RATE
        # The count of a first part alone, which would end the sound there.
        first = mp3(samples[:RATE])
        joined = first + data[frames:]
        assert len(load_audio(joined)) >= len(samples) + RATE - 3 * FRAME


@pytest.mark.parametrize("missing", [1, 20, 40])
def test_an_mp3_that_ends_inside_its_last_frame_is_heard(missing):
    samples = noise_and_silence()
    assert len(load_audio(mp3(samples)[:-missing])) >= len(samples) - 2 * FRAME


class Pipe(io.RawIOBase):
    """What only gives bytes on, a few at a time."""

    def __init__(self, data: bytes) -> None:
        self._data = io.BytesIO(data)

    def readable(self) -> bool:
        return True

    def readinto(self, buffer) -> int:
        return self._data.readinto(memoryview(buffer)[:1000])


@pytest.mark.parametrize("form", FORMS)
def test_streams_that_cannot_go_back(form, tmp_path):
    data = said(FILES[form], form, 0xFFFF_FFFF) if form in HEADERS else FILES[form]
    expected = HEARD[form]
    assert torch.equal(load_audio(Pipe(data)), expected)
    assert torch.equal(load_audio(io.BufferedReader(Pipe(data))), expected)
    with gzip.open(io.BytesIO(gzip.compress(data))) as file:
        assert torch.equal(load_audio(file), expected)
    with zipfile.ZipFile(tmp_path / "sounds.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("sound", data)
    with zipfile.ZipFile(tmp_path / "sounds.zip") as archive, archive.open("sound") as file:
        assert torch.equal(load_audio(file), expected)


@pytest.mark.parametrize("named", [False, True])
def test_pipes_of_the_system(named, tmp_path):
    data = said(FILES["WAV"], "WAV", 0x7FFF_F000) + FILES["FLAC"]
    if named:
        path = tmp_path / "fifo"
        os.mkfifo(path)
        source, target = path, lambda: path.open("wb")
    else:
        reader, writer = os.pipe()
        source, target = os.fdopen(reader, "rb"), lambda: os.fdopen(writer, "wb")

    def write() -> None:
        with target() as file:
            file.write(data)

    thread = threading.Thread(target=write)
    thread.start()
    try:
        waveform = load_audio(source)
    finally:
        thread.join()
        if not named:
            source.close()
    assert torch.equal(waveform, torch.cat([HEARD["WAV"], HEARD["FLAC"]]))


def test_a_file_is_read_from_where_it_stands():
    file = io.BytesIO(b"a letter\n" + FILES["AU"])
    file.readline()
    assert torch.equal(load_audio(file), HEARD["AU"])


FOREIGN = {
    "talk.m4a": b"\0\0\0\x20ftypM4A \0\0\2\0isomiso2" + bytes(500),
    "film.mp4": b"\0\0\0\x20ftypisom\0\0\2\0isomiso2" + bytes(500),
    "film.mov": b"\0\0\0\x14ftypqt  " + bytes(500),
    "talk.3gp": b"\0\0\0\x14ftyp3gp4" + bytes(500),
    "old.mov": b"\0\0\x10\0moov" + bytes(500),
    "talk.webm": b"\x1a\x45\xdf\xa3\x9f\x42\x86\x81\x01\x42\xf7\x81\x01\x42\x82\x84webm" + bytes(9),
    "film.mkv": b"\x1a\x45\xdf\xa3\xa3\x42\x86\x81\x01\x42\x82\x88matroska" + bytes(99),
    "talk.wma": bytes.fromhex("3026b2758e66cf11a6d900aa0062ce6c") + bytes(400),
    "talk.amr": b"#!AMR\n\x3c" + bytes(range(200)),
    "talk.aac": b"\xff\xf1\x50\x80\x01\x7f\xfc" + bytes(range(200)),
    "talk.ape": b"MAC \x96\x0f" + bytes(400),
    "talk.wv": b"wvpk" + bytes(400),
    "talk.ra": b".RMF\0\0\0\x12" + bytes(400),
    "talk.ac3": b"\x0b\x77" + bytes(range(250)),
    "film.avi": b"RIFF\0\1\0\0AVI LIST" + bytes(400),
    "film.ts": (b"G" + bytes(187)) * 3,
    "codec.wav": b"RIFF\x30\1\0\0WAVEfmt \x12\0\0\0"
        + struct.pack("<HHIIHHH", 0x4D44, 1, 16000, 2000, 1, 0, 0) + b"data\0\1\0\0" + bytes(256),
    "speex.spx": page(b"Speex   1.2" + bytes(69), 2, 0, 1, 0) + page(bytes(200), 4, 9, 1, 1),
    "flac.oga": ogg_flac(),
}  # fmt: skip
OTHER = {
    "page.mp3": (b"<!DOCTYPE html><html><body>404</body></html>", "web page"),
    "lfs.wav": (b"version https://git-lfs.github.com/spec/v1\noid sha256:1\n", "git lfs pull"),
    "notes.mid": (b"MThd\0\0\0\6\0\1" + bytes(90), "MIDI"),
    "sounds.zip": (b"PK\3\4" + FILES["WAV"], "ZIP"),
    "sound.gz": (gzip.compress(FILES["WAV"]), "compressed"),
    "cover.wav": (b"\x89PNG\r\n\x1a\n" + bytes(90), "picture"),
}


@pytest.mark.parametrize("name", FOREIGN)
def test_the_error_of_a_format_that_is_not_read_tells_how_to_convert_it(name, tmp_path: Path):
    path = tmp_path / name
    path.write_bytes(FOREIGN[name])
    with pytest.raises(AudioDecodeError) as caught:
        load_audio(path)
    text = str(caught.value)
    assert text.startswith(f"{path}: expected audio such as WAV, FLAC, OGG or MP3, got ")
    assert f"; convert it first: ffmpeg -i {path} " in text
    assert text.endswith(".wav")
    assert text.rsplit(" ", 1)[1] != name


def test_a_tag_does_not_hide_the_format():
    with pytest.raises(AudioDecodeError, match=r"got AAC audio; convert it first: ffmpeg -i"):
        load_audio(id3(64) + FOREIGN["talk.aac"])


@pytest.mark.parametrize("name", OTHER)
def test_what_holds_no_sound_is_called_by_its_name(name, tmp_path: Path):
    data, word = OTHER[name]
    (tmp_path / name).write_bytes(data)
    with pytest.raises(AudioDecodeError, match=word):
        load_audio(tmp_path / name)


def test_the_command_can_be_pasted():
    assert (foreign(b"#!AMR\n", "my talk.amr") or "").endswith("-i 'my talk.amr' 'my talk.wav'")
    assert foreign(b"once upon a time", "story.txt") is None


def test_what_is_read_is_never_called_foreign():
    for form in FORMS:
        if form in ("WAV", "WAVEX"):  # of which a codec may be unknown
            continue
        assert foreign(FILES[form][:512], "x") is None, form


@pytest.mark.parametrize("data", [bytes(1), bytes(100_000), id3(5), id3(5) + bytes(99), b"ID3"])
def test_zeros_and_tags_alone_are_no_sound(data):
    with pytest.raises(AudioDecodeError, match="cannot be decoded"):
        load_audio(data)


@settings(max_examples=200)
@given(st.binary(max_size=200), st.sampled_from(FORMS), st.integers(0, 120))
def test_any_bytes_and_any_header_with_any_bytes(data, form, kept):
    for source in (data, FILES[form][:kept] + data):
        try:
            assert load_audio(source).isfinite().all()
        except (AudioError, EmptyAudioError):
            continue
