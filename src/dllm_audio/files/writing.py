"""Writing files whole or not at all, and appending to JSON Lines.

Readers see the old file or the new one, never half of it, and a failure names the file and leaves
nothing behind.
"""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ..errors import InvalidArgumentError


def json_line(record: Mapping[str, Any]) -> str:
    """One line of JSON with its newline; the same record always gives the same ASCII text.

    Raises:
        InvalidArgumentError: the record holds what JSON cannot.

    Example:
        >>> json_line({"id": "1", "answer": "A"})
        '{"answer": "A", "id": "1"}\\n'
    """
    return _dumps(record, sort_keys=True) + "\n"


def append_json_line(path: str | Path, *records: Mapping[str, Any]) -> None:
    """Append records to a JSON Lines file and wait until they are on the disk.

    A line that an interruption cut short is ended first, so that it spoils no other.

    Raises:
        OSError: names the file.
        InvalidArgumentError: a record holds what JSON cannot; nothing is written.
    """
    data = "".join(map(json_line, records)).encode()
    with naming_file(path):
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        with open(path, "a+b", buffering=0) as file:
            size = file.seek(0, os.SEEK_END)
            if size:
                file.seek(size - 1)
                data = data if file.read(1) == b"\n" else b"\n" + data
            try:
                while data:
                    data = data[file.write(data) :]
                os.fsync(file)
            except OSError:
                file.truncate(size)
                raise


def write_text(path: str | Path, text: str) -> None:
    """Replace a file in one step; its folder is made where it is missing.

    Raises:
        OSError: names the file, which is as it was before.
    """
    with replacing(path) as scratch:
        # What UTF-8 lacks (file names of another encoding) is written as an escape.
        scratch.write_bytes(text.encode("utf-8", "backslashreplace"))


def write_json(path: str | Path, value: Any) -> None:
    """Replace a file by JSON that people can read.

    Raises:
        OSError: names the file, which is as it was before.
        InvalidArgumentError: ``value`` holds what JSON cannot.
    """
    write_text(path, _dumps(value, indent=2, ensure_ascii=False) + "\n")


@contextmanager
def replacing(path: str | Path) -> Iterator[Path]:
    """A path of the same name in a scratch folder; what is written there takes the name at the end.

    Raises:
        OSError: writing failed, whatever the writer raised for it; names the file, which is as it
            was before.
    """
    target = Path(path)
    with naming_file(target):
        target.parent.mkdir(parents=True, exist_ok=True)
        folder = Path(tempfile.mkdtemp(dir=target.parent, prefix=".writing-"))
        try:
            yield folder / target.name
            flush(folder / target.name)
            os.replace(folder / target.name, target)
            flush(target.parent)
        finally:
            shutil.rmtree(folder, ignore_errors=True)


def flush(path: str | Path) -> None:
    """Make sure that a file or folder has reached the disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


@contextmanager
def naming_file(path: str | Path) -> Iterator[None]:
    """Failures of writing become an OSError that names the file."""
    try:
        yield
    except OSError as error:
        if error.errno is None:
            raise OSError(f"{path}: {error}") from error
        raise OSError(error.errno, os.strerror(error.errno), str(path)) from error
    except Exception as error:
        # torch.save and safetensors have errors of their own for a full disk.
        if type(error) is RuntimeError or type(error).__name__ == "SafetensorError":
            raise OSError(f"{path}: cannot be written ({error})") from error
        raise


def _dumps(value: Any, **options: Any) -> str:
    try:
        return json.dumps(value, allow_nan=False, **options)
    except (TypeError, ValueError, RecursionError) as cause:
        raise InvalidArgumentError("value", "what JSON can hold", cause) from cause
