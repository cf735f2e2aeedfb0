"""The data of a run file: everything that would end the run later is said before it starts."""

from __future__ import annotations

import io
import json
import os
import wave
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pytest
import torch

from dllm_audio.data import audio_check
from dllm_audio.errors import DataError
from dllm_audio.prompts import TRAINING_SYSTEM_PROMPT
from dllm_audio.training import (
    DIFFA,
    DIFFA2,
    Foundation,
    LoopSettings,
    Recipe,
    RunConfig,
    assemble,
)
from dllm_audio.training.processes import from_main_process
from dllm_audio.training.run_data import DataConfig, audio_positions

from . import workers
from .tiny import SIZES, TOKENIZER, tiny_model


def wav(path: Path, seconds: float) -> str:
    buffer = io.BytesIO()
    with wave.open(buffer, "wb") as file:
        file.setparams((1, 2, 16000, 0, "NONE", ""))
        file.writeframes(np.zeros(int(16000 * seconds), np.int16).tobytes())
    path.write_bytes(buffer.getvalue())
    return path.name


def foundation() -> Foundation:
    model = tiny_model()
    return Foundation(model.encoder, model.backbone, TOKENIZER, SIZES)


def row(folder: Path, name: str, **changes: Any) -> dict[str, Any]:
    audio = wav(folder / f"{name}.wav", changes.pop("seconds", 0.2))
    return {"audio": audio, "question": "what?", "answer": "one two", **changes}


def run_file(folder: Path, rows: dict[str, list[dict]], **settings: Any) -> RunConfig:
    for name, values in rows.items():
        (folder / f"{name}.json").write_text(json.dumps(values))
    train = [str(folder / f"{name}.json") for name in rows if name != "held"]
    held = str(folder / "held.json") if "held" in rows else None
    data = {"qa": DataConfig(train, held, index=str(folder / "index.jsonl"), **settings)}
    return RunConfig(
        data, encoder="e", backbone="b", system="be brief", loop=LoopSettings(use_cpu=True)
    )


STAGE = DIFFA2["stage2"].changed(batch_size=2)


def test_what_a_stage_learns_from(tmp_path: Path) -> None:
    a = [row(tmp_path, "a0"), row(tmp_path, "a1", seconds=1.0), row(tmp_path, "a2", seconds=0.3)]
    b, held = [row(tmp_path, "b0", seconds=0.1)], [row(tmp_path, "c0")]
    config = run_file(tmp_path, {"a": a, "b": b, "held": held}, on_unreadable="skip")
    data = config.load_data(STAGE, foundation())
    # No two records share a number, and a1 is longer than the encoder hears.
    assert [record.row for record in data.train] == [0, 2, 3]
    assert data.lengths == pytest.approx([0.2, 0.3, 0.1])
    assert [record.row for record in data.evaluation] == [0]
    assert data.train[2].origin == f"{tmp_path / 'b.json'}, row 0"
    assert data.collator([data.train[0], data.train[2]])["row"].tolist() == [0, 3]


@pytest.mark.parametrize("part", ["b", "held"])
@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"answer": "one <|eot_id|>"}, r"row 1, field 'target': .*<\|eot_id\|>"),
        ({"question": "<audio> or <audio>?"}, r"row 1, field 'instruction': .*<audio>"),
        ({"answer": "one " * 200}, r"row 1, .*'target': expected at most 256 positions"),
        ({"seconds": 1.0}, r"row 1: 1.00 s long, at most 0.4 s allowed"),
        ({"audio": "missing.wav"}, r"row 1: .*missing.wav"),
        ({"answer": None}, r"row 1, field 'target or "),
    ],
)
def test_what_would_end_the_run_later(
    tmp_path: Path, part: str, change: dict, message: str
) -> None:
    rows = {"a": [row(tmp_path, "a0")], part: [row(tmp_path, "b0"), row(tmp_path, "b1", **change)]}
    with pytest.raises(DataError, match=rf"{part}\.json, {message}"):
        run_file(tmp_path, rows, max_seconds=None).load_data(STAGE, foundation())


def test_no_rows(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"b\.json: expected one row or more"):
        run_file(tmp_path, {"a": [row(tmp_path, "a0")], "b": []}).load_data(STAGE, foundation())


def test_rows_that_cannot_share_a_batch_where_padding_is_learned(tmp_path: Path) -> None:
    short = row(tmp_path, "a1", answer="one " * 86, seconds=0.05)
    rows = [row(tmp_path, "a0", seconds=0.4), short]
    config = replace(run_file(tmp_path, {"a": rows}), eos_multiple=1)
    assert len(config.load_data(STAGE, foundation()).train) == 2
    config = replace(config, eos_multiple=None)
    with pytest.raises(DataError, match=r"row 0 and .*row 1: .* one batch of at most 256"):
        config.load_data(STAGE, foundation())
    assert len(config.load_data(STAGE.changed(batch_size=1), foundation()).train) == 2


@pytest.mark.parametrize(
    ("recipe", "own", "system"),
    [
        (DIFFA, None, "You are a helpful voice assistant."),
        (DIFFA2, None, TRAINING_SYSTEM_PROMPT),
        (DIFFA2, "Be brief.", "Be brief."),
    ],
)
def test_the_system_turn_is_that_of_the_recipe(
    tmp_path: Path, recipe: Recipe, own: str | None, system: str
) -> None:
    config = run_file(tmp_path, {"a": [row(tmp_path, "a0")]})
    config = replace(config, recipe=recipe.name, system=own, eos_multiple=1)
    data = config.load_data(recipe["stage2"], foundation())
    assert data.collator.template.system == system


@pytest.mark.parametrize("name", ["stage1", "stage2"])
@pytest.mark.parametrize("samples", [160, 161, 1440, 3333, 6400])
def test_positions_of_audio_are_those_of_the_model(name: str, samples: int) -> None:
    shared = foundation()
    stage = DIFFA2[name]
    model = assemble(shared, stage)
    frames = torch.tensor([-(-samples // 160)])
    encoded = model.encoder(torch.zeros(1, 80, 40), frames)
    expected = int(model.adapter(encoded).lengths[0])
    assert audio_positions(shared, stage)(samples / 16000) == expected


# Data sets of Hugging Face in folders.


@pytest.mark.parametrize("split", [None, "train"])
def test_a_folder_of_save_to_disk_trains(tmp_path: Path, split: str | None) -> None:
    rows = [row(tmp_path, "a0"), row(tmp_path, "a1", answer="three")]
    held = datasets.Dataset.from_list(rows[:1])
    held.save_to_disk(tmp_path / "held")
    saved: Any = datasets.Dataset.from_list(rows)  # paths start from the folder
    if split is not None:
        saved = datasets.DatasetDict({"train": saved, "other": held})
    saved.save_to_disk(tmp_path / "saved")
    for name in ("a0", "a1"):
        wav(tmp_path / "saved" / f"{name}.wav", 0.2)
    source = {"dataset": str(tmp_path / "saved")} | ({} if split is None else {"split": split})
    held_out = {"dataset": str(tmp_path / "held")}
    config = run_file(tmp_path, {"a": rows})
    wav(tmp_path / "held" / "a0.wav", 0.2)
    qa = DataConfig([source], held_out)
    data = replace(config, data={"qa": qa}).load_data(STAGE, foundation())
    assert [record.target for record in data.train] == ["one two", "three"]
    assert data.evaluation is not None
    assert [record.target for record in data.evaluation] == ["one two"]


def test_splits_of_a_folder_are_named(tmp_path: Path) -> None:
    made = datasets.Dataset.from_list([row(tmp_path, "a0")])
    datasets.DatasetDict({"a": made, "b": made}).save_to_disk(tmp_path / "saved")
    whole = {"dataset": str(tmp_path / "saved")}
    for source in (whole, {**whole, "split": "c"}):
        config = DataConfig([source])
        with pytest.raises(DataError, match=r"saved: expected one of the splits a, b, got"):
            config.read(source, config.parser("qa"))


# Several processes.


def _load(folder: Path) -> None:
    rank = int(os.environ["RANK"])
    decoded: list[Any] = []
    decode = audio_check._decode
    audio_check._decode = lambda source: decoded.append(source) or decode(source)
    patience: list[timedelta] = []
    new_group = torch.distributed.new_group

    def noting(*args: Any, timeout: timedelta, **kwargs: Any) -> Any:
        patience.append(timeout)
        return new_group(*args, timeout=timeout, **kwargs)

    torch.distributed.new_group = noting
    config = run_file(folder / str(rank), _rows(folder / str(rank)), on_unreadable="skip")
    data = config.load_data(STAGE, foundation())
    kept = [(record.row, record.audio) for record in data.train], data.lengths
    found = {"kept": kept, "decoded": len(decoded), "hours": patience[0].total_seconds() / 3600}
    (folder / f"{rank}.json").write_text(json.dumps(found))


def _rows(folder: Path) -> dict[str, list[dict]]:
    folder.mkdir()
    return {"a": [row(folder, "0"), row(folder, "1", seconds=1.0), row(folder, "2")]}


def _fail(folder: Path) -> None:
    rank = int(os.environ["RANK"])

    def compute() -> None:
        raise KeyError("rank", rank)

    try:
        from_main_process(compute, timedelta(minutes=1), cpu=True)
    except Exception as error:
        (folder / str(rank)).write_text(f"{type(error).__name__} {error}")


@pytest.mark.parametrize("target", [_load, _fail])
def test_one_process_checks_for_all(tmp_path: Path, target: Callable[..., None]) -> None:
    workers.run_ranks(2, target, tmp_path)
    if target is _fail:
        assert (tmp_path / "0").read_text() == "KeyError ('rank', 0)"
        expected = "DataError in the main process: KeyError: ('rank', 0)"
        assert (tmp_path / "1").read_text() == expected
        return
    main, other = (json.loads((tmp_path / f"{rank}.json").read_text()) for rank in (0, 1))
    assert (main["decoded"], other["decoded"]) == (3, 0)
    assert [number for number, _ in other["kept"][0]] == [0, 2]
    assert other["kept"][1] == main["kept"][1] == pytest.approx([0.2, 0.2])
    assert min(main["hours"], other["hours"]) > 24
