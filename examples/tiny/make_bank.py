"""Rebuild the bank of spoken words that ships in the package (needs the synthesizers of voices.py).

The bank is already in the package: run this only to change its words or voices.  Every voice says
every unit of the vocabulary slowly and quickly, and some sentences of other words; a voice is one
OGG (Opus) file and one entry of ``index.json``.  Training and held-out voices share no variant of
the synthesizer.

    python examples/tiny/make_bank.py --out src/dllm_audio/assets/bank
"""

from __future__ import annotations

import argparse
import json
import os
import random
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import numpy as np
import soundfile as sf
from other_texts import draw_text
from tqdm import tqdm
from voices import Voice, choose_voices

from dllm_audio.toy import UNITS
from dllm_audio.toy.signals import SAMPLING_RATE

GAP = int(0.06 * SAMPLING_RATE)  # lets the codec settle between two words
SENTENCES = 4


def write_voice(folder: Path, voice: Voice) -> dict[str, object]:
    """Write one voice's file, unless it is there; return its entry of the index."""
    path = folder / f"{voice.name}.ogg"
    entry_path = path.with_suffix(".json")
    if entry_path.exists():
        return json.loads(entry_path.read_text())
    takes = [voice.say(list(UNITS), rate) for rate in voice.rates]
    rng = random.Random(voice.name)
    others = voice.say([draw_text(rng) for _ in range(SENTENCES)], sum(voice.rates) / 2)
    pieces, position = [np.zeros(GAP, np.float32)], GAP

    def placed(clip: np.ndarray) -> list[int]:
        nonlocal position
        pieces.extend((clip, np.zeros(GAP, np.float32)))
        start, position = position, position + len(clip) + GAP
        return [start, start + len(clip)]

    pairs = zip(UNITS, *takes, strict=True)
    clips = {unit: [placed(take) for take in both] for unit, *both in pairs}
    spans = [placed(clip) for clip in others]
    waveform = np.concatenate(pieces).astype(np.float32)
    sf.write(path, waveform, SAMPLING_RATE, "OPUS", format="OGG", compression_level=0.985)
    entry = {
        "file": path.name,
        "engine": voice.engine,
        "split": voice.split,
        "sex": voice.sex,
        **voice.settings,
        "samples": len(waveform),
        "clips": clips,
        "sentences": spans,
    }
    entry_path.write_text(json.dumps(entry))
    return entry


def make_bank(folder: Path, voices: list[Voice]) -> None:
    """Write what is missing of a bank."""
    folder.mkdir(parents=True, exist_ok=True)
    if (folder / "index.json").exists():
        return
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        work = pool.map(partial(write_voice, folder), voices)
        entries = list(tqdm(work, total=len(voices), desc="voices", unit="voice"))
    index = {voice.name: entry for voice, entry in zip(voices, entries, strict=True)}
    content = {"sampling_rate": SAMPLING_RATE, "voices": index}
    (folder / "index.json").write_text(json.dumps(content, separators=(",", ":")) + "\n")
    for voice in voices:
        (folder / f"{voice.name}.json").unlink()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path("src/dllm_audio/assets/bank"))
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--train", type=int, default=22, help="voices of each sex to learn from")
    parser.add_argument("--heldout", type=int, default=8, help="voices of each sex held out")
    args = parser.parse_args()
    make_bank(args.out, choose_voices(args.seed, {"train": args.train, "heldout": args.heldout}))
    size = sum(path.stat().st_size for path in args.out.iterdir())
    print(f"{len(list(args.out.glob('*.ogg')))} voices, {size / 1e6:.2f} MB in {args.out}")


if __name__ == "__main__":
    main()
