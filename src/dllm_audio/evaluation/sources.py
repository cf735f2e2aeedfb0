"""Rows of a benchmark, from local files or from a hub data set.

Audio is never decoded here: a row's audio is handed on as a path or as undecoded bytes, so that
one loader (``dllm_audio.load_audio``) judges every file.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import DataError
from ..files import read_rows
from .scoring import Row

if TYPE_CHECKING:  # loads torch, which the definitions here do without
    from ..protocols import AudioSource

# In the order in which they are looked for.
AUDIO_FIELDS = ("audio", "audio_path", "audio_filepath", "audio_id", "path", "file")
_HUB_ID = re.compile(r"^[\w.-]+/[\w.-]+$")
_SUFFIXES = (".json", ".jsonl", ".csv", ".tsv")


@dataclass(frozen=True, slots=True)
class HubDataset:
    """Where a benchmark is published on the hub.

    Attributes:
        path: ``owner/name``.
        config: name of the configuration; None: the default one.
        split: name of the split.
        revision: branch, tag or commit; None: the newest.
    """

    path: str
    config: str | None = None
    split: str = "test"
    revision: str | None = None


@dataclass(frozen=True)
class Source:
    """Rows, and where they come from.

    Attributes:
        rows: the rows; indexing one may read its audio bytes.
        facts: the same rows without audio, cheap to go through.
        root: folder that relative audio paths start from; None where there is none.
        description: the file, folder or data set, with its split.
        revision: the commit of a hub data set, or a checksum of a local file.
    """

    rows: Sequence[Row]
    facts: Sequence[Row]
    root: Path | None
    description: str
    revision: str
    audio_fields: tuple[str, ...] = field(default=AUDIO_FIELDS)

    def audio(self, index: int) -> AudioSource:
        """What ``load_audio`` needs to read the audio of a row.

        Raises:
            DataError: the row has no audio in any known form.
        """
        row = self.rows[index]
        for name in self.audio_fields:
            if row.get(name) is not None:
                return _audio_source(row[name], self.root, f"row {index}, field {name!r}")
        raise DataError(
            f"row {index}: expected audio in one of {', '.join(self.audio_fields)}, "
            f"got fields {', '.join(row):.200}"
        )


def _audio_source(value: Any, root: Path | None, where: str) -> AudioSource:
    if isinstance(value, bytes):
        return value
    if isinstance(value, str | Path):
        path = Path(value)
        return path if root is None or path.is_absolute() else root / path
    if isinstance(value, Mapping):
        if value.get("bytes") is not None:
            return value["bytes"]
        if value.get("array") is not None and value.get("sampling_rate"):
            return value["array"], value["sampling_rate"]
        if value.get("path"):
            return _audio_source(value["path"], root, where)
    raise DataError(
        f"{where}: expected a path, bytes, or a record with bytes, path or array, "
        f"got {type(value).__name__}"
    )


def rows_source(rows: Sequence[Row], description: str, root: Path | None = None) -> Source:
    """A source of rows that are already in memory.

    Example:
        >>> source = rows_source([{"id": "1", "audio": "a.wav"}], "two lines", Path("/data"))
        >>> source.audio(0).as_posix()
        '/data/a.wav'
    """
    text = json.dumps(list(rows), sort_keys=True, default=repr)
    return Source(rows, rows, root, description, _checksum(text.encode()))


def open_source(
    location: str | Path | HubDataset,
    *,
    audio_root: str | Path | None = None,
    split: str | None = None,
) -> Source:
    """Open local files or a hub data set.

    Args:
        location: a ``.json`` (a list of rows), ``.jsonl``, ``.csv``, ``.tsv`` or ``.parquet``
            file; a folder written by ``datasets``; or a data set on the hub.
        audio_root: folder that relative audio paths start from; None: the file's own folder.
        split: replaces the split of a hub data set.

    Raises:
        DataError: nothing is there, or it does not hold rows; the message names the place.
        MissingDependencyError: ``datasets`` is needed and missing.
    """
    if isinstance(location, str) and not Path(location).exists() and _HUB_ID.match(location):
        location = HubDataset(location)
    if isinstance(location, HubDataset):
        return _hub_source(location, split)
    path = Path(location)
    if not path.exists():
        raise DataError(f"{path}: expected a file, a folder or a hub data set (owner/name)")
    if path.is_dir() or path.suffix == ".parquet":
        return _arrow_source(path, audio_root, split)
    if path.suffix not in _SUFFIXES:
        raise DataError(f"{path}: expected {', '.join(_SUFFIXES)} or .parquet")
    rows = read_rows(path)
    if not rows:
        raise DataError(f"{path}: holds no rows")
    root = Path(audio_root) if audio_root is not None else path.parent
    return Source(rows, rows, root, str(path), _checksum(path.read_bytes()))


def _checksum(data: bytes) -> str:
    return "sha256:" + hashlib.sha256(data).hexdigest()[:16]


def _arrow_source(path: Path, audio_root: str | Path | None, split: str | None) -> Source:
    from ..data import read_arrow

    root = Path(audio_root) if audio_root is not None else path if path.is_dir() else path.parent
    # pyarrow's own fingerprint changes with the process; the rows' names and count do not.
    return _undecoded(read_arrow(path, split=split), root, str(path), _folder_checksum(path))


def _hub_source(hub: HubDataset, split: str | None) -> Source:
    from ..data import read_arrow

    split = split or hub.split
    description = f"{hub.path} ({hub.config + ', ' if hub.config else ''}{split})"
    found = read_arrow(hub.path, name=hub.config, split=split, revision=hub.revision)
    return _undecoded(found, None, description, _commit(found, hub))


def _undecoded(dataset: Any, root: Path | None, description: str, revision: str) -> Source:
    from ..data import ArrowRows

    rows = ArrowRows(dataset, description)
    if not len(rows):
        raise DataError(f"{description}: holds no rows")
    fields = tuple(dict.fromkeys([*rows.audio_columns, *AUDIO_FIELDS]))
    return Source(rows, rows.without_audio(), root, description, revision, fields)


def _folder_checksum(path: Path) -> str:
    """Checksum of the names and sizes of the files: cheap, and changes with the data."""
    files = sorted(path.rglob("*")) if path.is_dir() else [path]
    listing = [(f.relative_to(path.parent).as_posix(), f.stat().st_size) for f in files]
    return _checksum(json.dumps(listing).encode())


def _commit(dataset: Any, hub: HubDataset) -> str:
    """The commit that the data came from, as the downloaded files' addresses state it."""
    checksums = (dataset.info.download_checksums or {}) if dataset.info else {}
    for address in checksums:
        match = re.search(r"@([0-9a-f]{40})/", address)
        if match:
            return match.group(1)
    return hub.revision or "unknown"
