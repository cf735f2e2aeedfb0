"""Collects results and writes them: table, JSON, Markdown; comparison with an earlier run."""

from __future__ import annotations

import datetime
import json
import os
import platform
import re
import statistics
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
import transformers

import dllm_audio

from .measure import Timing

SCHEMA = 1
RESULTS = Path(__file__).parent / "results"


@dataclass
class Record:
    """One measured thing.

    Attributes:
        name: unique within a theme.
        group: heading that it is listed under.
        seconds: raw time of every repetition.
        settings: what was measured.
        numbers: what follows from it (tokens/s, passes, floor, memory).
    """

    name: str
    group: str
    seconds: list[float]
    settings: dict[str, Any] = field(default_factory=dict)
    numbers: dict[str, float] = field(default_factory=dict)

    @property
    def median(self) -> float:
        """Median seconds."""
        return statistics.median(self.seconds)

    @property
    def spread(self) -> float:
        """Slowest minus fastest repetition, as a fraction of the median."""
        return (max(self.seconds) - min(self.seconds)) / self.median


def record(
    name: str, group: str, timing: Timing, settings: dict[str, Any] | None = None, **numbers: float
) -> Record:
    """A record of a timing; its peak memory is among the numbers."""
    if timing.peak_bytes is not None:
        numbers["peak_memory_bytes"] = timing.peak_bytes
    return Record(name, group, timing.seconds, settings or {}, numbers)


def hardware(device: torch.device) -> str:
    """Name of the processor, and of how many cores or what GPU."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    name = platform.processor() or platform.machine()
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        match = re.search(r"model name\s*:\s*(.+)", cpuinfo.read_text())
        name = match.group(1).strip() if match else name
    threads = torch.get_num_threads()
    return f"{name}, {threads} thread{'s' if threads > 1 else ''}"


def environment(device: torch.device, dtype: torch.dtype, size: str) -> dict[str, Any]:
    """Everything that a reader needs to judge or repeat the numbers."""
    return {
        "hardware": hardware(device),
        "cores": os.cpu_count(),
        "device": device.type,
        "dtype": str(dtype).removeprefix("torch."),
        "model_size": size,
        "date": datetime.datetime.now(datetime.timezone.utc).strftime("%Y-%m-%d"),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "cuda": torch.version.cuda,
        "transformers": transformers.__version__,
        "dllm_audio": dllm_audio.__version__,
    }


@dataclass
class Report:
    """Results of one run on one subject.

    Attributes:
        theme: what was measured, for instance ``decoding-60m``.
        environment: from :func:`environment`.
        floor: measured rates of the device.
        records: what was measured so far.
        failures: what could not be measured, and why.
    """

    theme: str
    environment: dict[str, Any]
    floor: dict[str, float]
    records: list[Record] = field(default_factory=list)
    failures: dict[str, str] = field(default_factory=dict)

    @property
    def stem(self) -> str:
        """File name without suffix: theme, hardware, date."""
        name = re.sub(r"[^a-z0-9]+", "-", self.environment["hardware"].lower()).strip("-")
        return f"{self.theme}-{name}-{self.environment['date']}"

    def find(self, name: str) -> Record | None:
        """The record of that name."""
        return next((r for r in self.records if r.name == name), None)

    def to_json(self) -> dict[str, Any]:
        """Everything, raw times included."""
        rows = [asdict(r) | {"median": r.median, "spread": r.spread} for r in self.records]
        return {
            "schema": SCHEMA,
            "theme": self.theme,
            "environment": self.environment,
            "floor": self.floor,
            "records": rows,
            "failures": self.failures,
        }

    @classmethod
    def load(cls, path: Path) -> Report:
        """Read a report back.

        Raises:
            ValueError: not a report of this schema.
        """
        content = json.loads(path.read_text(encoding="utf-8"))
        if not isinstance(content, dict) or content.get("schema") != SCHEMA:
            raise ValueError(f"{path} is not a benchmark report (schema {SCHEMA})")
        names = ("name", "group", "seconds", "settings", "numbers")
        rows = [Record(**{name: row[name] for name in names}) for row in content["records"]]
        failures = content.get("failures", {})
        return cls(content["theme"], content["environment"], content["floor"], rows, failures)


COLUMNS = (
    *("case", "time", "spread", "tokens/s", "passes", "ms/pass", "floor", "x floor", "x plain"),
    *("accuracy", "memory"),
)


def rows(report: Report, group: str) -> list[list[str]]:
    """Cells of one group's table, in the order of ``COLUMNS``."""
    plain = next((r for r in report.records if r.name.startswith("plain")), None)
    table = []
    for r in report.records:
        if r.group != group:
            continue
        numbers, per_pass = r.numbers, r.median / r.numbers["nfe"] if "nfe" in r.numbers else None
        same_task = ("tokens", "batch", "prompt", "answer")
        comparable = plain and all(r.settings.get(k) == plain.settings.get(k) for k in same_task)
        floor = numbers.get("floor_seconds")
        table.append(
            [
                r.name,
                _duration(r.median),
                f"{100 * r.spread:.0f} %",
                f"{numbers['tokens_per_second']:.1f}" if "tokens_per_second" in numbers else "",
                f"{numbers['nfe']:.0f}" if "nfe" in numbers else "",
                f"{1e3 * per_pass:.1f}" if per_pass is not None else "",
                _duration(floor) if floor is not None else "",
                f"{r.median / floor:.2f}" if floor else "",
                f"{plain.median / r.median:.1f}" if plain and comparable else "",
                f"{100 * numbers['accuracy']:.1f} %" if "accuracy" in numbers else "",
                _size(numbers["peak_memory_bytes"]) if "peak_memory_bytes" in numbers else "",
            ]
        )
    return table


def _size(count: float) -> str:
    return f"{count / 1e9:.2f} GB" if count >= 1e9 else f"{count / 1e6:.0f} MB"


def _duration(seconds: float) -> str:
    if seconds >= 1:
        return f"{seconds:.2f} s"
    return f"{1e3 * seconds:.2f} ms" if seconds >= 1e-3 else f"{1e6 * seconds:.0f} us"


def markdown(report: Report) -> str:
    """The report as a page: environment, then one table per group."""
    facts = "; ".join(f"{k} {v}" for k, v in report.environment.items() if v is not None)
    rates = ", ".join(f"{k} {v:.3g}" for k, v in report.floor.items())
    lines = [f"# {report.theme}", "", f"{facts}.", "", f"Measured rates: {rates}.", ""]
    for group in dict.fromkeys(r.group for r in report.records):
        table = rows(report, group)
        used = [i for i in range(len(COLUMNS)) if any(row[i] for row in table)]
        lines += [f"## {group}", ""]
        lines.append("| " + " | ".join(COLUMNS[i] for i in used) + " |")
        lines.append("|" + "---|" * len(used))
        lines += ["| " + " | ".join(row[i] for i in used) + " |" for row in table]
        lines.append("")
    if report.failures:
        lines += ["## Not measured", ""]
        lines += [f"- {name}: {reason}" for name, reason in report.failures.items()] + [""]
    return "\n".join(lines)


def terminal(report: Report) -> list[str]:
    """The same tables as aligned lines."""
    lines = []
    for group in dict.fromkeys(r.group for r in report.records):
        table = [list(COLUMNS), *rows(report, group)]
        used = [i for i in range(len(COLUMNS)) if any(row[i] for row in table[1:])]
        widths = [max(len(row[i]) for row in table) for i in used]
        lines += ["", f"{report.theme}: {group}"]
        for row in table:
            cells = [row[i] for i in used]
            first = cells[0].ljust(widths[0])
            rest = [c.rjust(w) for c, w in zip(cells[1:], widths[1:], strict=True)]
            lines.append("  ".join([first, *rest]))
    return lines


def write(report: Report, folder: Path) -> list[Path]:
    """Write JSON and Markdown; returns the paths."""
    folder.mkdir(parents=True, exist_ok=True)
    data, page = folder / f"{report.stem}.json", folder / f"{report.stem}.md"
    data.write_text(json.dumps(report.to_json(), indent=1) + "\n", encoding="utf-8")
    page.write_text(markdown(report), encoding="utf-8")
    return [data, page]


def compare(new: Report, old: Report, tolerance: float) -> tuple[list[str], list[str]]:
    """Ratios of medians by name.

    Args:
        new: this run.
        old: the run to compare with.
        tolerance: a record may take this many times as long as before.

    Returns:
        Lines to print, and the names of the records that got slower than the tolerance allows.

    Raises:
        ValueError: nothing in common, or measured on something else.
    """
    for key in ("device", "dtype", "model_size"):
        if new.environment[key] != old.environment[key]:
            raise ValueError(
                f"{key}: the earlier run has {old.environment[key]}, this one "
                f"{new.environment[key]}"
            )
    lines, slower = [], []
    for r in new.records:
        before = old.find(r.name)
        if before is None:
            continue
        ratio = r.median / before.median
        verdict = "" if ratio <= tolerance else f"  slower than x{tolerance}"
        lines.append(
            f"{r.name}: {_duration(before.median)} -> {_duration(r.median)} (x{ratio:.2f}){verdict}"
        )
        if verdict:
            slower.append(r.name)
    if not lines:
        raise ValueError("the earlier run has no record in common with this one")
    return lines, slower
