"""Odd sound files without end, from a seed: cut, damaged, joined, mislabeled.

``python tests/audio/odd_audio.py FOLDER SEED COUNT`` writes files, loads each and prints a line of
JSON about each, and one about the whole; the tests run it in a process of its own.
"""

from __future__ import annotations

import json
import random
import resource
import struct
import sys
import time
from pathlib import Path

import numpy as np
from ogg_pages import pages, sealed
from sound_files import CODECS, HEADERS, encode, id3

FORMS = (*HEADERS, *CODECS, "NIST", "SVX", "VOC", "PAF", "IRCAM", "PVF", "AVR", "MAT5")
SUFFIXES = ("wav", "flac", "mp3", "ogg", "aiff", "au", "caf", "w64", "txt", "m4a", "", "gsm")
ODD_NUMBERS = (0, 1, 2, 3, 16, 0x7F, 0x80, 0xFF, 0x7FFF, 0x8000, 0xFFFF, 0x7FFF_FFFF, 0x8000_0000,
               0xFFFF_FFFE, 0xFFFF_FFFF)  # fmt: skip


def some_sound(rng: random.Random) -> bytes:
    """A sound file of any format, rate, length and number of channels."""
    form = rng.choice(FORMS)
    rates = (8_000, 16_000, 24_000, 48_000) if form in CODECS else (4_000, 8_000, 16_000, 44_100)
    samples = rng.choice((0, 1, 300, 5_000, 20_000))
    channels = 1 if form == "SVX" else rng.choice((1, 1, 2))
    sound = np.random.default_rng(rng.randrange(2**32)).normal(0, 0.2, (samples, channels))
    return encode(sound.clip(-1, 1), form, rng.choice(rates))


def cut(data: bytes, rng: random.Random) -> bytes:
    return data[: rng.randrange(len(data) + 1)]


def behead(data: bytes, rng: random.Random) -> bytes:
    return data[rng.randrange(len(data) + 1) :]


def hollow(data: bytes, rng: random.Random) -> bytes:
    start, stop = sorted(rng.randrange(len(data) + 1) for _ in range(2))
    return data[:start] + rng.choice((b"", bytes(stop - start))) + data[stop:]


def flip(data: bytes, rng: random.Random) -> bytes:
    changed = bytearray(data)
    reach = rng.choice((64, 400, len(changed)))
    for _ in range(rng.choice((1, 3, 30))):
        if changed:
            changed[rng.randrange(min(reach, len(changed)))] ^= 1 << rng.randrange(8)
    return bytes(changed)


def miscount(data: bytes, rng: random.Random) -> bytes:
    """Other numbers in the fields of the header."""
    changed = bytearray(data)
    for _ in range(rng.choice((1, 1, 2, 4))):
        order, width = rng.choice("<>"), rng.choice("HIIQ")
        place = rng.randrange(4, 100, rng.choice((1, 2, 4)))
        if place + 8 <= len(changed):
            limit = 256 ** struct.calcsize(width)
            struct.pack_into(order + width, changed, place, rng.choice(ODD_NUMBERS) % limit)
    return bytes(changed)


def reseal(data: bytes, rng: random.Random) -> bytes:
    """Ogg pages with other heads whose checksums fit."""
    if not data.startswith(b"OggS"):
        return miscount(data, rng)
    return b"".join(
        sealed(flip(each[:27], rng) + each[27:]) if len(each) > 27 and rng.random() < 0.3 else each
        for each in pages(data)
    )


def wrap(data: bytes, rng: random.Random) -> bytes:
    junk = rng.randbytes(rng.choice((1, 40, 3000)))
    odd = rng.choice((id3(500), bytes(777), junk, b"<html>", b"\0\0\0\x18ftypM4A ", b"PK\3\4"))
    return odd + data if rng.random() < 0.7 else data + odd


def join(data: bytes, rng: random.Random) -> bytes:
    return data + b"".join(some_sound(rng) for _ in range(rng.choice((1, 2, 5))))


def noise(_: bytes, rng: random.Random) -> bytes:
    return rng.choice((rng.randbytes(rng.randrange(5000)), bytes(rng.randrange(5000)), b"a\n" * 99))


ODDITIES = (cut, behead, hollow, flip, miscount, miscount, reseal, wrap, join, noise)


def build(folder: Path, seed: int, count: int) -> list[Path]:
    """Write odd files; the names tell what was done to each."""
    paths = []
    for number in range(seed, seed + count):
        rng = random.Random(number)
        data = some_sound(rng)
        done = rng.sample(ODDITIES, rng.choice((1, 1, 1, 2, 3)))
        for change in done:
            data = change(data, rng)
        names = "_".join(change.__name__ for change in done)
        path = folder / f"{number}_{names}.{rng.choice(SUFFIXES)}"
        path.write_bytes(data)
        paths.append(path)
    return paths


def main() -> None:
    from dllm_audio import load_audio
    from dllm_audio.errors import AudioError

    load_audio(encode(np.zeros(300), rate=8_000))  # what is loaded once
    paths = build(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for path in paths:
        start = time.process_time()
        record: dict[str, object] = {"file": str(path)}
        print(json.dumps(record), file=sys.stderr, flush=True)  # which one it was, in a crash
        try:
            waveform = load_audio(path, allow_truncated=path.stat().st_size % 2 == 1)
            record |= {"samples": len(waveform), "finite": bool(waveform.isfinite().all())}
        except AudioError as error:
            record["error"] = str(error)
        print(json.dumps(record | {"seconds": time.process_time() - start}))
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    print(json.dumps({"kibibytes": peak - before}))


if __name__ == "__main__":
    main()
