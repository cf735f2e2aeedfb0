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

    def start(name: str, *arguments: object) -> int:
        monkeypatch.setattr(sys, "argv", [name, *map(str, arguments)])
        with pytest.raises(SystemExit) as end:
            runpy.run_path(str(EXAMPLES / f"{name}.py"), run_name="__main__")
        return end.value.code or 0

    return start


def test_all_stages_of_diffa2(start, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    assert start("diffa2_sft", "--max-steps", 2, "--output", tmp_path) == 0
    shown = capsys.readouterr().out
    for number in (1, 2, 3, 4):
        folder = tmp_path / f"stage{number}"
        assert f"| stage{number} | " in shown
        assert (folder / "curves.png").exists()
        results = json.loads((folder / "results.json").read_text())
        assert set(results) == {"semantic", "acoustic", "mixed", "all", "preference"}
        progress = json.loads((folder / "checkpoint-2" / "progress.json").read_text())
        assert any("eval_loss" in entry for entry in progress["history"])
    model = AudioDiffusionLM.from_pretrained(tmp_path / "stage4")
    record = ToyDataset("heldout", 1)[0]
    answer = model.generate(audio=torch.from_numpy(record.waveform), prompts=record.prompt)
    assert len(answer.texts) == 1
    assert start("diffa2_sft", "--max-steps", 2, "--output", tmp_path) == 0
    assert "stage4: complete" in capsys.readouterr().out
    # Two steps are not passed off as a whole run, nor as one with another seed.
    for other in ((), ("--max-steps", 2, "--seed", 1)):
        assert start("diffa2_sft", *other, "--output", tmp_path) == 1
        assert "stage1 holds a run with other settings" in capsys.readouterr().err


def test_both_stages_of_diffa(start, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    assert start("diffa_stage2", "--max-steps", 2, "--output", tmp_path) == 1
    assert "run this stage first" in capsys.readouterr().err
    for name in ("diffa_stage1", "diffa_stage2"):
        assert start(name, "--max-steps", 2, "--output", tmp_path) == 0
    assert AudioDiffusionLM.from_pretrained(tmp_path / "stage2").adapter.acoustic


@pytest.mark.parametrize("name", ["diffa_stage1", "diffa_stage2", "diffa2_sft"])
def test_help(start, name: str, capsys: pytest.CaptureFixture) -> None:
    assert start(name, "--help") == 0
    shown = capsys.readouterr().out
    for option in ("--stage", "--max-steps", "--output", "--seed"):
        assert option in shown
