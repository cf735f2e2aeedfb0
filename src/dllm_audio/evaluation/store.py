"""What a run leaves in its folder, safe against being killed at any moment.

- ``run.json``: settings that must stay the same, and one entry for every start;
- ``shards/{results,timings}-RANK-of-WORLD.jsonl``: what each process has done so far;
- ``results.jsonl`` and ``timings.jsonl``: everything, in the order of the data, when complete.

Predictions and times are kept apart, so that a run that was killed and resumed ends with exactly
the ``results.jsonl`` of an undisturbed one.  Lines are appended with an id and synced; a torn last
line is cut off on opening, and a line that was damaged since counts as never written: its row is
answered again.
"""

from __future__ import annotations

import fcntl
import math
import os
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from types import NoneType, TracebackType
from typing import ClassVar, Generic, TypeVar

from ..errors import DataError, InvalidArgumentError
from ..files import json_line, open_regular, read_json_lines, write_text
from ..files.writing import naming_file
from .questions import Task

_NUMBER = (int, float)


class _Record:
    """Refuses values of the wrong types, as a damaged file may hold them."""

    types: ClassVar[Mapping[str, tuple[type, ...]]]

    def __post_init__(self) -> None:
        for name, types in self.types.items():
            value = getattr(self, name)
            infinite = isinstance(value, float) and not math.isfinite(value)
            if not isinstance(value, types) or isinstance(value, bool) or infinite:
                expected = " or ".join(each.__name__ for each in types)
                raise InvalidArgumentError(name, expected, repr(value))


@dataclass(frozen=True)
class Result(_Record):
    """What became of one row; a line of ``results.jsonl``.

    Attributes:
        id: of the question.
        prediction: the answer; None where there is none.
        error: why there is none, in one line.
        nfe: forward passes of the backbone that the row took part in.
        tokens: response tokens that were decoded.
        audio_seconds: of what was heard; None where the audio could not be read.
        cut_seconds: of what lies beyond the encoder's window.
        probabilities: of the answers that the model chose among; None where it wrote its own.
    """

    types: ClassVar = {
        "id": (str,), "prediction": (str, NoneType), "error": (str, NoneType),
        "nfe": (int, NoneType), "tokens": (int, NoneType),
        "audio_seconds": (*_NUMBER, NoneType), "cut_seconds": _NUMBER,
        "probabilities": (dict, NoneType),
    }  # fmt: skip

    id: str
    prediction: str | None = None
    error: str | None = None
    nfe: int | None = None
    tokens: int | None = None
    audio_seconds: float | None = None
    cut_seconds: float = 0.0
    probabilities: dict[str, float] | None = None


@dataclass(frozen=True)
class Timing(_Record):
    """How long one row took; a line of ``timings.jsonl``.

    Attributes:
        id: of the question.
        seconds: its share of its batch; None where it was not answered.
        batch_size: rows of its batch; None where its line was lost.
    """

    types: ClassVar = {"id": (str,), "seconds": (*_NUMBER, NoneType), "batch_size": (int, NoneType)}

    id: str
    seconds: float | None = None
    batch_size: int | None = None


Record = TypeVar("Record", Result, Timing)


def read_records(path: Path, kind: type[Record]) -> list[Record]:
    """All whole records of a file; a missing file is empty.

    A torn last line is left out, and so is a damaged one, with a warning that names the line.

    Raises:
        DataError: an id occurs twice, or the file cannot be read.
    """
    found: dict[str, Record] = {}
    whole: set[int] = set()
    if not path.exists():
        return []
    names = {field.name for field in fields(kind)}
    for number, values in read_json_lines(path, skip_damaged=True, skip_unended=True):
        if set(values) != names:
            continue
        try:
            record = kind(**values)
        except InvalidArgumentError:
            continue
        if record.id in found:
            raise DataError(f"{path}, line {number}: the id {record.id!r:.80} occurs twice")
        found[record.id] = record
        whole.add(number)
    # Those behind the last whole line are torn, or being written by another process.
    for number in sorted(set(range(1, max(whole, default=0))) - whole):
        warnings.warn(f"{path}, line {number}: damaged, and left out", stacklevel=2)
    return list(found.values())


class RecordFile(Generic[Record]):
    """A file of records that one process appends to.

    Opening it cuts off a torn last line and locks the file, so that two runs cannot mix their
    results; the lock ends with the process, however it ends.

    Args:
        path: the file; made when it does not exist.
        kind: what it holds.

    Raises:
        DataError: an id occurs twice, another process has the file open, or it is no file.

    Example:
        >>> import tempfile
        >>> path = Path(tempfile.mkdtemp()) / "timings.jsonl"
        >>> with RecordFile(path, Timing) as file:
        ...     file.append([Timing("1", 0.5, batch_size=1)])
        >>> read_records(path, Timing)
        [Timing(id='1', seconds=0.5, batch_size=1)]
    """

    def __init__(self, path: Path, kind: type[Record]) -> None:
        self.path = path
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.exists():
            open_regular(path).close()  # a folder, a pipe or a device is refused
        self._file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o644)
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            os.close(self._file)
            raise DataError(f"{path}: another process is writing to it") from error
        data = path.read_bytes()
        os.ftruncate(self._file, data.rfind(b"\n") + 1)
        try:
            self.records: list[Record] = read_records(path, kind)
        except DataError:
            os.close(self._file)
            raise

    def append(self, records: Sequence[Record]) -> None:
        """Write records and wait until they are on the disk.

        Raises:
            OSError: names the file; what was written in part is cut off when it is next opened.
        """
        data = "".join(json_line(asdict(record)) for record in records).encode()
        with naming_file(self.path):
            while data:
                data = data[os.write(self._file, data) :]
            os.fsync(self._file)

    def close(self) -> None:
        """Close the file and give up the lock."""
        os.close(self._file)

    def __enter__(self) -> RecordFile[Record]:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


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


def shard_results(folder: Path) -> list[Result]:
    """Results of all processes so far."""
    return _shard_records(folder, "results", Result)


def merge_shards(task: Task, folder: Path) -> tuple[list[Result], list[Timing]]:
    """Join the files of all processes into ``results.jsonl`` and ``timings.jsonl``.

    Returns:
        Results and times in the order of the data; empty times where a line was lost.

    Raises:
        DataError: rows are missing (their number is stated) or answered twice.
    """
    answered: dict[str, Result] = {}
    for result in shard_results(folder):
        if result.id in answered:
            raise DataError(f"{folder}: the row {result.id!r:.80} was answered twice")
        answered[result.id] = result
    missing = sum(item.id not in answered for item in task.items)
    if missing:
        raise DataError(
            f"{folder}: {missing} of {len(task.items)} rows have no result yet; "
            "run the same command again to go on"
        )
    timed = {timing.id: timing for timing in _shard_records(folder, "timings", Timing)}
    results = [answered[item.id] for item in task.items]
    timings = [timed.get(item.id, Timing(item.id)) for item in task.items]
    _write_records(folder / "timings.jsonl", timings)
    _write_records(folder / "results.jsonl", results)
    return results, timings


def _shard_records(folder: Path, name: str, kind: type[Record]) -> list[Record]:
    paths = sorted((folder / "shards").glob(f"{name}-*-of-*.jsonl"))
    return [record for path in paths for record in read_records(path, kind)]


def _write_records(path: Path, records: Sequence[Record]) -> None:
    write_text(path, "".join(json_line(asdict(record)) for record in records))
