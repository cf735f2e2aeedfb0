"""Run a task with a predictor: batched, resumable, sharded over processes.

What it leaves in its folder, and how that survives interruptions, is in ``store``.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor
from tqdm import tqdm

from ..audio import load_audio
from ..audio.units import SAMPLING_RATE
from ..errors import DllmAudioError, InvalidArgumentError, one_line
from .predictors import Chooser, Predictions, Predictor
from .questions import Task
from .store import RecordFile, Result, Shard, Timing, shard_results

_DECODERS = 2  # threads that read audio ahead while the model computes


@dataclass(frozen=True, slots=True)
class _Row:
    index: int
    identifier: str
    prompt: str
    choices: list[str]
    audio: Tensor | None
    error: str | None
    cut_seconds: float

    def result(self) -> Result:
        """What is known before the model has answered."""
        return Result(
            id=self.identifier,
            error=self.error,
            audio_seconds=None if self.audio is None else len(self.audio) / SAMPLING_RATE,
            cut_seconds=self.cut_seconds,
        )


def run_task(
    task: Task,
    predictor: Predictor | Chooser,
    folder: Path,
    *,
    batch_size: int = 1,
    shard: Shard | None = None,
    seed: int = 0,
    progress: bool = True,
) -> None:
    """Answer every question of a task that has no answer yet.

    A row whose audio cannot be read, that the model refuses or that memory does not suffice for
    becomes a result without a prediction and with a one-line reason; the run goes on.  Call it
    again with the same folder after any interruption.

    Args:
        task: the questions.
        predictor: the model, which writes its answers or chooses them.
        folder: where results are kept.
        batch_size: questions answered at once.
        shard: this process among several; None: alone.
        seed: for predictors that sample.
        progress: show a progress bar.

    Raises:
        DataError: a result occurs twice in the folder, or the folder is in use.
        InvalidArgumentError: ``batch_size`` is not positive, or there is nothing to choose among.
    """
    if batch_size < 1:
        raise InvalidArgumentError("batch_size", "an integer >= 1", batch_size)
    if isinstance(predictor, Chooser) and task.benchmark.choose_by is None:
        expected = "one that writes answers: the questions have no choices"
        raise InvalidArgumentError("predictor", expected, type(predictor).__name__)
    shard = shard or Shard()
    done = {result.id for result in shard_results(folder)}
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
        RecordFile(shard.path(folder, "timings"), Timing) as timings,
        RecordFile(shard.path(folder, "results"), Result) as results,
    ):
        # A kill between the two files leaves times without a result: they are taken again.
        timed = {timing.id for timing in timings.records}
        for batch in _read_ahead(task, todo, batch_size, predictor.max_seconds):
            answers, times = _answer(batch, predictor, seed)
            timings.append([t for t in times if t.id not in timed])
            results.append(answers)
            bar.update(len(batch))


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
    except (DllmAudioError, OSError, MemoryError, RuntimeError) as error:
        if isinstance(error, RuntimeError) and not _is_memory_error(error):
            raise
        return _Row(index, item.id, item.prompt, [], None, _reason(error), 0.0)
    limit = len(audio) if max_seconds is None else int(max_seconds * SAMPLING_RATE)
    cut = max(len(audio) - limit, 0) / SAMPLING_RATE
    return _Row(index, item.id, item.prompt, item.offered(), audio[:limit], None, cut)


def _reason(error: BaseException) -> str:
    return f"{type(error).__name__}: {one_line(error)}"


def _is_memory_error(error: BaseException) -> bool:
    """Whether memory did not suffice; torch has no exception of its own for that on a CPU."""
    if isinstance(error, MemoryError | torch.OutOfMemoryError):
        return True
    return isinstance(error, RuntimeError) and "DefaultCPUAllocator" in str(error)


def _answer(
    batch: list[_Row], predictor: Predictor | Chooser, seed: int
) -> tuple[list[Result], list[Timing]]:
    """Results and times of a batch; where the model refuses it, row by row."""
    heard = [row for row in batch if row.audio is not None]
    results = {row.index: row.result() for row in batch}
    times: dict[int, float] = {}
    groups = [heard] if heard else []
    while groups:
        group = groups.pop(0)
        start = time.perf_counter()
        try:
            output = _ask(group, predictor, seed)
        except (DllmAudioError, MemoryError, RuntimeError) as error:
            if not (isinstance(error, DllmAudioError) or _is_memory_error(error)):
                raise
            if len(group) > 1:
                groups = [[row] for row in group] + groups
            else:
                row = group[0]
                results[row.index] = replace(results[row.index], error=_reason(error))
            continue
        seconds = (time.perf_counter() - start) / len(group)
        chances = output.probabilities
        for position, row in enumerate(group):
            times[row.index] = seconds
            results[row.index] = replace(
                results[row.index],
                prediction=output.texts[position],
                nfe=output.nfe[position],
                tokens=output.tokens[position],
                probabilities=None if chances is None else chances[position],
            )
    clocked = [Timing(row.identifier, times.get(row.index), len(batch)) for row in batch]
    return [results[row.index] for row in batch], clocked


def _ask(group: list[_Row], predictor: Predictor | Chooser, seed: int) -> Predictions:
    audio = [row.audio for row in group if row.audio is not None]
    prompts = [row.prompt for row in group]
    if isinstance(predictor, Chooser):
        return predictor.choose(audio, prompts, [row.choices for row in group])
    return predictor(audio, prompts, [_row_seed(seed, row.identifier) for row in group])


def _row_seed(seed: int, identifier: str) -> int:
    """63 bits that depend on nothing but the run's seed and the row."""
    digest = hashlib.sha256(f"{seed}:{identifier}".encode()).digest()
    return int.from_bytes(digest[:8], "big") >> 1
