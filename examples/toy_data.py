"""Data of the training examples: lessons of ``dllm_audio.toy`` as a stage wants them.

The encoder is frozen in every stage, so what it makes of a clip is computed once and stored.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from functools import cached_property, partial
from pathlib import Path
from typing import TypeVar

import numpy as np
import torch
from tqdm import tqdm

from dllm_audio import AudioDiffusionLM, ChatTemplate, toy
from dllm_audio.data import (
    DiffusionCollator,
    EncoderFeatures,
    EosPadding,
    Example,
    PreferenceCollator,
    PreferencePair,
    StoredAudio,
    content_key,
)
from dllm_audio.data.synthesis import RuleCorruptions
from dllm_audio.errors import DataError
from dllm_audio.training import StageData

Collator = TypeVar("Collator", DiffusionCollator, PreferenceCollator)

RESPONSE = 16  # tokens of an answer of the small model
CLIPS, HELD_OUT = 2500, 30  # clips of a lesson; held-out questions of each family
CLIPS_PER_BLOCK = 50
CURVE_ROWS = 64


class ToyData:
    """Lessons, with the encoder's output in place of the sound.

    Args:
        folder: where that is stored.
        smoke: a handful of clips, for tests.
    """

    def __init__(self, folder: Path, smoke: bool = False) -> None:
        self.folder = folder
        self.clips, self.questions = (16, 1) if smoke else (CLIPS, HELD_OUT)
        self._made: dict[str, list[Example]] = {}

    def answers(self, lesson: toy.Lesson) -> StageData:
        """Questions with their answers."""
        train, held_out = self._split(lesson)
        return StageData(train, self.collator(DiffusionCollator), held_out)

    def preferences(self, lesson: toy.Lesson) -> StageData:
        """The same questions, each with a right answer and with one that has a wrong word."""
        train, held_out = self._split(lesson)
        return StageData(pairs(train), self.collator(PreferenceCollator), pairs(held_out))

    def collator(self, kind: type[Collator]) -> Collator:
        """Batches of stored features; the prompt ends as it does when the model answers."""
        template = ChatTemplate(self._small.tokenizer)
        return kind(template, self._features, EosPadding(RESPONSE), header_in_target=False)

    @cached_property
    def held_out(self) -> list[toy.ToyRecord]:
        """Questions about clips with voices that training never hears."""
        return list(toy.ToyDataset("heldout", len(toy.FAMILIES) * self.questions, seed=1))

    @cached_property
    def held_out_pairs(self) -> list[PreferencePair]:
        """Right and wrong answers about them."""
        return pairs(self.stored(self.held_out))

    def stored(self, records: Sequence[toy.ToyRecord]) -> list[Example]:
        """Records as a collator wants them; their sound goes through the encoder."""
        return [
            Example(row, self._store(record.waveform), record.prompt, record.target)
            for row, record in enumerate(records)
        ]

    def _split(self, lesson: toy.Lesson) -> tuple[list[Example], list[Example]]:
        if lesson.name not in self._made:
            self._made[lesson.name] = self._training(lesson)
        asked = [record for record in self.held_out if record.family in lesson.families]
        # A few rows are enough for the curve; the table at the end uses all.
        return self._made[lesson.name], self.stored(asked)[:CURVE_ROWS]

    def _training(self, lesson: toy.Lesson) -> list[Example]:
        """Questions about all clips of a lesson; several processes make them."""
        starts = range(0, self.clips, CLIPS_PER_BLOCK)
        blocks = [range(first, min(first + CLIPS_PER_BLOCK, self.clips)) for first in starts]
        if len(blocks) == 1:
            made: Iterator[list[Example]] = iter([self.stored(lesson(blocks[0]))])
        else:
            made = _in_processes(partial(_work, lesson), blocks, self.folder)
        bar = tqdm(made, total=len(blocks), desc=f"clips ({lesson.name})", unit="block")
        examples = [example for block in bar for example in block]
        return [replace(example, row=row) for row, example in enumerate(examples)]

    def _store(self, waveform: np.ndarray) -> StoredAudio:
        source = (waveform, 16000)
        self._features.compute([source], self._small.encoder, progress=False)
        return StoredAudio(content_key(source))

    @cached_property
    def _small(self) -> AudioDiffusionLM:
        return toy.small_model()

    @cached_property
    def _features(self) -> EncoderFeatures:
        return EncoderFeatures(
            self.folder / "features", self._small.encoder, self._small.adapter.acoustic.taps
        )


def pairs(examples: Sequence[Example]) -> list[PreferencePair]:
    """The true answer against one with a single wrong word, where rules find one."""
    corrupt = RuleCorruptions()
    found: list[PreferencePair] = []
    for example in examples:
        try:
            rejected = corrupt(example.instruction, example.target).rejected
        except DataError:
            continue
        found.append(
            PreferencePair(len(found), example.audio, example.instruction, example.target, rejected)
        )
    return found


_data: ToyData  # of a worker process


def _start_worker(folder: Path) -> None:
    global _data
    torch.set_num_threads(1)  # the processes share the cores
    _data = ToyData(folder)


def _work(lesson: toy.Lesson, clips: range) -> list[Example]:
    return _data.stored(lesson(clips))


def _in_processes(
    work: Callable[[range], list[Example]], blocks: list[range], folder: Path
) -> Iterator[list[Example]]:
    context = multiprocessing.get_context("spawn")
    pool = ProcessPoolExecutor(os.cpu_count() or 1, context, _start_worker, (folder,))
    # Ctrl-C reaches every process of the terminal; the workers leave it to this one.
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        results = pool.map(work, blocks)
    finally:
        signal.signal(signal.SIGINT, before)
    try:
        yield from results
    finally:
        pool.shutdown(cancel_futures=True)
