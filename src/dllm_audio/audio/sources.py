"""Any file-like source of sound as bytes with random access, in bounded memory."""

from __future__ import annotations

import io
import os
import re
import stat
import tempfile
import time
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO

from ..errors import AudioDecodeError, InvalidArgumentError
from .byte_view import ByteView

_SPOOLED_IN_MEMORY = 1 << 26  # bytes of a pipe that are kept in memory; more go to a file
_SPOOLED_MOST = 1 << 33  # a pipe that never ends must not fill the disk
_PIECE = 1 << 20
_FIFO_WAIT_SECONDS = 2.0  # how long a FIFO that nobody writes to is waited for
_URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+:/{1,2}[^/]")


class OpenSource:
    """An open source: what to call it in errors, and its bytes.

    Args:
        source: a path, bytes, or a binary file object, read from where it stands.

    Raises:
        AudioDecodeError: it cannot be read, or is no file.
        InvalidArgumentError: it is nothing of these.
    """

    def __init__(self, source: object) -> None:
        self._own: BinaryIO | None = None  # what has to be closed in the end
        if isinstance(source, bytes | bytearray | memoryview):
            self.name = "source"
            file: Any = io.BytesIO(source)
        elif isinstance(source, str | os.PathLike):
            self.name = str(Path(source))
            file = self._own = _open_path(source, self.name)
        elif hasattr(source, "read"):
            self.name = _name_of(source)
            file = source
        else:
            raise InvalidArgumentError(
                "source", "a path, bytes, a binary file object or (array, rate)", type(source)
            )
        try:
            if (extent := _extent(file)) is None:
                file, extent = self._spool(file)
        except BaseException:
            self.close()
            raise
        self.view = ByteView(file, *extent)

    def __enter__(self) -> OpenSource:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def __del__(self) -> None:
        with suppress(AttributeError):  # of a source that could not be opened
            self.close()

    def close(self) -> None:
        """Close what was opened here; the caller's own file stays open."""
        if self._own is not None:
            self._own.close()

    def _spool(self, file: Any) -> tuple[BinaryIO, tuple[int, int]]:
        """All that a pipe gives; what does not fit the memory's share lies in a file."""
        spool: Any = tempfile.SpooledTemporaryFile(_SPOOLED_IN_MEMORY)  # noqa: SIM115
        size = 0
        try:
            while data := file.read(_PIECE):
                if not isinstance(data, bytes):
                    raise InvalidArgumentError("source", "a file opened in binary mode", type(data))
                spool.write(data)
                size += len(data)
                if size > _SPOOLED_MOST:
                    raise AudioDecodeError(
                        f"{self.name}: more than {_SPOOLED_MOST} bytes came and no end; write "
                        "them to a file first"
                    )
        except (OSError, ValueError) as error:  # ValueError: closed, or not text after all
            spool.close()
            if isinstance(error, AudioDecodeError | InvalidArgumentError):
                raise
            raise AudioDecodeError(f"{self.name}: cannot be read ({error})") from error
        self.close()
        self._own = spool
        return spool, (0, size)


def _name_of(file: object) -> str:
    name = getattr(file, "name", None)
    return name if isinstance(name, str) and name else "source"


def _extent(file: Any) -> tuple[int, int] | None:
    """From where a file object stands to its end; None of what cannot go back."""
    try:
        text = isinstance(file.read(0), str)
        start = file.tell()
        file.seek(0, io.SEEK_END)
        stop = file.tell()
        file.seek(start)
    except (OSError, ValueError, TypeError, AttributeError):  # a pipe; gzip files know no end
        return None
    if text:
        raise InvalidArgumentError("source", "a file opened in binary mode", type(file))
    return start, stop


def _open_path(path: Any, name: str) -> BinaryIO:
    if _URL.match(str(path)) and not os.path.exists(path):
        raise AudioDecodeError(f"{path}: is a URL, and only files are read; download it first")
    try:
        # Without blocking, because a FIFO that nobody writes to never opens otherwise.
        handle = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0))
        try:
            mode = os.fstat(handle).st_mode
            if stat.S_ISFIFO(mode):
                return _FirstPiece(_await_writer(handle, name), handle)  # type: ignore[return-value]
            if stat.S_ISDIR(mode):
                raise AudioDecodeError(f"{name}: cannot be read (it is a folder)")
            if not stat.S_ISREG(mode):
                raise AudioDecodeError(f"{name}: cannot be read (it is a device, not a file)")
            return os.fdopen(handle, "rb")
        except BaseException:
            os.close(handle)
            raise
    except (OSError, ValueError) as error:  # ValueError: a null character in the name
        if isinstance(error, AudioDecodeError):
            raise
        raise AudioDecodeError(f"{name}: cannot be read ({error})") from error


def _await_writer(handle: int, name: str) -> bytes:
    """The first bytes of a FIFO that was opened without blocking."""
    deadline = time.monotonic() + _FIFO_WAIT_SECONDS
    while True:
        try:
            data = os.read(handle, _PIECE)
        except BlockingIOError:  # there is a writer, which has not written yet
            os.set_blocking(handle, True)
            return os.read(handle, _PIECE)
        if data:
            os.set_blocking(handle, True)
            return data
        if time.monotonic() > deadline:
            raise AudioDecodeError(f"{name}: cannot be read (it is a FIFO that nobody writes to)")
        time.sleep(0.02)


class _FirstPiece:
    """A pipe of which the first bytes have been read."""

    def __init__(self, first: bytes, handle: int) -> None:
        self._first, self._rest = first, os.fdopen(handle, "rb")

    def read(self, count: int) -> bytes:
        first, self._first = self._first[:count], self._first[count:]
        return first or self._rest.read(count)

    def close(self) -> None:
        self._rest.close()
