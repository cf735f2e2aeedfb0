"""The examples that train, as a user starts them, two steps per stage."""

from __future__ import annotations

import json
import os
import runpy
import signal
import subprocess
import sys
import time
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
        with pytest.raises(SystemExit) as ended:
            runpy.run_path(str(EXAMPLES / f"{name}.py"), run_name="__main__")
        return ended.value.code

    return start


def test_all_stages_of_diffa2(start, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    assert start("diffa2_sft", "--max-steps", 2, "--output", tmp_path) == 0
    shown = capsys.readouterr().out
    record = ToyDataset("heldout", 1)[0]
    for number in (1, 2, 3, 4):
        folder = tmp_path / f"stage{number}"
        assert f"| stage{number} | " in shown
        assert (folder / "curves.png").exists()
        results = json.loads((folder / "results.json").read_text())
        assert set(results) == {"semantic", "acoustic", "mixed", "all", "preference"}
        progress = json.loads((folder / "checkpoint-2" / "progress.json").read_text())
        assert any("eval_loss" in entry for entry in progress["history"])
        # Each stage is a model to use.
        model = AudioDiffusionLM.from_pretrained(folder)
        answer = model.generate(audio=torch.from_numpy(record.waveform), prompts=record.prompt)
        assert len(answer.texts) == 1
        assert answer.output.tokens.shape == (1, 16)
    assert start("diffa2_sft", "--max-steps", 2, "--output", tmp_path) == 0
    assert "stage4: complete" in capsys.readouterr().out
    # Two steps are not passed off as a whole run, nor as one with another seed.
    for other in ((), ("--max-steps", 2, "--seed", 1)):
        assert start("diffa2_sft", *other, "--output", tmp_path) == 1
        assert "stage1 holds a run with other settings" in capsys.readouterr().err


def test_a_shortened_stage_starts_from_a_whole_one(
    start, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    monkeypatch.chdir(tmp_path)
    assert start("diffa2_sft", "--stage", 2, "--max-steps", 2) == 1
    assert "diffa2-2-steps/stage1/final: " in capsys.readouterr().err
    assert start("diffa2_sft", "--stage", 1, "--max-steps", 2, "--output", "runs/diffa2") == 0
    assert start("diffa2_sft", "--stage", 2, "--max-steps", 2) == 0
    assert "starts from runs/diffa2/stage1\n" in capsys.readouterr().out
    assert start("diffa2_sft", "--stage", 1, "--max-steps", 3) == 0
    assert start("diffa2_sft", "--stage", 2, "--max-steps", 3) == 0  # its own comes first
    assert "starts from runs/diffa2-3-steps/stage1\n" in capsys.readouterr().out


def test_both_stages_of_diffa(start, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    assert start("diffa_stage2", "--max-steps", 2, "--output", tmp_path) == 1
    assert "run this stage first" in capsys.readouterr().err
    for name in ("diffa_stage1", "diffa_stage2"):
        assert start(name, "--max-steps", 2, "--output", tmp_path) == 0
    assert "try dllm-audio answer --model" in capsys.readouterr().out
    assert AudioDiffusionLM.from_pretrained(tmp_path / "stage2").adapter.acoustic


@pytest.mark.parametrize("name", ["diffa_stage1", "diffa_stage2", "diffa2_sft"])
def test_help(start, name: str, capsys: pytest.CaptureFixture) -> None:
    assert start(name, "--help") == 0
    shown = capsys.readouterr().out
    for option in ("--stage", "--max-steps", "--output", "--seed"):
        assert option in shown


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_stopped_by_a_signal_it_says_one_line(tmp_path: Path, number: signal.Signals) -> None:
    """Ctrl-C reaches all processes of a terminal, SIGTERM one."""
    with (tmp_path / "errors").open("w") as errors:
        run = subprocess.Popen(
            [sys.executable, str(EXAMPLES / "diffa2_sft.py"), "--output", str(tmp_path / "run")],
            stdout=subprocess.DEVNULL, stderr=errors, start_new_session=True,
        )  # fmt: skip
        while not (tmp_path / "run" / "features").exists():  # it makes clips, in processes
            assert run.poll() is None, (tmp_path / "errors").read_text()
            time.sleep(0.1)
        (os.killpg if number == signal.SIGINT else os.kill)(run.pid, number)
        assert run.wait() == 128 + number
    shown = (tmp_path / "errors").read_text()
    assert "stopped; the same command goes on" in shown
    assert "Traceback" not in shown


def test_conversion_to_block_causal_attention(monkeypatch, tmp_path: Path) -> None:
    monkeypatch.syspath_prepend(str(EXAMPLES))
    options = ["--max-steps", 2, "--questions", 3, "--output", tmp_path, "--results", tmp_path]
    monkeypatch.setattr(sys, "argv", ["block_causal", *map(str, options)])
    runpy.run_path(str(EXAMPLES / "block_causal.py"), run_name="__main__")
    table = (tmp_path / "block_causal.md").read_text()
    assert "| block-causal, trained | Threshold(0.9) | exact |" in table
    model = AudioDiffusionLM.from_pretrained(tmp_path / "block-causal")
    assert model.backbone.config.causal_block_length == 8


def test_the_table_of_rules_and_caches(monkeypatch, tmp_path: Path) -> None:
    monkeypatch.syspath_prepend(str(EXAMPLES))
    options = ["--questions", 2, "--repeats", 1, "--out", tmp_path]
    monkeypatch.setattr(sys, "argv", ["decoding_table", *map(str, options)])
    runpy.run_path(str(EXAMPLES / "decoding_table.py"), run_name="__main__")
    found = json.loads((tmp_path / "decoding.json").read_text())["ways"]
    assert {"WINO(0.6, 0.9)", "rho-EOS", "Prophet"} <= {way["rule"] for way in found}
    assert all(len(way["accuracy_by_seed"]) == 2 for way in found)
    assert all(sum(way["accuracy_by_seed"]) == 2 * way["accuracy"] for way in found)
    for picture in ("decoding.png", "decoding_front.png"):
        assert (tmp_path / picture).stat().st_size > 5000
