"""Clips made ahead of training: what the frozen encoder makes of them, and their facts.

The encoder never changes, so each clip goes through it once.  A file holds 250 clips: the tapped
hidden states and the last one, float16, valid frames only, one clip after another.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path

import numpy as np
import torch
from other_sounds import OtherMusic, OtherVoices, Recordings
from safetensors import safe_open
from safetensors.torch import save_file
from settings import SLOT_RATE, TAPS, build_encoder
from torch import Tensor
from tqdm import tqdm

from dllm_audio import EncoderOutput
from dllm_audio.files import replacing
from dllm_audio.toy import HumanDigits, Others, Scene, SceneMaker, Span, WordBank
from dllm_audio.toy.scenes import Synthesized
from dllm_audio.toy.unfamiliar import MUSIC

CLIPS_PER_FILE = 250
BATCH = 10
SUBJECTS = {
    "digits": 0.34,
    "number": 0.04,
    "word": 0.04,
    "command": 0.12,
    "sound": 0.17,
    "music": 0.11,
    "other_speech": 0.12,
    "other_sound": 0.03,
    "other_music": 0.02,
    "silence": 0.01,
}


@dataclasses.dataclass(frozen=True)
class Sources:
    """Where the clips of a split come from.

    Attributes:
        split: ``train`` or ``heldout``.
        bank: folder of spoken words; None: the one that ships.
        digits: folder of people's digits, and the speakers to use.
        people: folders of recordings in which people say other things.
        music: folders of recordings of music.
        whisper: folder or hub id of the encoder.
    """

    split: str
    whisper: str
    bank: Path | None = None
    digits: tuple[Path, tuple[str, ...]] | None = None
    people: tuple[Path, ...] = ()
    music: tuple[Path, ...] = ()

    def maker(self) -> SceneMaker:
        """What draws the clips."""
        human = HumanDigits(*self.digits) if self.digits else None
        others: dict[str, Others] = {}
        if self.split == "train":
            people = Recordings(list(self.people)) if self.people else None
            others["other_speech"] = OtherVoices(self.split, people)
            if self.music:
                made = Synthesized(MUSIC[self.split])
                others["other_music"] = OtherMusic(Recordings(list(self.music)), made)
        return SceneMaker(WordBank(self.bank), self.split, human, 0.4, others)


class Clips:
    """All clips of a folder; states are read from the files when they are asked for."""

    def __init__(self, folder: Path) -> None:
        self.scenes: list[Scene] = []
        self.loudness: list[Tensor] = []
        self._places: list[tuple[int, int, int]] = []
        self._files = []
        for number, path in enumerate(sorted(folder.glob("*.safetensors"))):
            file = safe_open(path, "pt")
            self._files.append(file)
            start = 0
            for fact in json.loads(file.metadata()["facts"]):
                self.loudness.append(torch.tensor(fact.pop("loudness")))
                self._places.append((number, start, fact.pop("frames")))
                start += self._places[-1][2]
                self.scenes.append(_scene_from(fact))

    def __len__(self) -> int:
        return len(self.scenes)

    def states(self, rows: list[int]) -> EncoderOutput:
        """What the encoder makes of some clips, float32, padded to the longest of them."""
        found: dict[str, list[Tensor]] = {name: [] for name in _names()}
        for row in rows:
            number, start, frames = self._places[row]
            for name, tensors in found.items():
                part = self._files[number].get_slice(name)[start : start + frames]
                tensors.append(part.float())
        padded = {
            name: torch.nn.utils.rnn.pad_sequence(tensors, batch_first=True)
            for name, tensors in found.items()
        }
        lengths = torch.tensor([self._places[row][2] for row in rows])
        last = padded.pop("last")
        # Nobody reads the states that are not tapped.
        hidden = [padded[f"tap_{min(TAPS)}"]] * (max(TAPS) + 1)
        for tap in TAPS:
            hidden[tap] = padded[f"tap_{tap}"]
        return EncoderOutput(last, tuple(hidden), lengths, hidden_lengths=lengths)


def make_clips(folder: Path, sources: Sources, count: int, workers: int) -> Clips:
    """Make what is missing of ``count`` clips and open them."""
    folder.mkdir(parents=True, exist_ok=True)
    numbers = [n for n in range(count // CLIPS_PER_FILE) if not (folder / _name(n)).exists()]
    with ProcessPoolExecutor(workers) as pool:
        work = pool.map(partial(_write, folder, sources), numbers)
        for _ in tqdm(work, total=len(numbers), desc=f"clips ({sources.split})", unit="file"):
            pass
    return Clips(folder)


def _names() -> list[str]:
    return [*(f"tap_{tap}" for tap in TAPS), "last"]


def _scene_from(fact: Mapping) -> Scene:
    """The scene behind its facts as JSON, without its waveform."""
    spans = tuple(Span(*span) for span in fact["spans"])
    fields = {**fact, "words": tuple(fact["words"]), "spans": spans}
    return Scene(waveform=np.zeros(0, np.float32), **fields)


def _facts_of(scene: Scene, frames: int) -> dict:
    fact = {f.name: getattr(scene, f.name) for f in dataclasses.fields(scene)}
    del fact["waveform"]
    spans = [dataclasses.astuple(span) for span in scene.spans]
    return {**fact, "spans": spans, "frames": frames, "loudness": _loudness(scene.waveform)}


def _loudness(waveform: np.ndarray) -> list[float]:
    """Of each semantic slot, in dB."""
    hop = int(16_000 / SLOT_RATE)
    slots = waveform[: len(waveform) // hop * hop].reshape(-1, hop)
    power = np.square(slots.astype(np.float64)).mean(axis=1)
    return [round(float(value), 1) for value in 10 * np.log10(power + 1e-10)]


def _name(number: int) -> str:
    return f"{number:04d}.safetensors"


def _write(folder: Path, sources: Sources, number: int) -> None:
    torch.set_num_threads(1)
    maker, encoder = sources.maker(), build_encoder(sources.whisper)
    rng = np.random.default_rng([("train", "heldout").index(sources.split), number])
    subjects = rng.choice(list(SUBJECTS), CLIPS_PER_FILE, p=list(SUBJECTS.values()))
    scenes = [maker.draw(rng, str(subject)) for subject in subjects]
    states: dict[str, list[Tensor]] = {name: [] for name in _names()}
    facts = []
    for start in range(0, len(scenes), BATCH):
        batch = scenes[start : start + BATCH]
        features = encoder.features([torch.from_numpy(scene.waveform) for scene in batch])
        with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16):
            output = encoder(*features)
        for row, frames in enumerate(output.lengths.tolist()):
            for tap in TAPS:
                states[f"tap_{tap}"].append(output.hidden_states[tap][row, :frames].half())
            states["last"].append(output.last_hidden_state[row, :frames].half())
            facts.append(_facts_of(batch[row], frames))
    tensors = {name: torch.cat(parts).contiguous() for name, parts in states.items()}
    with replacing(folder / _name(number)) as scratch:
        save_file(tensors, scratch, metadata={"facts": json.dumps(facts)})
