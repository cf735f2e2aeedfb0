"""Run files as a user starts them: ``dllm-audio train run.json``, two steps a stage."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import torch

from checkpoints.published_layouts import diffa_2_folder, llada_folder, whisper_folder
from dllm_audio import AudioDiffusionLM, load_diffa, toy
from dllm_audio.cli import main
from dllm_audio.training import RunConfig, assemble, load_stage, merge_lora, trained_weights

from . import workers

SMALL = Path(toy.__file__).parents[1] / "assets" / "tiny"
QUICK = {"max_steps": 2, "batch_size": 2, "warmup_steps": 0, "bf16": False, "learning_rate": 1e-3}
HEAR = {"name": "hear", "adapter": "dual", "data": "qa", "optimization": QUICK}
ADAPT = {
    **HEAR,
    "name": "adapt",
    "starts_from": "hear",
    "trains": ["adapter", "lora"],
    "lora": {"rank": 2},
}


def write_run(folder: Path, **changes: Any) -> Path:
    """A run file with its data; the small model starts it."""
    folder.mkdir(exist_ok=True)
    rows = []
    for i in range(8):
        name = f"{i}.wav"
        soundfile.write(folder / name, np.sin(np.arange(4000) * 0.01 * (i + 1)), 16000)
        rows.append({"audio": name, "question": "how many beeps?", "answer": "one two"})
    (folder / "rows.json").write_text(json.dumps(rows))
    source = str(folder / "rows.json")
    values = {
        "recipe": [HEAR, ADAPT],
        "start": str(SMALL),
        "dtype": "float32",
        "data": {"qa": {"train": [source], "evaluation": source}},
        "loop": {"use_cpu": True, "progress": False, "save_steps": 1},
        **changes,
    }
    path = folder / "run.json"
    path.write_text(json.dumps(values))
    return path


def state_of(model: Any) -> dict[str, torch.Tensor]:
    return {name: tensor.detach().clone() for name, tensor in model.state_dict().items()}


def test_every_stage_leaves_a_model_and_goes_on_in_the_next_run(
    tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    path, output = write_run(tmp_path / "run"), tmp_path / "output"
    assert main(["train", str(path), "--output", str(output)]) == 0
    shown = capsys.readouterr().out
    assert shown.split() == [str(output / "hear"), str(output / "adapt")]
    config = RunConfig.from_file(path)
    expected = load_stage(config.load_foundation(), config.stages["adapt"], output / "adapt")
    assert any(".lora_" in name for name in trained_weights(output / "adapt"))
    merge_lora(expected.backbone)
    saved = AudioDiffusionLM.from_pretrained(output / "adapt")
    first, second = state_of(saved), state_of(expected)
    assert first.keys() == second.keys()
    for name, tensor in first.items():
        torch.testing.assert_close(tensor, second[name], rtol=0, atol=1e-6)
    small = state_of(AudioDiffusionLM.from_pretrained(SMALL))
    moved = {n.partition(".")[0] for n in small if not torch.equal(small[n], first[n])}
    assert moved == {"adapter", "backbone"}
    assert saved.generate(audio=torch.zeros(8000), prompts="how many beeps?").texts
    names = {file.name for file in (output / "adapt").iterdir()}
    assert names >= {"config.json", "stage.json", "curves.png", "checkpoint-2", "final"}

    # Again: nothing is left to do.
    before = (output / "adapt" / "model.safetensors").stat().st_mtime_ns
    assert main(["train", str(path), "--output", str(output)]) == 0
    assert (output / "adapt" / "model.safetensors").stat().st_mtime_ns == before

    # And a run of another recipe goes on from there.
    onwards = write_run(tmp_path / "on", start=str(output / "adapt"), recipe=[HEAR])
    config = RunConfig.from_file(onwards)
    foundation = config.load_foundation()
    start = state_of(assemble(foundation, config.stages["hear"]))
    assert all(torch.equal(tensor, first[name]) for name, tensor in start.items())
    assert main(["train", str(onwards), "--output", str(tmp_path / "more")]) == 0


def test_a_stage_alone_starts_from_the_given_model(tmp_path: Path) -> None:
    path, output = write_run(tmp_path / "run"), tmp_path / "output"
    assert main(["train", str(path), "--output", str(output), "--stage", "adapt"]) == 0
    assert not (output / "hear").exists()


@pytest.mark.parametrize(("stage", "adapter"), [(1, "prompted"), (2, "dual"), (4, "dual")])
def test_published_checkpoints_are_a_start(tmp_path: Path, stage: int, adapter: str) -> None:
    folders = {
        "encoder": str(whisper_folder(tmp_path / "whisper")),
        "backbone": str(llada_folder(tmp_path / "llada")),
        "start": str(diffa_2_folder(tmp_path / "diffa2")),
    }
    recipe = [{**HEAR, "adapter": adapter}]
    path = write_run(
        tmp_path / "run", recipe=recipe, start_stage=stage, tokenizer=str(SMALL), **folders
    )
    config = RunConfig.from_file(path)
    model = assemble(config.load_foundation(), config.stages["hear"])
    published = load_diffa(
        folders["start"], whisper=folders["encoder"], llada=folders["backbone"], stage=stage
    )
    expected = state_of(published)
    assert all(torch.equal(tensor, expected[name]) for name, tensor in state_of(model).items())
    assert config.origin == folders


def _command(arguments: Sequence[str]) -> None:
    assert main(arguments) == 0


def test_the_command_on_two_processes(tmp_path: Path) -> None:
    path = write_run(tmp_path / "run")
    command = ["train", str(path), "--output", str(tmp_path / "two")]
    workers.run_ranks(2, _command, command)
    AudioDiffusionLM.from_pretrained(tmp_path / "two" / "adapt")


def test_mistakes_are_one_line(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    path = write_run(tmp_path / "run", speed=3)
    assert main(["train", str(path)]) == 1
    assert "run.json: expected names among" in capsys.readouterr().err
    good = write_run(tmp_path / "run")
    assert main(["train", str(good), "--stage", "taste", "--output", str(tmp_path)]) == 1
    assert "stage: expected one of ['hear', 'adapt'], got taste" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        main(["train"])


def test_explain(capsys: pytest.CaptureFixture) -> None:
    assert main(["train", "--explain"]) == 0
    assert "save_steps  (integer or null; default 500)" in capsys.readouterr().out


@pytest.mark.parametrize(("name", "published"), [("diffa", "36,621,056"), ("diffa2", "98,965,504")])
def test_estimate(name: str, published: str, capsys: pytest.CaptureFixture) -> None:
    file = Path(__file__).parents[2] / "examples" / "configs" / f"{name}.json"
    assert main(["train", str(file), "--estimate", "--gpus", "8"]) == 0
    shown = capsys.readouterr().out
    assert published in shown
    assert "GiB per GPU" in shown
