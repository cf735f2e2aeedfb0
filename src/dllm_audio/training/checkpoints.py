"""Checkpoint folders that are whole or not there, and recognized when they are damaged.

A checkpoint is written into a hidden folder; its manifest, which lists every file with size and
checksum, comes last; then the folder gets its name.  A run killed at any moment leaves the
checkpoints before it untouched and at most a hidden folder, which the next run removes.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ..errors import CheckpointError
from ..files import flush, read_json

logger = logging.getLogger(__name__)

MANIFEST = "manifest.json"
_NAME = re.compile(r"checkpoint-(\d+)")
_PARTIAL = ".partial-"
_BLOCK = 1 << 20


def write_manifest(folder: Path) -> None:
    """List every file of a finished folder; after this it counts as whole."""
    files = {
        str(path.relative_to(folder)): {"size": path.stat().st_size, "sha256": _checksum(path)}
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }
    path = folder / MANIFEST
    path.write_text(json.dumps({"files": files}, indent=1), encoding="utf-8")
    flush(path)


def fault(folder: Path) -> str | None:
    """Why a checkpoint cannot be used, or None where it is whole."""
    if not (folder / MANIFEST).exists():
        return f"{MANIFEST} is missing, so it was not written to the end"
    try:
        files = read_json(folder / MANIFEST)["files"]
        entries = {name: (entry["size"], entry["sha256"]) for name, entry in files.items()}
    except (CheckpointError, KeyError, TypeError, AttributeError) as error:
        return f"{MANIFEST} is damaged ({error})"
    for name, (size, checksum) in entries.items():
        path = folder / name
        if not path.is_file():
            return f"{name} is missing"
        if path.stat().st_size != size:
            return f"{name} has {path.stat().st_size} bytes instead of {size}"
        if _checksum(path) != checksum:
            return f"{name} does not match its checksum"
    return None


def numbered_checkpoints(directory: Path) -> list[tuple[int, Path]]:
    """Step and folder of every checkpoint, the latest first."""
    if not directory.is_dir():
        return []
    found = [
        (int(match[1]), path)
        for path in directory.iterdir()
        if path.is_dir() and (match := _NAME.fullmatch(path.name))
    ]
    return sorted(found, reverse=True)


def last_good_checkpoint(directory: str | Path) -> Path | None:
    """The latest whole checkpoint of a run; a warning names each one that is passed over.

    Args:
        directory: output folder of the run.

    Returns:
        The folder, or None where the run has not saved anything yet.

    Raises:
        CheckpointError: there are checkpoints, but not one of them is whole.
    """
    candidates = numbered_checkpoints(Path(directory))
    faults = []
    for _, folder in candidates:
        reason = fault(folder)
        if reason is None:
            return folder
        faults.append(f"{folder}: {reason}")
        logger.warning("damaged checkpoint passed over: %s", faults[-1])
    if faults:
        lines = "\n".join(faults)
        raise CheckpointError(
            f"{directory}: no checkpoint can be used; remove them to start anew:\n{lines}"
        )
    return None


def staging_folder(folder: Path) -> Path:
    """Where a checkpoint is written before it gets its name."""
    return folder.with_name(_PARTIAL + folder.name)


@contextmanager
def writing(folder: Path) -> Iterator[Path]:
    """A scratch folder that becomes ``folder``, with a manifest, once the block is done.

    Raises:
        OSError: the disk is full or refuses to be written to; nothing is left of the attempt.
    """
    staging = staging_folder(folder)
    shutil.rmtree(staging, ignore_errors=True)
    try:
        staging.mkdir(parents=True)
        yield staging
        _publish(staging, folder)
    except Exception:
        shutil.rmtree(staging, ignore_errors=True)  # a full disk gets its room back
        raise


def _publish(staging: Path, folder: Path) -> None:
    """Give a finished folder its name, in one step."""
    for path in staging.rglob("*"):
        if path.is_file():
            flush(path)
    write_manifest(staging)
    if folder.exists():  # a damaged one of the same step
        shutil.rmtree(folder)
    os.replace(staging, folder)
    flush(folder.parent)


def remove_leftovers(directory: str | Path) -> None:
    """Remove what an interrupted run had not finished writing."""
    for path in Path(directory).glob(f"{_PARTIAL}*"):
        shutil.rmtree(path, ignore_errors=True)


def remove_old(directory: Path, keep: int | None) -> None:
    """Keep the latest ``keep`` checkpoints (None keeps all)."""
    if keep is None or keep < 1:
        return
    for _, folder in numbered_checkpoints(directory)[keep:]:
        # Renamed first, so that a kill in the middle leaves no half checkpoint with a good name.
        doomed = staging_folder(folder)
        os.replace(folder, doomed)
        shutil.rmtree(doomed, ignore_errors=True)


def _checksum(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(_BLOCK):
            digest.update(block)
    return digest.hexdigest()
