"""One command for a machine with a card: the CUDA tests, decoding at LLaDA-8B's shape, results.

    python -m benchmarks.gpu                                     # nine minutes at most
    python -m benchmarks.gpu --device cpu --model-size tiny      # a dry run of the same

What says most is measured first, and after each measurement the results so far are written, so
that a run that is cut off leaves whole results.
"""

from __future__ import annotations

import argparse
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import product
from pathlib import Path

import torch

from . import plots
from .decoding import measure_case, measure_peer, measure_plain, measure_step, missing_for
from .goals import goals
from .report import RESULTS, Report, terminal, write
from .run import Run
from .shapes import SHAPES
from .strategies import Axes, Case, matrix


class OutOfTime(BaseException):
    """The time that the whole command may take is over."""


@contextmanager
def time_limit(seconds: float) -> Iterator[None]:
    """Raise :class:`OutOfTime` in what runs inside, wherever it is, after so many seconds."""

    def stop(*_: object) -> None:
        raise OutOfTime

    before = signal.signal(signal.SIGALRM, stop)
    signal.setitimer(signal.ITIMER_REAL, max(seconds, 1e-3))
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


@dataclass(frozen=True)
class Job:
    """One measurement.

    Attributes:
        name: for the line that says what failed.
        rank: jobs of lower rank run first.
        call: measures and puts its record into the run's report.
    """

    name: str
    rank: int
    call: Callable[[], object]


def axes_for(device: torch.device) -> Axes:
    """What is varied: on a GPU passes are graphed, and compiled ones stand beside them."""
    on_gpu = device.type == "cuda"
    return Axes(
        batches=(1, 8, 32) if on_gpu else (1, 2),
        prompts=(100, 2000) if on_gpu else (9,),
        answers=(16, 512) if on_gpu else (3,),
        mode="graphed" if on_gpu else "eager",
        extra_modes=("compiled",),
    )


def jobs(run: Run) -> list[Job]:
    """All measurements, those that the others are compared with first, what compiles last."""
    made = [Job("plain", 0, lambda: measure_plain(run))]
    best = Case("dual/threshold", 1, run.shape.prompt, run.shape.answer, run.shape.block, "asr")
    cases = [best, *matrix(run.shape, run.axes)]  # the best one eager, too
    for case in dict.fromkeys(cases):
        if missing_for(case.mode, run) is None:
            made.append(Job(case.label, _rank(case), lambda case=case: measure_case(run, case)))
    for mode, batch in product(("graphed", "eager"), run.axes.batches[:2]):
        if missing_for(mode, run) is None:
            name = f"cached step/{mode} b{batch}"
            made.append(Job(name, 0, lambda b=batch, m=mode: measure_step(run, m, b)))
    for mode, batch in (
        *(("static", batch) for batch in run.axes.batches),
        *(("compiled", batch) for batch in (1, 8)),
    ):
        if missing_for(mode, run) is None:
            rank = 6 if mode == "compiled" else 1 if batch <= 8 else 4
            name = f"autoregressive/{mode} b{batch}"
            made.append(Job(name, rank, lambda b=batch, m=mode: measure_peer(run, b, m)))
    return sorted(made, key=lambda job: job.rank)


def _rank(case: Case) -> int:
    if case.mode == "compiled":
        return 5
    if case.batch > 8:
        return 4
    if case.rule in ("fixed", "threshold") and case.profile != "reasoning":
        return 1 if case.layout in ("dual", "kept_prompt", "exact") else 2
    return 3


def run_tests(tests: Sequence[Path], seconds: float) -> str:
    """The closing line of pytest over the tests that need a card."""
    # Warnings of versions that are not the pinned ones are no failures.
    command = [sys.executable, "-m", "pytest", "-q", "-m", "cuda", "-W", "default"]
    try:
        done = subprocess.run(
            [*command, *map(str, tests)], capture_output=True, text=True, timeout=seconds
        )
    except subprocess.TimeoutExpired:
        return f"cut off after {seconds:.0f} s"
    print(done.stdout, done.stderr, sep="\n", flush=True)
    lines = done.stdout.strip().splitlines() or [f"no output, exit status {done.returncode}"]
    return lines[-1].strip("= ")


def measure(run: Run, output: Path, seconds: float) -> Report:
    """Measure until all is done or the time is over; results so far are always on disk."""
    report = run.report("decoding")
    try:
        with time_limit(seconds):
            for job in jobs(run):
                try:
                    job.call()
                except Exception as error:  # one strategy that fails is a result, not the end
                    first = (str(error).splitlines() or [""])[0]
                    report.failures[job.name] = f"{type(error).__name__}: {first}"
                    run.say(f"{job.name}: {report.failures[job.name]}")
                write(report, output)
    except OutOfTime:
        run.say("out of time: what is missing was not measured")
    return report


def arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.gpu",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--device", type=torch.device, default=torch.device("cuda"))
    parser.add_argument("--model-size", choices=sorted(SHAPES), default="8b")
    parser.add_argument("--minutes", type=float, default=9.0, help="for everything (default: 9)")
    parser.add_argument("--repeats", type=int, default=5, help="timed repetitions (default: 5)")
    parser.add_argument(
        "--tests", type=Path, nargs="+", default=[Path("tests")], help="where CUDA tests are"
    )
    parser.add_argument("--no-tests", action="store_true", help="measure only")
    parser.add_argument("--output", type=Path, default=RESULTS, help="folder of the results")
    given = parser.parse_args(argv)
    if given.device.type == "cuda" and not torch.cuda.is_available():
        parser.error("--device: no CUDA device on this machine")
    return given


def main(argv: Sequence[str] | None = None) -> int:
    """Run tests and benchmarks; returns the exit status."""
    given = arguments(argv)
    end = time.monotonic() + 60 * given.minutes
    on_gpu = given.device.type == "cuda"
    given.output.mkdir(parents=True, exist_ok=True)
    tests = None if given.no_tests else run_tests(given.tests, 60 * given.minutes / 3)
    run = Run(
        shape=SHAPES[given.model_size],
        device=given.device,
        dtype=torch.bfloat16 if on_gpu else torch.float32,
        repeats=max(given.repeats, 1),
        axes=axes_for(given.device),
        chosen=(),
        say=lambda line: print(line, flush=True),
        full=on_gpu,
    )
    run.report("decoding").environment["cuda_tests"] = tests
    report = measure(run, given.output, end - time.monotonic())
    paths = [*write(report, given.output), *plots.draw(report, given.output)]
    print(
        *terminal(report),
        *(goal.line for goal in goals(report)),
        *(f"wrote {path}" for path in paths),
        sep="\n",
    )
    return 1 if report.failures else 0


if __name__ == "__main__":
    sys.exit(main())
