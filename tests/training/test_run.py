"""Recipes end to end at the smallest size: stages that build on each other, and run files."""

from __future__ import annotations

import json
import os
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from dllm_audio.errors import CheckpointError, InvalidArgumentError, TrainingError
from dllm_audio.training import (
    DIFFA2,
    Foundation,
    Preference,
    RunConfig,
    StageData,
    assemble,
    check_settings,
    is_complete,
    load_stage,
    run_settings,
    run_stage,
    trained_weights,
)
from dllm_audio.training.identity import claim

from .tiny import LORA, SETTINGS, SIZES, TOKENIZER, collator, rows, tiny_model

QUICK = {
    "max_steps": 2,
    "batch_size": 2,
    "warmup_steps": 0,
    "bf16": False,
    "learning_rate": 1e-2,
    "accumulation": 1,
}
OPTIONS: dict[str, Any] = {"settings": replace(SETTINGS, save_steps=1)}


@pytest.fixture
def foundation() -> Foundation:
    model = tiny_model()
    return Foundation(model.encoder, model.backbone, TOKENIZER, SIZES)


def stages():
    for stage in DIFFA2.stages:
        stage = stage.changed(**QUICK)
        yield replace(stage, lora=LORA) if stage.lora else stage


def data(pairs: bool) -> StageData:
    return StageData(rows(6, pairs), collator(pairs))


def test_four_stages_build_on_each_other(tmp_path: Path, foundation: Foundation) -> None:
    frozen = {
        name: p.clone()
        for part in (foundation.encoder, foundation.backbone)
        for name, p in part.named_parameters()
    }
    previous: dict[str, torch.Tensor] = {}
    for stage in stages():
        folder = tmp_path / stage.name
        before = None if stage.starts_from is None else tmp_path / stage.starts_from
        model = assemble(foundation, stage, seed=1, previous=before)
        start = {name: tensor.clone() for name, tensor in model.state_dict().items()}
        for name, tensor in previous.items():
            if name != "adapter.prompts":
                assert torch.equal(start[name], tensor), name
        previous = {}
        run_stage(stage, model, data(stage.preference is not None), folder, seed=1, **OPTIONS)
        assert is_complete(folder)
        trained = trained_weights(folder)
        names = {name for name, p in model.named_parameters() if p.requires_grad}
        assert trained.keys() == names
        assert any(not torch.equal(start[name], tensor) for name, tensor in trained.items())
        loaded = load_stage(foundation, stage, folder)
        for name, tensor in trained.items():
            assert torch.equal(loaded.state_dict()[name], tensor)
        previous = trained
    assert any(".lora_B." in name for name in previous)
    for part in (foundation.encoder, foundation.backbone):
        for name, parameter in part.named_parameters():
            if "lora" not in name:
                assert torch.equal(parameter, frozen[name.replace(".base_layer", "")])


def test_other_settings_do_not_go_on_with_a_run(tmp_path: Path, foundation: Foundation) -> None:
    first = next(stages())
    run_stage(first, assemble(foundation, first), data(False), tmp_path, **OPTIONS)
    other = first.changed(learning_rate=1e-3)
    with pytest.raises(TrainingError, match=r"holds a run with other settings \(optimization\)"):
        run_stage(other, assemble(foundation, other), data(False), tmp_path, **OPTIONS)
    with pytest.raises(TrainingError, match="seed"):
        run_stage(first, assemble(foundation, first), data(False), tmp_path, seed=2, **OPTIONS)


def test_rows_may_be_spread_otherwise_but_not_be_others(
    tmp_path: Path, foundation: Foundation
) -> None:
    first = next(stages()).changed(batch_size=2, accumulation=2)
    run_stage(first, assemble(foundation, first), data(False), tmp_path, **OPTIONS)
    spread = first.changed(batch_size=4, accumulation=1)
    run_stage(spread, assemble(foundation, spread), data(False), tmp_path, **OPTIONS)
    fewer = first.changed(accumulation=1)
    with pytest.raises(TrainingError, match="rows per step: 4 then, 2 now"):
        run_stage(fewer, assemble(foundation, fewer), data(False), tmp_path, **OPTIONS)
    model, origin = assemble(foundation, first), {"backbone": "other"}
    with pytest.raises(TrainingError, match="origin"):
        run_stage(first, model, data(False), tmp_path, origin=origin, **OPTIONS)


def test_a_note_of_settings_is_never_half_written(
    tmp_path: Path, foundation: Foundation, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = next(stages())
    run_stage(first, assemble(foundation, first), data(False), tmp_path, **OPTIONS)
    note, whole = tmp_path / "stage.json", (tmp_path / "stage.json").read_bytes()

    def killed(*args: object) -> None:
        raise KeyboardInterrupt

    for checkpoint in tmp_path.glob("checkpoint-*"):
        shutil.rmtree(checkpoint)
    monkeypatch.setattr(os, "replace", killed)
    with pytest.raises(KeyboardInterrupt):
        claim(tmp_path, run_settings(first.changed(learning_rate=1.0), 0))
    assert note.read_bytes() == whole
    note.write_text("{")
    with pytest.raises(TrainingError, match=r"stage.json: cannot be read"):
        check_settings(tmp_path, run_settings(first, 0))


def test_a_stage_of_another_rank_is_refused(tmp_path: Path, foundation: Foundation) -> None:
    third = replace(list(stages())[2], starts_from=None)
    run_stage(third, assemble(foundation, third), data(False), tmp_path, **OPTIONS)
    wider = replace(third, lora=replace(third.lora, rank=2 * third.lora.rank))
    with pytest.raises(CheckpointError, match="does not fit this stage"):
        assemble(foundation, wider, previous=tmp_path)


def test_a_stage_needs_the_one_before(tmp_path: Path, foundation: Foundation) -> None:
    second = list(stages())[1]
    with pytest.raises(CheckpointError, match="run this stage first"):
        assemble(foundation, second, previous=tmp_path / "stage1")
    with pytest.raises(InvalidArgumentError, match="a complete stage"):
        load_stage(foundation, second, tmp_path)


@pytest.mark.parametrize("reference", ["adapter", "base", "copy"])
def test_every_reference_runs(tmp_path: Path, foundation: Foundation, reference: str) -> None:
    stage = replace(list(stages())[3], starts_from=None, preference=Preference(reference=reference))
    model = assemble(foundation, stage)
    loop = run_stage(stage, model, data(True), tmp_path, **OPTIONS)
    assert loop.history[-1]["step"] == 2


# Run files.


def test_the_shipped_run_files_are_valid() -> None:
    folder = Path(__file__).parents[2] / "examples" / "configs"
    files = sorted(folder.glob("*.json"))
    assert [file.stem for file in files] == ["diffa", "diffa2"]
    for file in files:
        config = RunConfig.from_file(file)
        assert config.stages.name == file.stem
        for stage in config.stages.stages:
            assert stage.optimization.bf16
            assert stage.optimization.gradient_checkpointing


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"encodr": "x"}, r"run.json: .*got \['encodr'\]"),
        ({"data": {"speech": {"train": ["a"]}}}, r"run.json: data: .*got \['speech'\]"),
        ({"data": {"asr": {"train": [], "skip": 1}}}, r"data.asr: .*got \['skip'\]"),
        ({"adapters": 3}, r"run.json: adapters: expected an object"),
    ],
)
def test_misspelled_run_files(tmp_path: Path, change: dict, message: str) -> None:
    good = {"encoder": "e", "backbone": "b", "data": {"asr": {"train": ["a.json"]}}}
    path = tmp_path / "run.json"
    path.write_text(json.dumps(good))
    assert RunConfig.from_file(path).data["asr"].train == ("a.json",)
    path.write_text(json.dumps({**good, **change}))
    with pytest.raises(InvalidArgumentError, match=message):
        RunConfig.from_file(path)
    path.write_text("{")
    with pytest.raises(InvalidArgumentError, match=r"run\.json: expected a readable JSON"):
        RunConfig.from_file(path)
