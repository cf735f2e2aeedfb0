"""What holds for the repository as a whole: commands that agree, clean text files."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

tomllib = pytest.importorskip("tomllib")  # Python 3.11

ROOT = Path(__file__).parents[1]
TEXT = {".py", ".md", ".toml", ".txt", ".yml", ".yaml", ".json", ".cfg", ".sh", ""}
TEST_COMMAND = "pip install -c constraints.txt -e '.[test]' && pytest -n 2"
MACHINE_PATH = re.compile(r"(?<![\w.~}])/(?:work|root|home/\w+|Users/\w+)/\w")
BRITISH = re.compile(
    r"\b\w*(?:colour|behaviour|favour|neighbour|normalis|optimis|initialis|serialis|summaris"
    r"|synthesis(?:e|ing)|tokenis|quantis|regularis|parallelis|vectoris|generalis|centre"
    r"|licence)\w*",
    re.IGNORECASE,
)
QUOTED = {"wer.py", "test_wer.py"}  # the normalizer that turns British spelling into American


def tracked_text_files() -> list[Path]:
    """Text files under version control (or all of them outside a checkout)."""
    try:
        listing = subprocess.run(
            ["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True
        ).stdout
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("needs a git checkout")
    paths = [ROOT / name for name in listing.split("\0") if name]
    return [path for path in paths if path.is_file() and path.suffix in TEXT]


def findings(pattern: re.Pattern[str]) -> list[str]:
    return [
        f"{path.relative_to(ROOT)}:{number}: {match.group()}"
        for path in tracked_text_files()
        if path != Path(__file__) and "golden" not in path.parts
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1)
        for match in [pattern.search(line)]
        if match
    ]


def test_the_readme_and_ci_run_the_same_test_command() -> None:
    commands = (ROOT / ".ci" / "run").read_text(encoding="utf-8").splitlines()
    assert TEST_COMMAND in commands
    assert TEST_COMMAND in (ROOT / "README.md").read_text(encoding="utf-8").splitlines()


def test_every_tested_requirement_is_pinned() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    pinned = {
        line.partition("==")[0]
        for line in (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
        if "==" in line
    }
    extras = project["optional-dependencies"]
    tested = [
        requirement
        for group in (
            project["dependencies"],
            *(extras[e] for e in ("test", "train", "eval", "plot", "serve", "demo")),
        )
        for requirement in group
    ]
    names = {re.split(r"[\[<>=!~ ]", requirement)[0].replace("_", "-") for requirement in tested}
    assert names - {"dllm-audio"} <= pinned


def test_the_floors_that_are_tried_are_the_floors_that_are_declared() -> None:
    declared = re.findall(
        r"(transformers|accelerate|peft)>=([\d.]+)",
        (ROOT / "pyproject.toml").read_text(encoding="utf-8"),
    )
    floors = dict(declared)
    assert set(declared) == set(floors.items())  # every extra asks for the same
    page = (ROOT / "docs" / "install.md").read_text(encoding="utf-8")
    assert set(re.findall(r"(transformers|accelerate|peft) ([\d.]+\d)", page)) == set(declared)
    script = (ROOT / ".ci" / "versions").read_text(encoding="utf-8")
    assert set(re.findall(r"\$\(lowest (\w+)\)", script)) == set(floors)


def test_no_file_names_a_place_on_somebodys_machine() -> None:
    assert findings(MACHINE_PATH) == []


def test_no_test_fails_because_the_machine_is_slow() -> None:
    """The one limit, against what hangs, is pytest's own."""
    limit = re.compile(
        r"timeout=\d|\.(?:join|wait|result)\(\d|deadline=\d|mark\.timeout"
        r"|time\.(?:time|monotonic|perf_counter)\("
    )
    found = [finding for finding in findings(limit) if finding.startswith("tests/")]
    assert not found, "\n".join(found)
    options = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    assert options["tool"]["pytest"]["ini_options"]["timeout"] >= 3600


def test_spelling_is_american() -> None:
    found = [line for line in findings(BRITISH) if Path(line.partition(":")[0]).name not in QUOTED]
    assert found == []
