"""The examples as a user starts them, two steps per stage."""

from __future__ import annotations

import json
import runpy
import sys
from pathlib import Path

import pytest
import torch

from dllm_audio import AudioDiffusionLM
from dllm_audio.toy import ToyDataset

EXAMPLES = Path(__file__).parents[2] / "examples"


@pytest.fixture
def start(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.syspath_prepend(str(EXAMPLES))

    def start(name: str, *arguments: object) -> None:
        monkeypatch.setattr(sys, "argv", [name, *map(str, arguments)])
        runpy.run_path(str(EXAMPLES / f"{name}.py"), run_name="__main__")

    return start


def test_all_stages_of_diffa2(start, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    start("diffa2_sft", "--max-steps", 2, "--output", tmp_path)
    shown = capsys.readouterr().out
    for number in (1, 2, 3, 4):
        folder = tmp_path / f"stage{number}"
        assert f"| stage{number} | " in shown
        assert (folder / "curves.png").exists()
        results = json.loads((folder / "results.json").read_text())
        assert set(results) == {"semantic", "acoustic", "mixed", "all", "preference"}
        state = json.loads((folder / "checkpoint-2" / "trainer_state.json").read_text())
        assert any("eval_loss" in entry for entry in state["log_history"])
    model = AudioDiffusionLM.from_pretrained(tmp_path / "stage4" / "model")
    record = ToyDataset("heldout", 1)[0]
    answer = model.generate(audio=torch.from_numpy(record.waveform), prompts=record.prompt)
    assert len(answer.texts) == 1
    start("diffa2_sft", "--max-steps", 2, "--output", tmp_path)
    assert "stage4: complete" in capsys.readouterr().out
    # Two steps are not passed off as a whole run, nor as one with another seed.
    for other in ((), ("--max-steps", 2, "--seed", 1)):
        with pytest.raises(SystemExit, match="stage1 holds a run with other settings"):
            start("diffa2_sft", *other, "--output", tmp_path)


def test_both_stages_of_diffa(start, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    with pytest.raises(SystemExit, match="run this stage first"):
        start("diffa_stage2", "--max-steps", 2, "--output", tmp_path)
    for name in ("diffa_stage1", "diffa_stage2"):
        start(name, "--max-steps", 2, "--output", tmp_path, "--skip-evaluation")
    assert "saved to" in capsys.readouterr().out
    assert AudioDiffusionLM.from_pretrained(tmp_path / "stage2" / "model").adapter.acoustic


@pytest.mark.parametrize("name", ["diffa_stage1", "diffa_stage2", "diffa2_sft"])
def test_help_and_estimate(start, name: str, capsys: pytest.CaptureFixture) -> None:
    with pytest.raises(SystemExit):
        start(name, "--help")
    shown = capsys.readouterr().out
    for option in ("--config", "--stage", "--max-steps", "--estimate", "--output", "--seed"):
        assert option in shown
    if name != "diffa_stage2":
        start(name, "--estimate", "--gpus", 8, "--sharded")
        shown = capsys.readouterr().out
        published = "36,621,056" if name == "diffa_stage1" else "98,965,504"
        assert published in shown
        assert "GiB per GPU" in shown


def test_errors_are_one_line(start, tmp_path: Path) -> None:
    with pytest.raises(SystemExit, match=r"InvalidArgumentError: config: expected a readable"):
        start("diffa2_sft", "--config", tmp_path / "none.json", "--output", tmp_path)
