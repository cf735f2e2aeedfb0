"""Counters of a server in the text format of Prometheus."""

from __future__ import annotations

import threading
from bisect import bisect_left
from collections.abc import Mapping

BUCKETS = (0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0)
_HELP = {
    "dllm_audio_requests_total": ("counter", "Requests by endpoint and status."),
    "dllm_audio_request_seconds": ("histogram", "Time to the end of an answer."),
    "dllm_audio_batches_total": ("counter", "Batches that the backbone computed."),
    "dllm_audio_batch_rows_total": ("counter", "Rows of these batches."),
    "dllm_audio_answer_tokens_total": ("counter", "Tokens of answers."),
    "dllm_audio_audio_seconds_total": ("counter", "Sound that was heard."),
    "dllm_audio_requests_running": ("gauge", "Requests in work."),
    "dllm_audio_requests_waiting": ("gauge", "Requests that wait for a row."),
}
_Labels = tuple[tuple[str, str], ...]


class Metrics:
    """Counters that several threads add to.

    Example:
        >>> metrics = Metrics()
        >>> metrics.add("dllm_audio_answer_tokens_total", 4)
        >>> print(metrics.render({"dllm_audio_requests_running": 1}))  # doctest: +ELLIPSIS
        # HELP dllm_audio_answer_tokens_total Tokens of answers.
        # TYPE dllm_audio_answer_tokens_total counter
        dllm_audio_answer_tokens_total 4
        # HELP dllm_audio_requests_running Requests in work.
        # TYPE dllm_audio_requests_running gauge
        dllm_audio_requests_running 1
        <BLANKLINE>
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._counts: dict[str, dict[_Labels, float]] = {}
        self._times: dict[str, list[int]] = {}
        self._seconds: dict[str, float] = {}

    def add(self, name: str, value: float = 1, **labels: str) -> None:
        """Count."""
        with self._lock:
            series = self._counts.setdefault(name, {})
            key = tuple(sorted(labels.items()))
            series[key] = series.get(key, 0) + value

    def batch(self, rows: int) -> None:
        """A batch that the backbone computed."""
        self.add("dllm_audio_batches_total")
        self.add("dllm_audio_batch_rows_total", rows)

    def request(self, endpoint: str, status: int, seconds: float) -> None:
        """A request that came to its end."""
        self.add("dllm_audio_requests_total", endpoint=endpoint, status=str(status))
        with self._lock:
            times = self._times.setdefault(endpoint, [0] * (len(BUCKETS) + 1))
            times[bisect_left(BUCKETS, seconds)] += 1
            self._seconds[endpoint] = self._seconds.get(endpoint, 0.0) + seconds

    def render(self, gauges: Mapping[str, float]) -> str:
        """Everything, with what stands at the moment."""
        with self._lock:
            found = {name: dict(series) for name, series in self._counts.items()}
            times = {endpoint: list(counts) for endpoint, counts in self._times.items()}
            seconds = dict(self._seconds)
        lines: list[str] = []
        for name, (kind, text) in _HELP.items():
            shown = [f"{name}{_shown(key)} {value:g}" for key, value in found.get(name, {}).items()]
            shown += [f"{name} {gauges[name]:g}"] if name in gauges else []
            if kind == "histogram":
                shown = [
                    line
                    for endpoint in times
                    for line in _histogram(name, endpoint, times[endpoint], seconds[endpoint])
                ]
            if shown:
                lines += [f"# HELP {name} {text}", f"# TYPE {name} {kind}", *shown]
        return "\n".join([*lines, ""])


def _histogram(name: str, endpoint: str, counts: list[int], seconds: float) -> list[str]:
    lines, total = [], 0
    for bound, count in zip((*BUCKETS, float("inf")), counts, strict=True):
        total += count
        at_most = "+Inf" if bound == float("inf") else f"{bound:g}"
        lines.append(f"{name}_bucket{_shown((('endpoint', endpoint), ('le', at_most)))} {total}")
    labels = _shown((("endpoint", endpoint),))
    return [*lines, f"{name}_sum{labels} {seconds:.6f}", f"{name}_count{labels} {total}"]


def _shown(labels: _Labels) -> str:
    return "{" + ",".join(f'{key}="{value}"' for key, value in labels) + "}" if labels else ""
