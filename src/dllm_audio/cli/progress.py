"""Bars on standard error: recordings that are done, and seconds heard of the present one."""

from __future__ import annotations

from types import TracebackType

from tqdm import tqdm

from .recordings import Heard


class Progress:
    """How far a command is.

    Args:
        recordings: how many there are.
        shown: False draws nothing; neither does a standard error that is no terminal.
    """

    def __init__(self, recordings: int, *, shown: bool = True) -> None:
        self._hidden = None if shown else True  # None: tqdm asks the terminal
        alone = recordings < 2
        self._files = tqdm(total=recordings, unit="file", disable=True if alone else self._hidden)
        self._seconds: tqdm | None = None

    def heard(self, heard: Heard, total: float | None) -> None:
        """A window of a recording that lasts ``total`` seconds, if that is known."""
        if heard.alone:
            return
        if self._seconds is None:
            length = None if total is None else round(total)
            self._seconds = tqdm(
                total=length, unit="s", desc=heard.recording.name, leave=False, disable=self._hidden
            )
        self._seconds.update(round(heard.window.end) - self._seconds.n)

    def passed(self) -> None:
        """A recording came to its end."""
        if self._seconds is not None:
            self._seconds.close()
            self._seconds = None
        self._files.update()

    def __enter__(self) -> Progress:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._seconds is not None:
            self._seconds.close()
        self._files.close()
