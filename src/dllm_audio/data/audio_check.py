"""Find unreadable audio before a run starts, and learn the clips' lengths on the way.

A clip that turns out unreadable in the middle of a distributed run can neither be dropped (the
other processes would see another batch) nor be passed over in silence.  So audio is decoded once
in front of the run; the result is kept in an index file, and later runs read that.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Iterator, Sequence
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from tqdm.auto import tqdm

from ..audio import load_audio
from ..errors import AudioError, DataError, InvalidArgumentError, one_line
from .dataset import RecordDataset
from .features import content_key
from .journal import Journal

logger = logging.getLogger(__name__)

_RATE = 16_000
# Clips that wait for the threads at a time: enough to keep them busy, few enough to hold.
_BLOCK = 256


@dataclass(frozen=True, slots=True)
class CheckedAudio:
    """What is left after the check.

    Attributes:
        dataset: the records whose audio can be read.
        positions: their indices in the data set that was checked.
        durations: seconds of each of them, in the same order.
        unreadable: row number of every record that was dropped, with the reason.
    """

    dataset: RecordDataset
    positions: list[int]
    durations: list[float]
    unreadable: dict[int, str]


def check_audio(
    dataset: RecordDataset,
    *,
    on_unreadable: str = "raise",
    max_seconds: float | None = None,
    index: str | Path | None = None,
    progress: bool = True,
) -> CheckedAudio:
    """Decode every clip once, in several threads.

    Args:
        dataset: records with audio.
        on_unreadable: ``"raise"`` ends with an error that lists the clips; ``"skip"`` drops them
            with a warning each.
        max_seconds: longer clips count as unreadable; None allows any length.
        index: JSON Lines file that remembers files by path, size and time of change, and clips in
            memory by content; grows while the check runs, so that an interrupted check goes on
            where it stopped.
        progress: show a bar.

    Raises:
        DataError: unreadable clips under ``"raise"``, nothing readable, or no rows at all.
    """
    if on_unreadable not in ("raise", "skip"):
        raise InvalidArgumentError("on_unreadable", "'raise' or 'skip'", on_unreadable)
    if not len(dataset):
        raise DataError(f"{dataset.source}: expected one row or more, got none")
    known = _Index(index)
    kept, durations, unreadable = [], [], {}
    bar = tqdm(total=len(dataset), desc="audio", unit="clip", disable=not progress)
    with bar, ThreadPoolExecutor() as pool:
        for start in range(0, len(dataset), _BLOCK):
            positions = range(start, min(start + _BLOCK, len(dataset)))
            records = [dataset[position] for position in positions]
            found = known.look_up([record.audio for record in records], pool)
            for position, record, (seconds, reason) in zip(positions, records, found, strict=True):
                if reason is None and max_seconds is not None and seconds > max_seconds:
                    reason = f"{seconds:.2f} s long, at most {max_seconds:g} s allowed"
                if reason is None:
                    kept.append(position)
                    durations.append(seconds)
                else:
                    unreadable[record.row] = reason
                bar.update()
    if unreadable:
        lines = [
            f"{dataset.source}, row {row - dataset.first_row}: {why}"
            for row, why in unreadable.items()
        ]
        if on_unreadable == "raise" or not kept:
            count = f"{len(unreadable)} of {len(dataset)} clips cannot be used"
            raise DataError(f"{count}:\n" + "\n".join(lines))
        for line in lines:
            logger.warning("skipped: %s", line)
    return CheckedAudio(dataset.select(kept), kept, durations, unreadable)


class _Index:
    """Lengths and faults of clips that were decoded before."""

    def __init__(self, path: str | Path | None) -> None:
        self.journal = Journal(path)

    def look_up(
        self, sources: Sequence[object], pool: Executor
    ) -> Iterator[tuple[float, str | None]]:
        """Seconds of each clip, and the reason why it cannot be used (or None)."""
        pending: dict[str, Future[tuple[float, str | None]]] = {}
        found: list[str | Future[tuple[float, str | None]]] = []
        for key, source in zip(pool.map(_key, sources), sources, strict=True):
            if key is None:
                found.append(pool.submit(_decode, source))
                continue
            # Rows often share a clip: it is decoded once.
            if self.journal.get(key) is None and key not in pending:
                pending[key] = pool.submit(_decode, source)
            found.append(key)
        for each in found:
            if isinstance(each, Future):
                yield each.result()
                continue
            if each in pending:
                seconds, reason = pending.pop(each).result()
                self.journal[each] = {"seconds": seconds, "reason": reason}
            known = self.journal.get(each)
            yield known["seconds"], known["reason"]


def _key(source: object) -> str | None:
    """What the index calls a clip: files by their status, which is faster than their content."""
    if isinstance(source, bytes | tuple):
        try:
            return content_key(source)
        except (TypeError, ValueError, RuntimeError):  # an array that torch cannot take
            return None
    if not isinstance(source, str):
        return None
    try:
        status = Path(source).stat()
    except (OSError, ValueError):
        return None
    text = f"{Path(source).resolve()}\0{status.st_size}\0{status.st_mtime_ns}"
    return hashlib.sha256(text.encode()).hexdigest()


def _decode(source: object) -> tuple[float, str | None]:
    try:
        return len(load_audio(source, _RATE)) / _RATE, None  # type: ignore[arg-type]
    except (AudioError, InvalidArgumentError) as error:
        return 0.0, one_line(error)
