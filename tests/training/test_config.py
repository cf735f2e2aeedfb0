"""Run files: what is wrong in them is said before anything is loaded."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from dllm_audio.errors import InvalidArgumentError
from dllm_audio.training import Optimization, RunConfig, Stage, explain
from dllm_audio.training.run_data import DataConfig

GOOD = {"encoder": "e", "backbone": "b", "data": {"asr": {"train": ["a.json"]}}}


def written(folder: Path, values: Any) -> Path:
    path = folder / "run.json"
    path.write_text(json.dumps(values))
    return path


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("encoder", r"run\.json: encoder, backbone: expected both .*got \['backbone'\]"),
        ("backbone", r"run\.json: encoder, backbone: expected both .*got \['encoder'\]"),
        ("data", r"run\.json: expected an entry 'data'"),
    ],
)
def test_what_is_missing_is_named(tmp_path: Path, name: str, message: str) -> None:
    values = {key: value for key, value in GOOD.items() if key != name}
    with pytest.raises(InvalidArgumentError, match=message):
        RunConfig.from_file(written(tmp_path, values))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"data": {"asr": {}}}, r"data\.asr: expected an entry 'train'"),
        ({"data": {"asr": {"train": []}}}, r"data\.asr\.train: expected a list .* one or more"),
        ({"data": {"asr": {"train": "a.json"}}}, r"data\.asr\.train: .* got 'a\.json'"),
        ({"data": {"asr": {"train": [{"split": "x"}]}}}, r"data\.asr\.train: .*'dataset'"),
        ({"data": {"asr": {"train": [{"dataset": "x"}]}}}, r"data\.asr\.train: .*'split'"),
        ({"data": {"asr": {"train": ["a"], "evaluation": ["b"]}}}, r"data\.asr\.evaluation: "),
        ({"data": {"asr": {"train": ["a"], "index": 1}}}, r"data\.asr\.index: .* got 1"),
        ({"data": {"asr": {"train": ["a"], "max_seconds": "30"}}}, r"data\.asr\.max_seconds: "),
        ({"data": {"asr": {"train": ["a"], "on_unreadable": "x"}}}, r"data\.asr\.on_unreadable: "),
        ({"data": {"asr": ["a.json"]}}, r"data\.asr: expected an object"),
        ({"data": {"mine": {"train": ["a"]}}}, r"data: expected names among .* or a 'format'"),
        ({"data": {"mine": {"train": ["a"], "format": "b"}}}, r"data: .* got \['b'\]"),
        ({"data": []}, r"data: expected an object"),
        ({"data": {}}, r"data: expected one data set or more"),
        ({"encoder": 3}, r"encoder: expected text or object, got 3"),
        ({"encoder": {"name": "whisper"}}, r"encoder: expected .*'from' and 'settings'"),
        ({"encoder": {"name": "no", "from": "x"}}, r"encoder: expected one of .*got 'no'"),
        ({"backbone": None}, r"encoder, backbone: expected both"),
        ({"dtype": "bf16"}, r"dtype: expected a name such as bfloat16, got bf16"),
        ({"adapters": {"dual": 3}}, r"adapters\.dual: expected an object"),
        ({"recipe": "diffa3"}, r"recipe: expected one of \['diffa', 'diffa2'\] or a list"),
        ({"recipe": [{"name": "x"}]}, r"recipe\[0\]: expected an entry 'adapter'"),
        ({"start_stage": "2"}, r"start_stage: expected an integer, got '2'"),
        ({"optimization": {"stage5": {}}}, r"optimization: .*'stage4'\], got \['stage5'\]"),
        ({"optimization": {"stage1": {"lr": 1}}}, r"optimization\.stage1: .* got \['lr'\]"),
        ({"optimization": {"stage1": {"epochs": 0}}}, r"epochs: .* > 0"),
        ({"optimization": {"stage1": {"epochs": "3"}}}, r"optimization\.stage1\.epochs: "),
        ({"optimization": {"stage1": {"batch_size": 2.5}}}, r"batch_size: .*an integer"),
        ({"optimization": {"stage1": {"schedule": "cos"}}}, r"schedule: .* got 'cos'"),
        ({"optimization": {"stage1": 3}}, r"optimization\.stage1: expected an object"),
        ({"loop": []}, r"loop: expected an object"),
        ({"loop": {"save_step": 5}}, r"loop: .* got \['save_step'\]"),
        ({"loop": {"seed": 5}}, r"loop: .* got \['seed'\]"),
        ({"loop": {"save_steps": 0}}, r"loop\.save_steps: expected an integer >= 1 or null, got 0"),
        ({"loop": {"logging_steps": None}}, r"loop\.logging_steps: expected an integer"),
        ({"loop": {"timeout": "x"}}, r"loop\.timeout: expected a number"),
    ],
)
def test_bad_values_are_named_with_their_place(tmp_path: Path, change: dict, message: str) -> None:
    with pytest.raises(InvalidArgumentError, match=rf"^run\.json: .*{message}"):
        RunConfig.from_file(written(tmp_path, {**GOOD, **change}))


def test_stages_of_ones_own(tmp_path: Path) -> None:
    stage = {"name": "mine", "adapter": "dual", "data": "words", "optimization": {"epochs": 3}}
    stage |= {"lora": {"targets": ["q_proj"]}, "trains": ["adapter", "lora"]}
    data = {"words": {"train": ["a.json"], "format": "qa"}}
    config = RunConfig.from_file(written(tmp_path, {**GOOD, "data": data, "recipe": [stage]}))
    assert config.stages.names == ["mine"]
    made = config.stages["mine"]
    assert isinstance(made, Stage)
    assert made.optimization == Optimization(epochs=3)
    assert made.lora is not None
    assert made.lora.targets == ("q_proj",)


def test_a_start_has_its_own_parts(tmp_path: Path) -> None:
    data = {"data": GOOD["data"], "start": "runs/a/stage2"}
    assert RunConfig.from_file(written(tmp_path, data)).origin == {"start": "runs/a/stage2"}
    assert RunConfig.from_file(written(tmp_path, {**GOOD, **data})).origin["encoder"] == "e"


def test_data_of_ones_own_are_checked_too() -> None:
    with pytest.raises(InvalidArgumentError, match="train: expected a list"):
        DataConfig("a.json")


def test_the_page_explains_every_key() -> None:
    shown = explain()
    for key in (*GOOD, "start", "adapters", "save_steps", "learning_rate", "starts_from", "beta"):
        assert f"\n{key}  (" in shown
    assert 'recipe  (text or list of: object: Stage; default "diffa2")' in shown
    assert "    steps between two checkpoints" in shown
    assert "None" not in shown
