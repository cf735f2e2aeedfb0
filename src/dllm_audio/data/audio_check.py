"""Find unreadable audio before a run starts, and learn the clips' lengths on the way.

A clip that turns out unreadable in the middle of a distributed run can neither be dropped (the
other processes would see another batch) nor be passed over in silence.  So audio is decoded once
in front of the run; the result is kept in an index file, and later runs read that.
"""

from __future__ import annotations

import hashlib
import logging
from dataclasses import dataclass
from pathlib import Path

from tqdm.auto import tqdm

from ..audio import load_audio
from ..errors import AudioError, DataError, InvalidArgumentError
from .dataset import RecordDataset
from .journal import Journal

logger = logging.getLogger(__name__)

_RATE = 16_000


@dataclass(frozen=True, slots=True)
class CheckedAudio:
    """What is left after the check.

    Attributes:
        dataset: the records whose audio can be read.
        durations: seconds of each of them, in the same order.
        unreadable: row number of every record that was dropped, with the reason.
    """

    dataset: RecordDataset
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
    """Decode every clip once.

    Args:
        dataset: records with audio.
        on_unreadable: ``"raise"`` ends with an error that lists the clips; ``"skip"`` drops them
            with a warning each.
        max_seconds: longer clips count as unreadable; None allows any length.
        index: JSON Lines file that remembers clips by path, size and time of change; grows while
            the check runs, so that an interrupted check goes on where it stopped.
        progress: show a bar.

    Raises:
        DataError: unreadable clips under ``"raise"``, or nothing readable at all.
    """
    if on_unreadable not in ("raise", "skip"):
        raise InvalidArgumentError("on_unreadable", "'raise' or 'skip'", on_unreadable)
    known = _Index(index)
    kept, durations, unreadable = [], [], {}
    for position in tqdm(range(len(dataset)), desc="audio", unit="clip", disable=not progress):
        record = dataset[position]
        seconds, reason = known.look_up(record.audio)
        if reason is None and max_seconds is not None and seconds > max_seconds:
            reason = f"{seconds:.2f} s long, at most {max_seconds:g} s allowed"
        if reason is None:
            kept.append(position)
            durations.append(seconds)
        else:
            unreadable[record.row] = reason
    if unreadable:
        lines = [f"{dataset.source}, row {row}: {why}" for row, why in unreadable.items()]
        if on_unreadable == "raise" or not kept:
            count = f"{len(unreadable)} of {len(dataset)} clips cannot be used"
            raise DataError(f"{count}:\n" + "\n".join(lines))
        for line in lines:
            logger.warning("skipped: %s", line)
    return CheckedAudio(dataset.select(kept), durations, unreadable)


class _Index:
    """Lengths and faults of files that were decoded before."""

    def __init__(self, path: str | Path | None) -> None:
        self.journal = Journal(path)

    def look_up(self, source: object) -> tuple[float, str | None]:
        """Seconds, and the reason why the clip cannot be used (or None)."""
        key = self._key(source)
        known = None if key is None else self.journal.get(key)
        if known is not None:
            return known["seconds"], known["reason"]
        seconds, reason = _decode(source)
        if key is not None:
            self.journal[key] = {"seconds": seconds, "reason": reason}
        return seconds, reason

    @staticmethod
    def _key(source: object) -> str | None:
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
    except AudioError as error:
        return 0.0, str(error)
