"""SIGTERM stops the command as Ctrl-C does: what is being written ends whole or not at all."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType


class Terminated(KeyboardInterrupt):
    """Somebody asked this process to end."""


@contextmanager
def stoppable() -> Iterator[None]:
    """Inside, SIGTERM raises ``Terminated``; processes that are forked there end as usual."""
    if threading.current_thread() is not threading.main_thread():  # Python has no handlers there
        yield
        return
    own = os.getpid()

    def stop(number: int, frame: FrameType | None) -> None:
        if os.getpid() == own:
            raise Terminated
        signal.signal(number, signal.SIG_DFL)
        os.kill(os.getpid(), number)

    before = signal.signal(signal.SIGTERM, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
