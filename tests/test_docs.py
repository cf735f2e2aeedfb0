"""The pages agree with the code: names, files, the run file's keys, the README's first program."""

from __future__ import annotations

import ast
import importlib
import re
from pathlib import Path

import pytest

import dllm_audio

PACKAGE = Path(dllm_audio.__file__).parent
ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted(DOCS.rglob("*.md"))]
API = "".join(path.read_text(encoding="utf-8") for path in sorted((DOCS / "api").glob("*.md")))
# Modules whose names all have an entry, besides those that a page lists with ``automodule``.
PUBLIC = [
    *("adapters", "audio", "backbones", "checkpoints", "diffusion", "encoders", "losses"),
    *("parts", "priors", "prompts", "samplers"),
]
# How far a newcomer has to walk, in files.
WALKS = {"answer": 15, "training": 15, "commit": 2}
# A model is given these; nothing of the model imports them.
GIVEN = {
    *("encoders/whisper.py", "backbones/transformer.py"),
    *("adapters/dual.py", "adapters/acoustic.py", "adapters/semantic.py"),
}


def public_names(module: str) -> list[str]:
    """What a module offers: ``__all__``, or what it defines."""
    loaded = importlib.import_module(module)
    names = getattr(loaded, "__all__", None)
    if names is None:
        kinds = type(public_names), type  # functions and classes
        own = {n: v for n, v in vars(loaded).items() if isinstance(v, kinds)}
        names = [name for name, value in own.items() if value.__module__ == module]
    return [name for name in names if not name.startswith("_")]


@pytest.mark.parametrize("name", public_names("dllm_audio"))
def test_every_name_of_the_package_has_an_entry(name: str) -> None:
    assert re.search(rf":: dllm_audio\.{name}$", API, re.MULTILINE)


@pytest.mark.parametrize("module", PUBLIC)
def test_every_public_name_of_a_module_has_an_entry(module: str) -> None:
    root = {name for name in public_names("dllm_audio") if f":: dllm_audio.{name}\n" in API}
    missing = [
        name
        for name in public_names(f"dllm_audio.{module}")
        if name not in root
        and name != "presets"
        and not re.search(rf":: dllm_audio\.{module}\.{name}$", API, re.MULTILINE)
    ]
    assert missing == []


def test_the_page_of_the_run_file_is_what_the_command_prints() -> None:
    training = pytest.importorskip("dllm_audio.training")
    page = (DOCS / "run_file.md").read_text(encoding="utf-8")
    # Where not: python docs/cli_transcripts.py run_file
    assert re.findall(r"```text\n(.*?)```", page, re.DOTALL) == [training.explain()]


def test_the_first_program_of_the_readme_runs(capsys: pytest.CaptureFixture[str]) -> None:
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    program = re.findall(r"```python\n(.*?)```", readme, re.DOTALL)[0]
    assert len(program.splitlines()) <= 10
    exec(compile(program, "README.md", "exec"), {})
    assert capsys.readouterr().out == "['three seven five six', 'beeping'] 3\n"


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.name)
def test_programs_are_python_and_import_what_exists(path: Path) -> None:
    for program in re.findall(r"```python\n(.*?)```", path.read_text(encoding="utf-8"), re.DOTALL):
        for node in ast.walk(ast.parse(program)):
            if isinstance(node, ast.ImportFrom) and str(node.module).startswith("dllm_audio"):
                if str(node.module) == "dllm_audio.demo.page":
                    pytest.importorskip("gradio")
                module = importlib.import_module(str(node.module))
                for alias in node.names:
                    if not hasattr(module, alias.name):
                        importlib.import_module(f"{node.module}.{alias.name}")


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.name)
def test_named_files_exist(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    named = {
        *re.findall(r"\b(?:examples|benchmarks|tests|docs|src)/[\w/.-]+\.\w+", text),
        *re.findall(r"`((?:[a-z_]+/)+[a-z_]+\.py)`", text),
    }
    missing = [
        name
        for name in sorted(named)
        if not (ROOT / name).exists()
        and not (PACKAGE / name).exists()
        and not (DOCS / name).exists()
        and "OLD" not in name
    ]
    assert missing == []


def walk(name: str) -> list[str]:
    """Files of one of the newcomer's walks, in order."""
    page = (DOCS / "architecture.md").read_text(encoding="utf-8")
    found = re.search(rf"<!-- walk: {name} -->\n(.*?)<!-- end -->", page, re.DOTALL)
    assert found
    return re.findall(r"^\| `([\w/]+\.py)` \|", found[1], re.MULTILINE)


def imported(file: str) -> set[str]:
    """Files of the package that a file takes names from, through packages to where they are."""
    folder = (PACKAGE / file).parent
    found = set()
    for node in ast.walk(ast.parse((PACKAGE / file).read_text(encoding="utf-8"))):
        if not isinstance(node, ast.ImportFrom) or not node.level:
            continue
        base = folder
        for _ in range(node.level - 1):
            base = base.parent
        base = base.joinpath(*str(node.module or "").split(".")) if node.module else base
        if base.with_suffix(".py").is_file():
            found.add(str(base.with_suffix(".py").relative_to(PACKAGE)))
            continue
        names = {alias.name for alias in node.names}
        for inner in ast.walk(ast.parse((base / "__init__.py").read_text(encoding="utf-8"))):
            if isinstance(inner, ast.ImportFrom) and names & {a.name for a in inner.names}:
                home = base.joinpath(*str(inner.module).split(".")).with_suffix(".py")
                if home.is_file():
                    found.add(str(home.relative_to(PACKAGE)))
    return found


@pytest.mark.parametrize(("name", "most"), WALKS.items())
def test_a_newcomer_does_not_walk_far(name: str, most: int) -> None:
    files = walk(name)
    assert 0 < len(files) <= most
    assert len(set(files)) == len(files)


@pytest.mark.parametrize("name", ["answer", "training"])
def test_a_walk_follows_the_imports(name: str) -> None:
    reached: set[str] = set(GIVEN)
    for number, file in enumerate(walk(name)):
        assert number == 0 or file in reached, file
        reached |= imported(file)
