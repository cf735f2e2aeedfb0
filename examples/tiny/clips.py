"""Clips made ahead of training: features and facts, in files of 500."""

from __future__ import annotations

import dataclasses
import json
import os
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path

import numpy as np
import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor
from tqdm import tqdm

from dllm_audio import LogMel
from dllm_audio.toy import MAX_SECONDS, HumanDigits, Scene, SceneMaker, Span, embedded_bank

CLIPS_PER_FILE = 500
SUBJECTS = {"digits": 0.5, "command": 0.1, "sound": 0.19, "music": 0.21}


@dataclasses.dataclass(frozen=True)
class People:
    """Which recordings of people to use: a folder and the speakers of this split."""

    folder: str
    speakers: tuple[str, ...]


class Clips:
    """All clips of a split in memory: ``features`` float16 ``[N, 80, 400]``, ``frames [N]``."""

    def __init__(self, folder: Path) -> None:
        features, frames, self.scenes = [], [], []
        for path in sorted(folder.glob("*.safetensors")):
            with safe_open(path, "pt") as file:
                features.append(file.get_tensor("features"))
                frames.append(file.get_tensor("frames"))
                self.scenes += [scene_from(fact) for fact in json.loads(file.metadata()["facts"])]
        self.features: Tensor = torch.cat(features)
        self.frames: Tensor = torch.cat(frames)

    def __len__(self) -> int:
        return len(self.frames)


def make_clips(folder: Path, split: str, count: int, people: People | None, workers: int) -> Clips:
    """Make what is missing of ``count`` clips and load them."""
    folder.mkdir(parents=True, exist_ok=True)
    numbers = [n for n in range(count // CLIPS_PER_FILE) if not (folder / _name(n)).exists()]
    with ProcessPoolExecutor(workers) as pool:
        work = pool.map(partial(_write, folder, split, people), numbers)
        for _ in tqdm(work, total=len(numbers), desc=f"clips ({split})", unit="file"):
            pass
    return Clips(folder)


def scene_from(fact: dict) -> Scene:
    """The scene behind its facts as JSON, without its waveform."""
    spans = tuple(Span(*span) for span in fact["spans"])
    fields = {**fact, "words": tuple(fact["words"]), "spans": spans}
    return Scene(waveform=np.zeros(0, np.float32), **fields)


def _name(number: int) -> str:
    return f"{number:04d}.safetensors"


def _write(folder: Path, split: str, people: People | None, number: int) -> None:
    torch.set_num_threads(1)
    human = HumanDigits(people.folder, people.speakers) if people else None
    maker = SceneMaker(embedded_bank(), split, human)
    rng = np.random.default_rng([("train", "heldout").index(split), number])
    subjects = rng.choice(list(SUBJECTS), CLIPS_PER_FILE, p=list(SUBJECTS.values()))
    scenes = [maker.draw(rng, str(subject)) for subject in subjects]
    log_mel = LogMel(80, chunk_length=MAX_SECONDS)
    features, frames = log_mel([torch.from_numpy(scene.waveform) for scene in scenes])
    facts = []
    for scene in scenes:
        fact = {f.name: getattr(scene, f.name) for f in dataclasses.fields(scene)}
        del fact["waveform"]
        facts.append({**fact, "spans": [dataclasses.astuple(span) for span in scene.spans]})
    partial_path = folder / f"{number:04d}.partial"
    tensors = {"features": features.half(), "frames": frames}
    save_file(tensors, partial_path, metadata={"facts": json.dumps(facts)})
    os.replace(partial_path, folder / _name(number))
