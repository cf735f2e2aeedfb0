"""The command for a machine with a card, dry-run at toy size; what it says about the results."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest
import torch

from . import gpu
from .goals import goals
from .measure import Timing
from .report import Report, record
from .run import Run
from .shapes import SHAPES


@pytest.fixture
def dry() -> Run:
    """A run of its own, at toy size even among real measurements."""
    device = torch.device("cpu")
    return Run(SHAPES["tiny"], device, torch.float32, 1, gpu.axes_for(device), (), print, False)


def test_a_dry_run_measures_every_job_and_writes_it(
    tmp_path: Path, dry: Run, capsys: pytest.CaptureFixture[str]
) -> None:
    tests = tmp_path / "test_card.py"
    tests.write_text("import pytest\n\n\n@pytest.mark.cuda\ndef test_card():\n    pass\n")
    (tmp_path / "pytest.ini").write_text("[pytest]\nmarkers = cuda: needs a card\n")
    options = ["--device", "cpu", "--model-size", dry.shape.name, "--repeats", "1"]
    folders = ["--output", str(tmp_path / "results"), "--tests", str(tests)]
    assert gpu.main([*options, *folders, "--minutes", "60"]) == 0
    (data,) = (tmp_path / "results").glob("*.json")
    report = Report.load(data)
    assert [r.name for r in report.records] == [job.name for job in _named(gpu.jobs(dry))]
    assert report.environment["cuda_tests"].startswith("1 passed")
    assert {path.suffix for path in data.parent.iterdir()} == {".json", ".md", ".png"}
    assert "over the plain loop" in capsys.readouterr().out


def _named(jobs: list[gpu.Job]) -> list[gpu.Job]:
    """The jobs by the names of their records: the plain loop's has its lengths, too."""
    return [job if job.name != "plain" else gpu.Job("plain b1 p24 r8", 0, job.call) for job in jobs]


def test_what_was_measured_in_time_is_on_disk(
    tmp_path: Path, dry: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    def never_ends() -> None:
        signal.raise_signal(signal.SIGALRM)

    first, *_ = gpu.jobs(dry)
    monkeypatch.setattr(gpu, "jobs", lambda _: [first, gpu.Job("endless", 1, never_ends), first])
    report = gpu.measure(dry, tmp_path, seconds=3600)
    (data,) = tmp_path.glob("*.json")
    assert len(report.records) == len(Report.load(data).records) == 1


def test_a_strategy_that_fails_is_named_and_the_others_are_measured(
    tmp_path: Path, dry: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails() -> None:
        raise RuntimeError("no kernel\nand much more")

    first, *_ = gpu.jobs(dry)
    monkeypatch.setattr(gpu, "jobs", lambda _: [gpu.Job("broken", 0, fails), first])
    report = gpu.measure(dry, tmp_path, seconds=3600)
    assert report.failures == {"broken": "RuntimeError: no kernel"}
    assert [r.name for r in report.records] == ["plain b1 p24 r8"]
    (page,) = tmp_path.glob("*.md")
    assert "- broken: RuntimeError: no kernel" in page.read_text()


def test_what_others_are_compared_with_comes_first_and_what_compiles_last(dry: Run) -> None:
    dry.full = True  # compiling is not part of a dry run
    ranks = [(job.rank, job.name) for job in gpu.jobs(dry)]
    assert ranks[0] == (0, "plain")
    compiled = ["compiled" in name for _, name in ranks]
    assert any(compiled)
    assert compiled == sorted(compiled)


def test_goals_compare_the_best_of_each() -> None:
    facts = {"hardware": "H", "date": "D"}
    report = Report("decoding-8b", facts, {})
    lengths = {"prompt": 540, "answer": 128}

    def add(name: str, seconds: float, rate: float, **settings: object) -> None:
        made = {"strategy": name.partition(" ")[0], "batch": 1, **lengths, **settings}
        timing = Timing([seconds])
        report.records.append(record(name, "", timing, made, tokens_per_second=rate))

    add("plain b1", 4.0, 30.0)
    add("dual/threshold eager", 0.4, 300.0, profile="asr")
    add("dual/threshold graphed", 0.2, 600.0, profile="asr")
    add("dual/threshold short", 0.1, 900.0, profile="asr", answer=16)
    add("dual/threshold b8", 0.4, 2400.0, profile="asr", batch=8)
    add("autoregressive/static b1", 2.0, 100.0)
    add("autoregressive/compiled b1", 1.0, 150.0)
    step = {"strategy": "cached step", "batch": 1, "mode": "graphed"}
    timing = Timing([0.1])
    report.records.append(record("cached step", "", timing, step, read_seconds=0.08))
    assert [(round(g.measured, 2), g.hoped, g.line.split(":")[0]) for g in goals(report)] == [
        (1.25, 1.3, "met"),
        (4.0, 3, "met"),
        (20.0, 20, "met"),
        (4.0, 5, "NOT met"),
    ]
