"""Exit codes of the command; 2 is argparse's own."""

from __future__ import annotations

from typing import Final

OK: Final = 0
ERROR: Final = 1
SOME_FAILED: Final = 3
INTERRUPTED: Final = 130
TERMINATED: Final = 143


def summarize(failed: int, total: int) -> int:
    """Exit code of a command that handled ``total`` inputs of which ``failed`` failed.

    Example:
        >>> summarize(0, 2), summarize(1, 2), summarize(2, 2)
        (0, 3, 1)
    """
    if not failed:
        return OK
    return ERROR if failed == total else SOME_FAILED
