"""What a release consists of agrees with itself: workflows, scripts, citation, model card."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

import dllm_audio
from dllm_audio import toy
from dllm_audio.model_card import model_card

tomllib = pytest.importorskip("tomllib")  # Python 3.11

ROOT = Path(__file__).parents[1]
WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.yml"))
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
MAY_WRITE = {  # whatever else a job may do, it may not
    ("docs", "deploy"): {"pages": "write", "id-token": "write"},
    ("publish", "publish"): {"id-token": "write"},
}


def read(path: Path) -> dict[Any, Any]:
    return yaml.safe_load(path.read_text(encoding="utf-8"))


def jobs() -> list[tuple[str, str, dict[str, Any]]]:
    return [
        (path.stem, name, job) for path in WORKFLOWS for name, job in read(path)["jobs"].items()
    ]


def commands(workflow: str) -> list[str]:
    return [
        step["run"]
        for stem, _, job in jobs()
        if stem == workflow
        for step in job["steps"]
        if "run" in step
    ]


def test_there_is_a_workflow_for_tests_pages_and_releases() -> None:
    assert [path.stem for path in WORKFLOWS] == ["docs", "publish", "tests"]


def test_jobs_may_do_no_more_than_they_must() -> None:
    for path in WORKFLOWS:
        assert read(path)["permissions"] == {"contents": "read"}
        assert "secrets." not in path.read_text(encoding="utf-8")
    asked = {(stem, name): job["permissions"] for stem, name, job in jobs() if "permissions" in job}
    assert asked == MAY_WRITE


def test_actions_are_of_one_major_version_and_leave_no_token_behind() -> None:
    for _, _, job in jobs():
        assert job["timeout-minutes"] > 0
        for step in job["steps"]:
            used = step.get("uses", "actions/none@v1")
            assert re.fullmatch(r"[\w-]+/[\w-]+@(v\d+|release/v\d+)", used)
            if used.startswith("actions/checkout@"):
                assert step["with"]["persist-credentials"] is False


@pytest.mark.parametrize("workflow", [path.stem for path in WORKFLOWS])
def test_scripts_and_extras_that_a_workflow_names_exist(workflow: str) -> None:
    for command in commands(workflow):
        for script in re.findall(r"(?<![\w/])\.ci/\w+", command):
            assert os.access(ROOT / script, os.X_OK)
        for extras in re.findall(r"\.\[([\w,-]+)\]", command):
            assert set(extras.split(",")) <= set(PROJECT["optional-dependencies"])


def test_the_gate_runs_on_every_python_and_the_other_versions_are_tried() -> None:
    found = {name: job for stem, name, job in jobs() if stem == "tests"}
    pythons = found["gate"]["strategy"]["matrix"]["python"]
    assert f">={pythons[0]}" == PROJECT["requires-python"]
    named = {
        re.findall(r"(3\.\d+)$", line)[0]
        for line in PROJECT["classifiers"]
        if re.search(r"3\.\d+$", line)
    }
    assert set(pythons) == named
    sets = found["versions"]["strategy"]["matrix"]["set"]
    usage = re.search(
        r"\.ci/versions \[([\w|]+)\]", (ROOT / ".ci" / "versions").read_text(encoding="utf-8")
    )
    assert usage
    assert sorted(sets) == sorted(usage[1].split("|"))
    assert commands("tests") == [".ci/run", ".ci/versions ${{ matrix.set }}"]


def test_pages_are_built_as_the_gate_builds_them() -> None:
    (built,) = [each for each in commands("docs") if each.startswith("sphinx-build")]
    gate = (ROOT / ".ci" / "run").read_text(encoding="utf-8")
    assert built.replace(" site", ' "$scratch/docs"') in gate


def test_what_is_published_was_checked_and_tried_before() -> None:
    found = {name: job for stem, name, job in jobs() if stem == "publish"}
    assert read(ROOT / ".github/workflows/publish.yml")[True] == {"push": {"tags": ["v*"]}}
    assert (found["publish"]["needs"], found["smoke"]["needs"]) == ("smoke", "build")
    used = [step.get("uses", "") for step in found["publish"]["steps"]]
    assert used[-1] == "pypa/gh-action-pypi-publish@release/v1"
    assert not [each for each in used if each.startswith("actions/checkout")]
    asked = commands("publish")
    order = ["python -m build", "twine check --strict dist/*", ".ci/smoke dist/*.whl"]
    assert [each for each in asked if each in order] == order


def test_the_citation_is_of_this_version_and_its_numbers_are_its_addresses() -> None:
    citation = read(ROOT / "CITATION.cff")
    assert citation["cff-version"] == "1.2.0"
    assert citation["version"] == dllm_audio.__version__
    assert citation["license"] == PROJECT["license"]
    numbers = []
    for reference in citation["references"]:
        assert {"type", "title", "authors", "year"} <= reference.keys()
        (number,) = [each["value"].removeprefix("arXiv:") for each in reference["identifiers"]]
        assert reference["url"] == f"https://arxiv.org/abs/{number}"
        numbers.append(number)
    assert numbers == ["2507.18452", "2601.23161", "2502.09992", "2505.19223", "2505.22618"]


def test_the_card_of_the_model_that_ships_has_the_fields_of_every_card() -> None:
    text = (ROOT / "docs" / "model_card.md").read_text(encoding="utf-8")
    card = yaml.safe_load(text.split("---\n")[1])
    model = toy.small_model()
    parts = {kind: getattr(model, kind) for kind in ("encoder", "adapter", "backbone")}
    written = yaml.safe_load(model_card(model.config, parts).split("---\n")[1])
    assert {name: card[name] for name in ("library_name", "pipeline_tag")} == {
        name: written[name] for name in ("library_name", "pipeline_tag")
    }
    assert set(written["tags"]) <= set(card["tags"])
    assert card["license"] == PROJECT["license"].lower()
    headings = re.findall(r"^## (.*)$", text, re.MULTILINE)
    assert headings == ["Use", "Not for", "Training", "Accuracy", "Limits and risks", "License"]
