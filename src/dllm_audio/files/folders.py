"""Replace the files of a saved model so that one whole model can be read at every moment."""

from __future__ import annotations

import os
import re
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ..errors import CheckpointError
from .writing import flush, naming_file

_COMMITTED, _SCRATCH = ".saved", ".saving-"


def current_folder(directory: str | Path) -> Path:
    """Where the files of a saved model are: in the folder, or waiting to be moved there."""
    committed = Path(directory) / _COMMITTED
    return committed if committed.is_dir() else Path(directory)


@contextmanager
def replace_files(directory: str | Path, outdated: re.Pattern[str]) -> Iterator[Path]:
    """A scratch folder whose files replace those of ``directory`` once the block is done.

    The new files are written to a folder inside the target, which is then renamed to ``.saved``:
    from that moment it is the model that is read.  Only after it do the files go to their usual
    names and ``.saved`` away.  A crash before the rename leaves the old model, a crash after it
    the new one; the next save finishes or clears what a crash left.

    Args:
        directory: made when it does not exist.
        outdated: names of files that go when they are not among the new ones; all others stay.

    Raises:
        CheckpointError: writing failed; the old files are all still there.
    """
    target = Path(directory)
    try:
        target.mkdir(parents=True, exist_ok=True)
        _recover(target, outdated)
        scratch = Path(tempfile.mkdtemp(dir=target, prefix=_SCRATCH))
    except OSError as error:
        raise CheckpointError(f"{target}: cannot be written to ({error})") from error
    try:
        with naming_file(target):
            yield scratch
            for path in scratch.iterdir():
                flush(path)
            flush(scratch)
            scratch.rename(target / _COMMITTED)
    except OSError as error:
        message = f"{target}: not saved, what it held before is unchanged ({error})"
        raise CheckpointError(message) from error
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    try:
        _publish(target, outdated)
    except OSError as error:
        message = f"{target}: saved, but its files wait in {_COMMITTED} for the next save ({error})"
        raise CheckpointError(message) from error


def _recover(target: Path, outdated: re.Pattern[str]) -> None:
    """Finish a save that was interrupted after its commit, and clear what others left."""
    if (target / _COMMITTED).is_dir():
        _publish(target, outdated)
    for left in target.glob(f"{_SCRATCH}*"):
        shutil.rmtree(left, ignore_errors=True)


def _publish(target: Path, outdated: re.Pattern[str]) -> None:
    """Give the committed files their usual names, then drop the committed folder."""
    committed = target / _COMMITTED
    names = {path.name for path in committed.iterdir() if path.is_file()}
    work = Path(tempfile.mkdtemp(dir=target, prefix=_SCRATCH))
    for name in sorted(names):
        try:
            os.link(committed / name, work / name)
        except OSError:  # a file system without links
            shutil.copyfile(committed / name, work / name)
        # Renaming one hard link over another of the same file would do nothing.
        (target / name).unlink(missing_ok=True)
        os.replace(work / name, target / name)
    for path in list(target.iterdir()):
        if path.name not in names and outdated.fullmatch(path.name):
            path.unlink()
    os.replace(committed, work / _COMMITTED)  # gone at once, not file by file
    shutil.rmtree(work)
