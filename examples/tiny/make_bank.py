"""Rebuild the bank of spoken words that ships in the package (needs espeak-ng and flite).

The bank is already in the package: run this only to change its words or voices.  Every voice says
every word slowly and quickly; a voice is one OGG (Opus) file and one entry of ``index.json``.
Training and held-out voices share no variant of the synthesizer.

    apt-get install espeak-ng flite
    python examples/tiny/make_bank.py --out src/dllm_audio/assets/bank
"""

from __future__ import annotations

import argparse
import json
import random
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import soundfile as sf
import soxr
from tqdm import tqdm

from dllm_audio.toy.bank import COMMANDS, DIGITS

SAMPLING_RATE = 16_000
GAP = int(0.06 * SAMPLING_RATE)  # lets the codec settle between two words
# Without "en-gb": there espeak-ng gives every variant the pitch of a man.
ACCENTS = (
    "en-us", "en-gb-scotland", "en-gb-x-rp", "en-gb-x-gbclan", "en-gb-x-gbcwmd",
    "en-029", "en-us-nyc",
)  # fmt: skip
# Variants of espeak-ng by split and sex; robots, whispers, jokes and men who sound like women are
# left out.
VARIANTS = {
    ("train", "male"): (
        "m1", "m2", "m4", "m5", "m6", "m7", "Andy", "Denis", "Diogo", "Gene", "Hugo", "Jacky",
        "Lee", "Marco", "Mario", "Mike", "antonio", "adam", "benjamin", "caleb", "david",
        "ed", "edward", "gustave", "iven", "klatt2", "marcelo", "max", "pablo", "paul",
        "sandro", "victor", "norbert", "grandpa",
    ),
    ("train", "female"): (
        "f1", "f3", "f4", "f5", "Alicia", "Andrea", "anika", "aunty", "linda", "steph2", "grandma",
    ),
    ("heldout", "male"): ("m3", "m8", "Alex", "travis", "boris", "miguel", "Henrique"),
    ("heldout", "female"): ("f2", "belinda", "Annie", "steph"),
}  # fmt: skip
VOICES_PER_CELL = {"train": 36, "heldout": 8}
FLITE_VOICES = {"awb": "male", "rms": "male", "kal16": "male", "slt": "female"}  # all train


@dataclass(frozen=True)
class Voice:
    """One synthetic speaker and the two rates at which it reads."""

    name: str
    engine: str
    split: str
    sex: str
    settings: dict[str, str | int]
    rates: tuple[float, float]

    def say(self, text: str, rate: float) -> np.ndarray:
        """Speak ``text``; ``rate`` is words per minute (espeak-ng) or a stretch (flite)."""
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "word.wav"
            if self.engine == "espeak-ng":
                voice = f"{self.settings['accent']}+{self.settings['variant']}"
                options = ["-v", voice, "-p", str(self.settings["pitch"]), "-s", str(int(rate))]
                command = ["espeak-ng", *options, "-w", str(path), text]
            else:
                options = ["-voice", str(self.settings["variant"])]
                options += ["--setf", f"duration_stretch={rate}"]
                command = ["flite", *options, "-t", text, "-o", str(path)]
            subprocess.run(command, check=True, capture_output=True)
            waveform, rate_in = sf.read(path, dtype="float32")
        return trim(soxr.resample(waveform, rate_in, SAMPLING_RATE))


def trim(waveform: np.ndarray, floor_db: float = -42.0) -> np.ndarray:
    """Cut leading and trailing silence and scale the peak to 0.5."""
    waveform = waveform / max(float(np.abs(waveform).max()), 1e-6)
    hop = SAMPLING_RATE // 200
    frames = waveform[: len(waveform) // hop * hop].reshape(-1, hop)
    loud = np.flatnonzero(np.abs(frames).max(axis=1) > 10 ** (floor_db / 20))
    start, end = max(loud[0] - 2, 0) * hop, min((loud[-1] + 3) * hop, len(waveform))
    return 0.5 * waveform[start:end]


def choose_voices(seed: int) -> list[Voice]:
    """Draw accent, pitch and rates of every voice."""
    rng = random.Random(seed)
    voices = []
    for (split, sex), variants in VARIANTS.items():
        for index in range(VOICES_PER_CELL[split]):
            settings: dict[str, str | int] = {
                "accent": rng.choice(ACCENTS),
                "variant": variants[index % len(variants)],
                "pitch": rng.randint(30, 62) if sex == "male" else rng.randint(42, 75),
            }
            rates = (float(rng.randint(135, 155)), float(rng.randint(240, 300)))
            name = f"{split}_{sex}_{index:02d}"
            voices.append(Voice(name, "espeak-ng", split, sex, settings, rates))
    for variant, sex in FLITE_VOICES.items():
        voices.append(
            Voice(f"train_{variant}", "flite", "train", sex, {"variant": variant}, (1.25, 0.7))
        )
    return voices


def write_voice(voice: Voice, folder: Path) -> dict[str, object]:
    """Write one voice's file; return its entry of the index."""
    pieces, clips, position = [np.zeros(GAP, np.float32)], {}, GAP
    for word in (*DIGITS, *COMMANDS):
        spans = []
        for rate in voice.rates:
            clip = voice.say(word, rate)
            spans.append([position, position + len(clip)])
            pieces += [clip, np.zeros(GAP, np.float32)]
            position += len(clip) + GAP
        clips[word] = spans
    waveform = np.concatenate(pieces).astype(np.float32)
    path = folder / f"{voice.name}.ogg"
    sf.write(path, waveform, SAMPLING_RATE, "OPUS", format="OGG", compression_level=0.965)
    return {
        "file": path.name,
        "engine": voice.engine,
        "split": voice.split,
        "sex": voice.sex,
        **voice.settings,
        "samples": len(waveform),
        "clips": clips,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path("src/dllm_audio/assets/bank"))
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    index = {
        voice.name: write_voice(voice, args.out)
        for voice in tqdm(choose_voices(args.seed), desc="voices", unit="voice")
    }
    content = {"sampling_rate": SAMPLING_RATE, "voices": index}
    (args.out / "index.json").write_text(json.dumps(content, separators=(",", ":")) + "\n")
    size = sum(path.stat().st_size for path in args.out.iterdir())
    print(f"{len(index)} voices, {size / 1e6:.2f} MB in {args.out}")


if __name__ == "__main__":
    main()
