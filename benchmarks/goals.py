"""What the results of a GPU say against what one would hope for."""

from __future__ import annotations

from dataclasses import dataclass

from .report import Record, Report


@dataclass(frozen=True)
class Goal:
    """One ratio.

    Attributes:
        what: the two things that are compared.
        measured: their ratio.
        hoped: bound that one would hope for.
        at_most: whether the bound is from above.
    """

    what: str
    measured: float
    hoped: float
    at_most: bool = False

    @property
    def line(self) -> str:
        """The goal in words."""
        met = self.measured <= self.hoped if self.at_most else self.measured >= self.hoped
        bound = f"{'at most' if self.at_most else 'at least'} {self.hoped:g}"
        return f"{'met' if met else 'NOT met'}: {self.what}: {self.measured:.2f} ({bound})"


def goals(report: Report) -> list[Goal]:
    """Every goal whose records are there."""

    def rate(strategy: str, **settings: object) -> float:
        found = _best(report, strategy, **settings)
        return found.numbers["tokens_per_second"] if found else 0.0

    step = _best(report, "cached step", batch=1)
    one_length = {"prompt": _length(report, "prompt"), "answer": _length(report, "answer")}
    ours, eight = (
        rate("dual/threshold", profile="asr", batch=batch, **one_length) for batch in (1, 8)
    )
    peer = max(rate(f"autoregressive/{mode}", batch=1) for mode in ("static", "compiled"))
    plain = rate("plain")
    made = []
    if step:
        ratio = step.median / step.numbers["read_seconds"]
        made.append(Goal("a cached step over reading the weights once", ratio, 1.3, at_most=True))
    for what, above, below, hoped in (
        ("dual/threshold over the autoregressive peer, batch 1", ours, peer, 3),
        ("dual/threshold over the plain loop, batch 1", ours, plain, 20),
        ("dual/threshold, batch 8 over batch 1", eight, ours, 5),
    ):
        if above and below:
            made.append(Goal(what, above / below, hoped))
    return made


def _length(report: Report, name: str) -> object:
    """The prompt or answer of the plain loop: what the comparable records share."""
    return next((r.settings[name] for r in report.records if r.name.startswith("plain")), None)


def _best(report: Report, strategy: str, **settings: object) -> Record | None:
    """The fastest record of a strategy with these settings."""
    wanted = {"strategy": strategy, **settings}
    found = [r for r in report.records if wanted.items() <= r.settings.items()]
    return min(found, key=lambda r: r.median, default=None)
