"""Answers in files, safe on the disk while the rest of a recording is heard."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import NoneType
from typing import Any

from ..errors import DataError, InvalidArgumentError
from ..files import append_json_line, read_json_lines, write_text
from .asking import Place
from .recordings import STANDARD_INPUT, Heard, Recording, reason
from .results import Layout, Part
from .terminal import complain

_SUFFIXES = {"text": ".txt", "json": ".json", "srt": ".srt"}
_PARTIAL = ".partial"


class Keeper:
    """Writes one file a recording.

    The answers so far stand in a file beside it, ``NAME.partial``; a run that was interrupted goes
    on from there, if it asks the same of the same file.  What is finished is left alone.

    Args:
        folder: for the files; made where it is missing.
        layout: how they are written.
        names: of all recordings, those of other processes among them.
        asked: all that answers depend on, as JSON values.
        overwrite: write anew what is there.

    Raises:
        InvalidArgumentError: two recordings would have the same file.
    """

    def __init__(
        self,
        folder: str | Path,
        layout: Layout,
        names: Sequence[str],
        asked: Mapping[str, Any],
        *,
        overwrite: bool = False,
    ) -> None:
        self._layout, self._overwrite = layout, overwrite
        self._targets = targets(Path(folder), names, _SUFFIXES[layout.form])
        self._asked = json.loads(json.dumps(asked))  # as it comes back from a file
        self._known: Mapping[Place, Part] = {}

    def begin(self, recording: Recording) -> Mapping[Place, Part] | None:
        """What an earlier run has left; None where it has finished this recording."""
        target = self._targets[recording.name]
        partial = _partial(target)
        if target.exists() and not self._overwrite:
            partial.unlink(missing_ok=True)
            return None
        header = {**self._asked, "file": recording.name, "state": _state(recording.name)}
        self._known = {} if self._overwrite else _read(partial, header)
        if not self._known:
            partial.unlink(missing_ok=True)
            append_json_line(partial, header)
        return self._known

    def part(self, heard: Heard, part: Part) -> None:
        """One more answer, on the disk when this returns."""
        if (part.start, part.end) not in self._known:
            append_json_line(_partial(self._targets[heard.recording.name]), part.to_json())

    def end(self, recording: Recording) -> None:
        """The whole result in one step; of a recording that failed, what there is stays."""
        target = self._targets[recording.name]
        if recording.error is not None:
            complain(reason(recording.name, recording.error))
            if not recording.parts:
                _partial(target).unlink(missing_ok=True)
            return
        write_text(target, self._layout.render(recording) + "\n")
        _partial(target).unlink(missing_ok=True)


def targets(folder: Path, names: Sequence[str], suffix: str) -> dict[str, Path]:
    """Where each result goes; inputs that would share a file keep their folders' names.

    Raises:
        InvalidArgumentError: two of them share it even so.

    Example:
        >>> found = targets(Path("out"), ["a/x.wav", "b/x.wav", "y.wav"], ".txt")
        >>> [path.name for path in found.values()]
        ['a_x.wav.txt', 'b_x.wav.txt', 'y.txt']
    """
    stems = ["stdin" if name == STANDARD_INPUT else Path(name).stem for name in names]
    times = Counter(stems)
    found = {}
    for name, stem in zip(names, stems, strict=True):
        if times[stem] > 1:
            stem = "_".join(part for part in Path(name).parts if part not in ("/", "..", "."))
        found[name] = folder / f"{stem}{suffix}"
    path, count = Counter(found.values()).most_common(1)[0]
    if count > 1:
        alike = [name for name, each in found.items() if each == path]
        raise InvalidArgumentError("inputs", "files whose results get different names", alike)
    return found


def _partial(target: Path) -> Path:
    return target.with_name(target.name + _PARTIAL)


def _state(name: str) -> list[int] | None:
    """What changes when a file does; None where that cannot be known."""
    try:
        found = Path(name).stat()
    except OSError:
        return None
    return [found.st_size, found.st_mtime_ns]


def _read(partial: Path, header: Mapping[str, Any]) -> dict[Place, Part]:
    """Answers of an earlier run that asked the same; damaged lines are asked about again."""
    if header["state"] is None or not partial.is_file():
        return {}
    try:
        records = [record for _, record in read_json_lines(partial, skip_damaged=True)]
    except DataError:  # it cannot be read at all
        return {}
    if not records or records[0] != header:
        return {}
    known = {}
    for record in records[1:]:
        part = _part(record)
        if part is not None:
            known[part.start, part.end] = part
    return known


def _part(record: Mapping[str, Any]) -> Part | None:
    """An answer as it was kept; None where the line holds something else."""
    kinds: dict[str, Any] = {
        "start": float, "end": float, "text": str, "nfe": int,
        "confidence": (float, NoneType), "probabilities": (dict, NoneType),
        "prior": (str, NoneType), "edits": (list, NoneType),
    }  # fmt: skip
    fits = record.keys() <= kinds.keys() and all(
        isinstance(record.get(name), kind) for name, kind in kinds.items()
    )
    return Part(**record) if fits else None
