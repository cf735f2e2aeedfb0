"""Reading text and JSON of strangers with bounds.

Regular files only, of bounded size, depth and digits: no file can hang a program, fill its memory
or end it with an error that does not name the file.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from itertools import count
from pathlib import Path
from typing import Any, BinaryIO

from ..errors import CheckpointError, DataError
from .parsing import ErrorType, parse_json

MAX_JSON_BYTES = 64 * 2**20  # of a configuration, and of a line of JSON Lines


def open_regular(path: str | Path, error: ErrorType = DataError) -> BinaryIO:
    """Open a file for reading, but no pipe, device or folder: those may never end.

    Raises:
        DllmAudioError: of the type ``error``; there is no such file, or it cannot be opened.
    """
    try:
        handle = os.open(path, os.O_RDONLY | os.O_NONBLOCK)  # a pipe is opened without waiting
    except FileNotFoundError as cause:
        raise error(f"{path}: there is no such file") from cause
    except (OSError, ValueError) as cause:  # ValueError: a zero byte in the name
        raise error(f"{path}: cannot be opened ({cause})") from cause
    if not stat.S_ISREG(os.fstat(handle).st_mode):
        os.close(handle)
        raise error(f"{path}: expected a regular file, got a folder, a pipe or a device")
    return os.fdopen(handle, "rb")


def read_text(
    path: str | Path, error: ErrorType = DataError, max_bytes: int = MAX_JSON_BYTES
) -> str:
    """The text of a UTF-8 file, with or without a byte order mark; line ends stay as they are.

    Raises:
        DllmAudioError: of the type ``error``; missing, no regular file, too large or not UTF-8.
    """
    with open_regular(path, error) as file:
        try:
            data = file.read(max_bytes + 1)
        except OSError as cause:
            raise error(f"{path}: cannot be read ({cause})") from cause
    if len(data) > max_bytes:
        raise error(f"{path}: larger than {max_bytes} bytes")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as cause:
        line = data.count(b"\n", 0, cause.start) + 1
        raise error(f"{path}, line {line}: not UTF-8 ({cause})") from cause


def read_json(path: str | Path, error: ErrorType = CheckpointError) -> dict[str, Any]:
    """The JSON object in a file.

    Raises:
        DllmAudioError: of the type ``error``; as :func:`read_text` and :func:`parse_json`, or the
            file holds something else than an object.
    """
    return _object(parse_json(read_text(path, error), str(path), error), str(path), error)


def read_json_lines(
    path: str | Path,
    error: ErrorType = DataError,
    *,
    skip_damaged: bool = False,
    skip_unended: bool = False,
) -> Iterator[tuple[int, dict[str, Any]]]:
    """The objects of a JSON Lines file one by one, whatever the file's length.

    Only a newline ends a line: JSON texts may hold U+2028, U+2029 and U+0085 as they are.

    Args:
        path: the file.
        error: type of what is raised.
        skip_damaged: pass over lines that are no JSON object.
        skip_unended: pass over a last line without newline, which was torn as it was written.

    Yields:
        The number of the line, from 1, and the object; blank lines are left out.

    Raises:
        DllmAudioError: of the type ``error``; names the file and the line.
    """
    with open_regular(path, error) as file:
        for number in count(1):
            where = f"{path}, line {number}"
            try:
                line = file.readline(MAX_JSON_BYTES + 1)
            except OSError as cause:
                raise error(f"{where}: cannot be read ({cause})") from cause
            if len(line) > MAX_JSON_BYTES:
                raise error(f"{where}: longer than {MAX_JSON_BYTES} bytes")
            if not line or (skip_unended and not line.endswith(b"\n")):
                return
            try:
                text = _decode(line, where, error)
                found = (
                    _object(parse_json(text, where, error), where, error) if text.strip() else None
                )
            except error:
                if not skip_damaged:
                    raise
                continue
            if found is not None:
                yield number, found


def _decode(data: bytes, source: str, error: ErrorType) -> str:
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as cause:
        raise error(f"{source}: not UTF-8 ({cause})") from cause


def _object(value: Any, source: str, error: ErrorType) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise error(f"{source}: expected a JSON object, got {type(value).__name__}")
    return value
