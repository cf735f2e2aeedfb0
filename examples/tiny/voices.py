"""Synthetic speakers: variants of espeak-ng, and voices of flite and festival.

apt-get install espeak-ng flite festival festvox-kallpc16k festvox-kdlpc16k festvox-us-slt-hts
"""

from __future__ import annotations

import random
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import soundfile as sf
import soxr

from dllm_audio.toy.signals import SAMPLING_RATE

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
# Voices of their own synthesizers, all of the training split: engine, name, sex.
RECORDED = (
    ("flite", "awb", "male"),
    ("flite", "rms", "male"),
    ("flite", "kal16", "male"),
    ("flite", "slt", "female"),
    ("festival", "kal_diphone", "male"),
    ("festival", "ked_diphone", "male"),
    ("festival", "cmu_us_slt_arctic_hts", "female"),
)


@dataclass(frozen=True)
class Voice:
    """One synthetic speaker and the two rates at which it reads.

    Rates are words per minute (espeak-ng) or stretches of the durations (flite, festival).
    """

    name: str
    engine: str
    split: str
    sex: str
    settings: dict[str, str | int]
    rates: tuple[float, float]

    def say(self, texts: list[str], rate: float) -> list[np.ndarray]:
        """Speak texts one by one: float32 at 16 kHz, silence trimmed, peak 0.5."""
        with tempfile.TemporaryDirectory() as folder:
            paths = [Path(folder) / f"{number}.wav" for number in range(len(texts))]
            if self.engine == "festival":
                self._festival(texts, rate, paths)
            else:
                for text, path in zip(texts, paths, strict=True):
                    self._run(text, rate, path)
            return [trim(read(path)) for path in paths]

    def _run(self, text: str, rate: float, path: Path) -> None:
        if self.engine == "espeak-ng":
            voice = f"{self.settings['accent']}+{self.settings['variant']}"
            options = ["-v", voice, "-p", str(self.settings["pitch"]), "-s", str(int(rate))]
            command = ["espeak-ng", *options, "-w", str(path), "--", text]
        else:
            options = ["-voice", str(self.settings["variant"])]
            options += ["--setf", f"duration_stretch={rate}"]
            command = ["flite", *options, "-t", text, "-o", str(path)]
        subprocess.run(command, check=True, capture_output=True)

    def _festival(self, texts: list[str], rate: float, paths: list[Path]) -> None:
        said = "\n".join(
            f'(utt.save.wave (utt.synth (Utterance Text "{text}")) "{path}" \'riff)'
            for text, path in zip(texts, paths, strict=True)
        )
        script = paths[0].with_suffix(".scm")
        start = f"(voice_{self.settings['variant']})\n(Parameter.set 'Duration_Stretch {rate})\n"
        script.write_text(start + said)
        subprocess.run(["festival", "-b", str(script)], check=True, capture_output=True)


def read(path: Path) -> np.ndarray:
    """A file at 16 kHz, one channel."""
    waveform, rate = sf.read(path, dtype="float32", always_2d=True)
    return soxr.resample(waveform.mean(axis=1), rate, SAMPLING_RATE)


def trim(waveform: np.ndarray, floor_db: float = -42.0) -> np.ndarray:
    """Cut leading and trailing silence and scale the peak to 0.5."""
    waveform = waveform / max(float(np.abs(waveform).max(initial=0.0)), 1e-6)
    hop = SAMPLING_RATE // 200
    frames = waveform[: len(waveform) // hop * hop].reshape(-1, hop)
    loud = np.flatnonzero(np.abs(frames).max(axis=1, initial=0.0) > 10 ** (floor_db / 20))
    if not len(loud):
        raise ValueError("the synthesizer said nothing")
    start, end = max(loud[0] - 2, 0) * hop, min((loud[-1] + 3) * hop, len(waveform))
    return 0.5 * waveform[start:end]


def draw_voice(rng: random.Random, split: str, sex: str, index: int, name: str) -> Voice:
    """A variant of espeak-ng with its accent, pitch and rates."""
    variants = VARIANTS[split, sex]
    settings: dict[str, str | int] = {
        "accent": rng.choice(ACCENTS),
        "variant": variants[index % len(variants)],
        "pitch": rng.randint(30, 62) if sex == "male" else rng.randint(42, 75),
    }
    rates = (float(rng.randint(135, 155)), float(rng.randint(240, 300)))
    return Voice(name, "espeak-ng", split, sex, settings, rates)


def choose_voices(seed: int, voices: dict[str, int]) -> list[Voice]:
    """Draw so many voices of espeak-ng of each sex per split; the recorded ones come on top."""
    chosen = []
    for split, sex in VARIANTS:
        rng = random.Random(f"{seed} {split} {sex}")
        chosen += [
            draw_voice(rng, split, sex, index, f"{split}_{sex}_{index:02d}")
            for index in range(voices[split])
        ]
    for engine, variant, sex in RECORDED:
        name = "slt_hts" if "hts" in variant else variant.removesuffix("_diphone")
        if engine == "festival":
            name = f"festival_{name}"
        chosen.append(
            Voice(f"train_{name}", engine, "train", sex, {"variant": variant}, (1.25, 0.7))
        )
    return chosen
