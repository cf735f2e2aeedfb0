"""What a decoding step recomputes, and what it takes from the key/value cache."""

from __future__ import annotations

from dataclasses import dataclass

from ..errors import InvalidArgumentError
from .checks import check_choice, check_integer


@dataclass(frozen=True)
class CachePolicy:
    """Which keys and values are reused between steps (Fast-dLLM, arXiv 2505.22618, section 3.2).

    Reuse is an approximation where attention is full; refreshing at every step is exact.  Where
    blocks see nothing behind them (``causal_block_length`` of the backbone's config), ``"exact"``
    reuses prompt and finished blocks without any error, and computes the prompt once.

    Args:
        kind: None recomputes everything; ``"prefix"`` keeps everything before the active block;
            ``"dual"`` keeps everything outside of it; ``"exact"`` keeps prompt and finished blocks
            for good.
        refresh_interval: refresh every so many steps of a block; None only at its beginning.
        refresh: ``"sequence"`` refreshes keys and values of everything; ``"response"`` those of
            the response alone, so that the prompt with its audio is computed once, in the first
            pass.

    Raises:
        InvalidArgumentError: a value that is none of these, ``"response"`` without a cache, or
            refreshing of a cache that is exact.

    Example:
        >>> policy = CachePolicy("prefix", refresh_interval=4)
        >>> [policy.refreshes(step) for step in range(6)]
        [True, False, False, False, True, False]
        >>> policy.window(32, 64, length=128), CachePolicy("dual").window(32, 64, length=128)
        ((32, 128), (32, 64))
    """

    kind: str | None = None
    refresh_interval: int | None = None
    refresh: str = "sequence"

    def __post_init__(self) -> None:
        check_choice("cache", self.kind, (None, "prefix", "dual", "exact"))
        if self.refresh_interval is not None:
            check_integer("refresh_interval", self.refresh_interval)
        check_choice("refresh", self.refresh, ("sequence", "response"))
        if self.refresh == "response" and self.kind in (None, "exact"):
            why = "there is no cache" if self.kind is None else "an exact cache is never refreshed"
            raise InvalidArgumentError("refresh", f"'sequence', because {why}", self.refresh)
        if self.kind == "exact" and self.refresh_interval is not None:
            expected = "None, because an exact cache is never refreshed"
            raise InvalidArgumentError("refresh_interval", expected, self.refresh_interval)

    @property
    def keeps_prompt(self) -> bool:
        """Whether the prompt's keys and values outlive the block."""
        return self.refresh == "response" or self.kind == "exact"

    def refreshes(self, step: int) -> bool:
        """Whether this step of a block refreshes the cache."""
        if self.kind is None or step == 0:
            return True
        return self.refresh_interval is not None and step % self.refresh_interval == 0

    def window(self, start: int, end: int, length: int) -> tuple[int, int]:
        """Response positions ``[from, to)`` that a step on block ``[start, end)`` recomputes."""
        return (start, end) if self.kind in ("dual", "exact") else (start, length)
