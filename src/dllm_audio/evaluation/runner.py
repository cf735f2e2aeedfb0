"""Run a task with a predictor: batched, resumable, sharded over processes.

In the output folder:

- ``run.json``: settings that must stay the same, and one entry for every start;
- ``shards/{results,timings}-RANK-of-WORLD.jsonl``: what each process has done so far;
- ``results.jsonl`` and ``timings.jsonl``: everything, in the order of the data, when complete.

Predictions and times are kept apart, so that a run that was killed and resumed ends with exactly
the ``results.jsonl`` of an undisturbed one.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from tqdm import tqdm

from ..audio import load_audio
from ..audio.units import SAMPLING_RATE
from ..errors import DataError, DllmAudioError, InvalidArgumentError
from ..files import json_line, write_text
from .predictors import Predictor
from .store import RecordFile, read_records
from .task import Task

_DECODERS = 2  # threads that read audio ahead while the model computes


@dataclass(frozen=True, slots=True)
class Shard:
    """This process among those that share a run.

    Attributes:
        rank: number of this process, from 0.
        world_size: number of processes.
    """

    rank: int = 0
    world_size: int = 1

    def __post_init__(self) -> None:
        if not 0 <= self.rank < self.world_size:
            raise InvalidArgumentError("rank", f"0 <= rank < {self.world_size}", self.rank)

    def path(self, folder: Path, kind: str) -> Path:
        """File of this process."""
        return folder / "shards" / f"{kind}-{self.rank:05d}-of-{self.world_size:05d}.jsonl"


@dataclass(frozen=True, slots=True)
class _Row:
    index: int
    identifier: str
    prompt: str
    audio: Tensor | None
    error: str | None
    cut_seconds: float


def run_task(
    task: Task,
    predictor: Predictor,
    folder: Path,
    *,
    batch_size: int = 1,
    shard: Shard | None = None,
    seed: int = 0,
    progress: bool = True,
) -> None:
    """Answer every question of a task that has no answer yet.

    A row whose audio cannot be read or that the model refuses becomes a record without a
    prediction and with a one-line reason; the run goes on.  Call it again with the same folder
    after any interruption.

    Args:
        task: the questions.
        predictor: the model.
        folder: where results are kept.
        batch_size: questions answered at once.
        shard: this process among several; None: alone.
        seed: for predictors that sample.
        progress: show a progress bar.

    Raises:
        DataError: the folder holds results of other questions or damaged files, or is in use.
        InvalidArgumentError: ``batch_size`` is not positive.
    """
    if batch_size < 1:
        raise InvalidArgumentError("batch_size", "an integer >= 1", batch_size)
    shard = shard or Shard()
    done = {record["id"] for record in shard_records(folder, "results")}
    mine = range(shard.rank, len(task.items), shard.world_size)
    todo = [index for index in mine if task.items[index].id not in done]
    bar = tqdm(
        desc=task.benchmark.name,
        total=len(mine),
        initial=len(mine) - len(todo),
        unit="row",
        disable=None if progress else True,
        position=shard.rank,
    )
    with (
        bar,
        RecordFile(shard.path(folder, "timings")) as timings,
        RecordFile(shard.path(folder, "results")) as results,
    ):
        # A kill between the two files leaves times without a result: they are taken again.
        timed = {record["id"] for record in timings.records}
        for batch in _read_ahead(task, todo, batch_size, predictor.max_seconds):
            records, times = _answer(batch, predictor, seed)
            timings.append([t for t in times if t["id"] not in timed])
            results.append(records)
            bar.update(len(batch))


def merge_shards(task: Task, folder: Path) -> list[dict[str, Any]]:
    """Join the files of all processes into ``results.jsonl`` in the order of the data.

    Returns:
        The records, in that order.

    Raises:
        DataError: rows are missing (their number is stated) or answered twice.
    """
    for kind in ("timings", "results"):
        records: dict[str, dict[str, Any]] = {}
        for record in shard_records(folder, kind):
            if record["id"] in records and kind == "results":
                raise DataError(f"{folder}: the row {record['id']!r} was answered twice")
            records[record["id"]] = record
        missing = sum(item.id not in records for item in task.items)
        if missing:
            raise DataError(
                f"{folder}: {missing} of {len(task.items)} rows have no result yet; "
                "run the same command again to go on"
            )
        ordered = [records[item.id] for item in task.items]
        write_text(folder / f"{kind}.jsonl", "".join(map(json_line, ordered)))
    return ordered


def shard_records(folder: Path, kind: str) -> list[dict[str, Any]]:
    """Complete records of all processes so far."""
    paths = sorted((folder / "shards").glob(f"{kind}-*-of-*.jsonl"))
    return [record for path in paths for record in read_records(path)]


def _read_ahead(
    task: Task, todo: Sequence[int], batch_size: int, max_seconds: float | None
) -> Iterator[list[_Row]]:
    """Batches with decoded audio; the next one is decoded while the caller computes."""
    batches = [todo[i : i + batch_size] for i in range(0, len(todo), batch_size)]
    with ThreadPoolExecutor(_DECODERS) as pool:

        def submit(batch: Sequence[int]) -> list[Future[_Row]]:
            return [pool.submit(_read_row, task, index, max_seconds) for index in batch]

        waiting = submit(batches[0]) if batches else []
        for following in [*batches[1:], []]:
            current, waiting = waiting, submit(following)
            if current:
                yield [future.result() for future in current]


def _read_row(task: Task, index: int, max_seconds: float | None) -> _Row:
    item = task.items[index]
    try:
        audio = load_audio(task.source.audio(index))
    except (DllmAudioError, OSError) as error:
        return _Row(index, item.id, item.prompt, None, one_line(error), 0.0)
    limit = len(audio) if max_seconds is None else int(max_seconds * SAMPLING_RATE)
    cut = max(len(audio) - limit, 0) / SAMPLING_RATE
    return _Row(index, item.id, item.prompt, audio[:limit], None, cut)


def one_line(error: BaseException) -> str:
    """An error as one line.

    Example:
        >>> one_line(ValueError("first\\nsecond"))
        'ValueError: first second'
    """
    return " ".join(f"{type(error).__name__}: {error}".split())


def _answer(
    batch: list[_Row], predictor: Predictor, seed: int
) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Records and times of a batch; where the model refuses it, row by row."""
    heard = [row for row in batch if row.audio is not None]
    answers: dict[int, Mapping[str, Any]] = {}
    times: dict[int, float] = {}
    groups = [heard] if heard else []
    while groups:
        group = groups.pop(0)
        start = time.perf_counter()
        try:
            output = predictor(
                [row.audio for row in group if row.audio is not None],
                [row.prompt for row in group],
                [_row_seed(seed, row.identifier) for row in group],
            )
        except (DllmAudioError, torch.OutOfMemoryError) as error:
            if len(group) > 1:
                groups = [[row] for row in group] + groups
                continue
            answers[group[0].index] = {"error": one_line(error)}
            continue
        seconds = (time.perf_counter() - start) / len(group)
        for position, row in enumerate(group):
            times[row.index] = seconds
            answers[row.index] = {
                "prediction": output.texts[position],
                "nfe": output.nfe[position],
                "tokens": output.tokens[position],
            }
    records = [_record(row, answers.get(row.index, {"error": row.error})) for row in batch]
    clocked = [
        {"id": row.identifier, "seconds": times.get(row.index), "batch_size": len(batch)}
        for row in batch
    ]
    return records, clocked


def _row_seed(seed: int, identifier: str) -> int:
    """63 bits that depend on nothing but the run's seed and the row."""
    digest = hashlib.sha256(f"{seed}:{identifier}".encode()).digest()
    return int.from_bytes(digest[:8], "big") >> 1


def _record(row: _Row, answer: Mapping[str, Any]) -> dict[str, Any]:
    seconds = None if row.audio is None else len(row.audio) / SAMPLING_RATE
    return {
        "id": row.identifier,
        "prediction": None,
        "error": None,
        "nfe": None,
        "tokens": None,
        "audio_seconds": seconds,
        "cut_seconds": row.cut_seconds,
        **answer,
    }
