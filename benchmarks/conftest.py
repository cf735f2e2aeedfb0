"""Options of the benchmarks, and the run that all of them share.

``pytest benchmarks/`` checks every benchmark at toy size; ``pytest benchmarks/ --benchmark``
measures, prints tables and writes ``benchmarks/results/``.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch

from . import plots
from .report import RESULTS, Report, compare, terminal, write
from .run import Run, base_mode
from .shapes import SHAPES
from .strategies import EXTRA_MODES, LAYOUTS, STRATEGIES, Axes, matrix

_RUN = pytest.StashKey[Run]()
PEERS = ("plain", "autoregressive")


def _list_of(kind: type) -> type:
    def parse(text: str) -> list:
        return [kind(item) for item in text.split(",") if item]

    parse.__name__ = f"comma-separated {kind.__name__}"
    return parse  # type: ignore[return-value]


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("dllm-audio benchmarks")
    group.addoption("--benchmark", action="store_true", help="measure, instead of a smoke test")
    group.addoption("--model-size", choices=sorted(SHAPES), help="default: 60m (smoke: tiny)")
    group.addoption("--device", default="cpu", help="cpu, cuda, cuda:1 ... (default: cpu)")
    group.addoption("--dtype", default="float32", choices=("float32", "bfloat16", "float16"))
    group.addoption(
        "--strategies",
        type=_list_of(str),
        default=[],
        metavar="A,B",
        help=f"some of {', '.join((*PEERS, *LAYOUTS))}, or one rule of them, like dual/threshold",
    )
    group.addoption("--batches", type=_list_of(int), metavar="1,8,32", help="CPU: 1,8")
    group.addoption("--prompts", type=_list_of(int), metavar="100,540,2000")
    group.addoption("--answers", type=_list_of(int), metavar="16,128,512", help="CPU: 16,128")
    modes = ",".join(EXTRA_MODES)
    group.addoption("--modes", type=_list_of(str), metavar=modes, help="default: both on a GPU")
    group.addoption("--matrix", choices=("axes", "full"), default="axes", help="default: axes")
    group.addoption("--repeats", type=int, default=5, help="timed repetitions (default: 5)")
    group.addoption("--output", type=Path, default=RESULTS, help="folder of the results")
    group.addoption("--compare", type=Path, metavar="OLD.json", help="fail where slower than OLD")
    group.addoption("--tolerance", type=float, default=1.25, help="allowed ratio (default: 1.25)")


def pytest_configure(config: pytest.Config) -> None:
    old = config.getoption("--compare")
    if old is not None:
        if not config.getoption("--benchmark"):
            raise pytest.UsageError("--compare needs --benchmark")
        try:
            Report.load(old)
        except (OSError, ValueError, KeyError) as error:
            raise pytest.UsageError(f"--compare: {error}") from error
    for option, known in {
        "--strategies": {*PEERS, *LAYOUTS, *STRATEGIES},
        "--modes": set(EXTRA_MODES),
    }.items():
        unknown = set(config.getoption(option) or ()) - known
        if unknown:
            raise pytest.UsageError(
                f"{option}: expected some of {sorted(known)}, got {sorted(unknown)}"
            )
    if torch.device(config.getoption("--device")).type == "cuda" and not torch.cuda.is_available():
        raise pytest.UsageError("--device: no CUDA device on this machine")


def _axes(config: pytest.Config) -> Axes:
    on_gpu = config.getoption("--device").startswith("cuda")

    def values(option: str, smoke: Sequence[Any], full: Sequence[Any]) -> Sequence[Any]:
        given = config.getoption(option)
        return given or (full if config.getoption("--benchmark") else smoke)

    device, dtype = config.getoption("--device"), getattr(torch, config.getoption("--dtype"))
    # On a CPU the largest values would take most of the run and say little.
    return Axes(
        batches=values("--batches", (1, 2), (1, 8, 32) if on_gpu else (1, 8)),
        prompts=values("--prompts", (9,), (100, 540, 2000)),
        answers=values("--answers", (3,), (16, 128, 512) if on_gpu else (16, 128)),
        extra_modes=values("--modes", EXTRA_MODES, EXTRA_MODES if on_gpu else ()),
        full=config.getoption("--matrix") == "full",
        mode=base_mode(torch.device(device), dtype),
    )


def _size(config: pytest.Config) -> str:
    return config.getoption("--model-size") or (
        "60m" if config.getoption("--benchmark") else "tiny"
    )


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "case" in metafunc.fixturenames:
        config = metafunc.config
        chosen = config.getoption("--strategies")
        cases = matrix(SHAPES[_size(config)], _axes(config), chosen)
        if chosen and not {c.strategy for c in cases}:
            cases = []
        metafunc.parametrize("case", cases, ids=lambda case: case.label)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if config.getoption("--benchmark"):
        for item in items:
            if Path(__file__).parent in item.path.parents:
                item.add_marker(pytest.mark.timeout(0))


@pytest.fixture(scope="session")
def run(request: pytest.FixtureRequest) -> Run:
    """The run that all benchmarks share: model, device, measured rates and reports."""
    config = request.config
    full = config.getoption("--benchmark")
    capture = config.pluginmanager.getplugin("capturemanager")

    def say(line: str) -> None:
        if full:
            with capture.global_and_fixture_disabled():
                print(f"\n{line}", end="", flush=True)

    made = Run(
        shape=SHAPES[_size(config)],
        device=torch.device(config.getoption("--device")),
        dtype=getattr(torch, config.getoption("--dtype")),
        repeats=max(config.getoption("--repeats"), 1) if full else 1,
        axes=_axes(config),
        chosen=tuple(config.getoption("--strategies")),
        say=say,
        full=full,
    )
    config.stash[_RUN] = made
    return made


def pytest_terminal_summary(
    terminalreporter: pytest.TerminalReporter, exitstatus: int, config: pytest.Config
) -> None:
    made = config.stash.get(_RUN, None)
    if made is None or not made.full:
        return
    for report in made.finished_reports():
        for line in terminal(report):
            terminalreporter.write_line(line)
        paths = write(report, config.getoption("--output"))
        paths += plots.draw(report, config.getoption("--output"))
        terminalreporter.write_line("")
        for path in paths:
            terminalreporter.write_line(f"wrote {path}")


def pytest_sessionfinish(session: pytest.Session, exitstatus: int) -> None:
    made = session.config.stash.get(_RUN, None)
    path = session.config.getoption("--compare")
    if made is None or path is None:
        return
    old = Report.load(path)
    new = next((r for r in made.finished_reports() if r.theme == old.theme), None)
    if new is None:
        raise pytest.UsageError(f"--compare: nothing of the theme {old.theme} was measured")
    lines, slower = compare(new, old, session.config.getoption("--tolerance"))
    reporter = session.config.pluginmanager.getplugin("terminalreporter")
    reporter.write_line("")
    for line in lines:
        reporter.write_line(line)
    if slower:
        reporter.write_line(f"{len(slower)} of {len(lines)} got slower", red=True)
        session.exitstatus = pytest.ExitCode.TESTS_FAILED
