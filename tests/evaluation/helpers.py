"""A benchmark of tones and a fast deterministic predictor, importable by child processes."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from dllm_audio.evaluation.benchmarks import MMAU
from dllm_audio.evaluation.predictors import Predictions
from dllm_audio.evaluation.questions import Task, make_task
from dllm_audio.evaluation.sources import rows_source

CHOICES = ["low tone", "high tone", "noise"]


def tone_rows(count: int) -> list[dict[str, Any]]:
    """Rows in MMAU's format; a constant waveform holds the row's number."""
    return [
        {
            "id": f"row-{i}",
            "audio": {"array": torch.full((160,), i / count).numpy(), "sampling_rate": 16000},
            "question": f"Which is row {i}?",
            "choices": CHOICES,
            "answer": CHOICES[i % 3],
            "task": ["sound", "music", "speech"][i % 3],
            "difficulty": ["easy", "hard"][i % 2],
        }
        for i in range(count)
    ]


def tone_task(count: int = 12, **options: Any) -> Task:
    return make_task(MMAU, rows_source(tone_rows(count), f"{count} tones"), **options)


@dataclass
class FakePredictor:
    """Answers from the prompt alone, so that batches and order cannot matter.

    After ``most`` batches it waits for the end of its process.
    """

    log: Path | None = None
    delay: float = 0.0
    most: int | None = None
    max_seconds: float | None = 30.0
    description: Mapping[str, Any] = field(default_factory=lambda: {"model": "fake", "seed": 0})
    batches: list[int] = field(default_factory=list)

    def __call__(
        self, audio: Sequence[Tensor], prompts: Sequence[str], seeds: Sequence[int]
    ) -> Predictions:
        if len(self.batches) == self.most:
            signal.pause()
        self.batches.append(len(prompts))
        numbers = [int(p.split("row ")[1].split("?")[0]) for p in prompts]
        if self.log is not None:
            with open(self.log, "a") as file:
                file.write("".join(f"{n}\n" for n in numbers))
        time.sleep(self.delay)
        texts = [f"{'ABC'[n % 3]}. {CHOICES[n % 3]}" for n in numbers]
        return Predictions(texts, [4 + n % 2 for n in numbers], [16] * len(numbers))


def run_in_child(folder: str, log: str, count: int, batch_size: int, most: int | None) -> None:
    """What the child process that is to be killed does."""
    from dllm_audio.evaluation.run_info import start_run
    from dllm_audio.evaluation.runner import run_task

    os.environ["OMP_NUM_THREADS"] = "1"
    task, predictor = tone_task(count), FakePredictor(Path(log), 0.005, most)
    start_run(task, predictor.description, Path(folder))
    run_task(task, predictor, Path(folder), batch_size=batch_size, progress=False)
