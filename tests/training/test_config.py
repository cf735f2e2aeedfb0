"""Run files: what is wrong in them is said before anything is loaded."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from dllm_audio.errors import InvalidArgumentError
from dllm_audio.training import training_arguments
from dllm_audio.training.config import DataConfig, RunConfig

GOOD = {"encoder": "e", "backbone": "b", "data": {"asr": {"train": ["a.json"]}}}


def written(folder: Path, values: Any) -> Path:
    path = folder / "run.json"
    path.write_text(json.dumps(values))
    return path


@pytest.mark.parametrize("name", ["encoder", "backbone", "data"])
def test_what_is_missing_is_named(tmp_path: Path, name: str) -> None:
    values = {key: value for key, value in GOOD.items() if key != name}
    with pytest.raises(InvalidArgumentError, match=f"config: expected an entry '{name}'"):
        RunConfig.from_file(written(tmp_path, values))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"data": {"asr": {}}}, r"data\.asr: expected an entry 'train'"),
        ({"data": {"asr": {"train": []}}}, r"data\.asr\.train: expected a list .* one or more"),
        ({"data": {"asr": {"train": "a.json"}}}, r"data\.asr\.train: .* got a\.json"),
        ({"data": {"asr": {"train": [{"split": "x"}]}}}, r"data\.asr\.train: .*'dataset'"),
        ({"data": {"asr": {"train": [{"dataset": "x"}]}}}, r"data\.asr\.train: .*'split'"),
        ({"data": {"asr": {"train": ["a"], "evaluation": ["b"]}}}, r"data\.asr\.evaluation: "),
        ({"data": {"asr": {"train": ["a"], "index": 1}}}, r"data\.asr\.index: .* got 1"),
        ({"data": {"asr": {"train": ["a"], "max_seconds": "30"}}}, r"data\.asr\.max_seconds: "),
        ({"data": {"asr": {"train": ["a"], "on_unreadable": "x"}}}, r"data\.asr\.on_unreadable: "),
        ({"data": {"asr": ["a.json"]}}, r"data\.asr: expected an object"),
        ({"data": []}, r"data: expected an object"),
        ({"data": {}}, r"data: expected names among"),
        ({"encoder": 3}, r"encoder: expected a text, got 3"),
        ({"backbone": None}, r"backbone: expected a text, got None"),
        ({"adapters": {"taps": 3}}, r"adapters\.taps: expected a list"),
        ({"optimization": {"stage5": {}}}, r"optimization: .*'stage4'\], got \['stage5'\]"),
        ({"optimization": {"stage1": {"lr": 1}}}, r"optimization\.stage1: .* got \['lr'\]"),
        ({"optimization": {"stage1": {"epochs": 0}}}, r"optimization\.stage1\.epochs: .* > 0"),
        ({"optimization": {"stage1": {"epochs": "3"}}}, r"optimization\.stage1: "),
        ({"optimization": {"stage1": 3}}, r"optimization\.stage1: expected an object"),
        ({"arguments": []}, r"arguments: expected an object"),
        ({"arguments": {"save_step": 5}}, r"arguments\.save_step: .*an unknown one"),
        ({"arguments": {"seed": 5}}, r"arguments\.seed: .*run_stage.*got 5"),
        ({"arguments": {"output_dir": "x"}}, r"arguments\.output_dir: .*run_stage"),
        ({"arguments": {"learning_rate": 1}}, r"arguments\.learning_rate: .*'optimization'"),
        ({"arguments": {"load_best_model_at_end": True}}, r"arguments\.load_best_model_at_end: "),
    ],
)
def test_bad_values_are_named_with_their_place(tmp_path: Path, change: dict, message: str) -> None:
    with pytest.raises(InvalidArgumentError, match=message):
        RunConfig.from_file(written(tmp_path, {**GOOD, **change}))


def test_stages_of_a_recipe_of_ones_own(tmp_path: Path) -> None:
    path = written(tmp_path, {**GOOD, "optimization": {"mine": {"epochs": 3}}})
    assert RunConfig.from_file(path, ["mine"]).optimization == {"mine": {"epochs": 3}}


def test_data_of_ones_own_are_checked_too() -> None:
    with pytest.raises(InvalidArgumentError, match="train: expected a list"):
        DataConfig("a.json")


@pytest.mark.parametrize(
    ("option", "message"),
    [
        ({"load_best_model_at_end": True}, "load_best_model_at_end: expected False, because"),
        ({"remove_unused_columns": True}, "remove_unused_columns: expected False, because"),
        ({"save_step": 5}, "save_step: .*an unknown one"),
    ],
)
def test_options_that_cannot_work(tmp_path: Path, option: dict, message: str) -> None:
    with pytest.raises(InvalidArgumentError, match=message):
        training_arguments(tmp_path, **option)
    kept = {"load_best_model_at_end": False, "save_steps": 3, "report_to": "none", "use_cpu": True}
    assert training_arguments(tmp_path, **kept).save_steps == 3
