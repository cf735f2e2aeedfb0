"""A hundred damaged or odd sound files."""

from __future__ import annotations

import io
import random
import struct
from pathlib import Path

import numpy as np
import soundfile

RATE = 16000


def _tone(seconds: float, rate: int = RATE, channels: int = 1) -> np.ndarray:
    time = np.arange(max(round(seconds * rate), 1)) / rate
    wave = 0.3 * np.sin(2 * np.pi * 440 * time)
    return np.repeat(wave[:, None], channels, axis=1).astype(np.float32)


def _encode(
    samples: np.ndarray, rate: int = RATE, form: str = "WAV", subtype: str | None = None
) -> bytes:
    buffer = io.BytesIO()
    soundfile.write(buffer, samples, rate, subtype, format=form)
    return buffer.getvalue()


def _wav_header(channels: int, rate: int, bits: int, data: bytes, claimed: int) -> bytes:
    block = max(channels * bits // 8, 1)
    form = struct.pack("<HHIIHH", 1, channels, rate, rate * block, block, bits)
    body = b"WAVEfmt " + struct.pack("<I", 16) + form + b"data" + struct.pack("<I", claimed) + data
    return b"RIFF" + struct.pack("<I", len(body)) + body


def build(folder: Path) -> list[Path]:
    """Write the files; the names tell what each is."""
    rng = random.Random(0)
    content: dict[str, bytes] = {}
    for form in ("WAV", "FLAC", "OGG", "MP3"):
        whole = _encode(_tone(1.0), form=form)
        for share in (1, 5, 20, 50, 80, 95):
            content[f"cut_{share}_percent.{form.lower()}"] = whole[: len(whole) * share // 100]
        flipped = bytearray(whole)
        for _ in range(40):
            flipped[rng.randrange(len(flipped))] ^= 1 << rng.randrange(8)
        content[f"bits_flipped.{form.lower()}"] = bytes(flipped)
        content[f"as_{form.lower()}.txt"] = whole
        content[f"garbage_behind.{form.lower()}"] = whole + rng.randbytes(999)
    for suffix in ("wav", "flac", "mp3", "ogg", "xyz"):
        content[f"zero_bytes.{suffix}"] = b""
        content[f"text.{suffix}"] = b"This is a text, not a sound.\n" * 20
        content[f"random.{suffix}"] = rng.randbytes(3000)
        content[f"zeros.{suffix}"] = bytes(3000)
    for rate in (1, 10, 4000, 8000, 44100, 96000, 192000, 384000):
        content[f"rate_{rate}.wav"] = _encode(_tone(0.2, rate), rate)
    for channels in (2, 3, 6, 8, 16):
        content[f"channels_{channels}.wav"] = _encode(_tone(0.2, RATE, channels))
    for subtype in ("PCM_U8", "PCM_24", "PCM_32", "FLOAT", "DOUBLE", "ULAW", "ALAW", "IMA_ADPCM"):
        content[f"{subtype.lower()}.wav"] = _encode(_tone(0.3), subtype=subtype)
    for name, value in (("nan", np.nan), ("inf", np.inf), ("minus_inf", -np.inf), ("huge", 1e30)):
        samples = _tone(0.2)
        samples[100] = value
        content[f"float_with_{name}.wav"] = _encode(samples, subtype="FLOAT")
        content[f"float_all_{name}.wav"] = _encode(np.full_like(samples, value), subtype="FLOAT")
    content["one_sample.wav"] = _encode(_tone(1 / RATE))
    content["one_sample_192k.wav"] = _encode(_tone(1 / 192000, 192000), 192000)
    content["two_samples.flac"] = _encode(_tone(2 / RATE), form="FLAC")
    content["silence.wav"] = _encode(np.zeros((RATE, 1), np.float32))
    content["ten_minutes.flac"] = _encode(_tone(600, 4000), 4000, "FLAC")
    content["no_samples.wav"] = _encode(np.zeros((0, 1), np.float32))
    content["header_only.wav"] = _wav_header(1, RATE, 16, b"", 0)
    content["claims_4_gib.wav"] = _wav_header(1, RATE, 16, bytes(800), 2**32 - 1)
    content["no_channels.wav"] = _wav_header(0, RATE, 16, bytes(800), 800)
    content["rate_zero.wav"] = _wav_header(1, 0, 16, bytes(800), 800)
    content["odd_bits.wav"] = _wav_header(1, RATE, 13, bytes(800), 800)
    content["name with spaces and é.wav"] = _encode(_tone(0.1))
    content["name\nwith a line break.wav"] = b"damaged"
    paths = []
    for name, data in content.items():
        path = folder / name
        path.write_bytes(data)
        paths.append(path)
    directory = folder / "folder.wav"
    directory.mkdir()
    link = folder / "link_to_nowhere.wav"
    link.symlink_to(folder / "nowhere.wav")
    return [*paths, directory, link, folder / "missing.wav"]
