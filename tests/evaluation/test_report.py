"""Reports say what was scored, what failed and how it was run, in three forms."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from helpers import FakePredictor, tone_rows, tone_task

from dllm_audio.evaluation.asr import ASR
from dllm_audio.evaluation.benchmarks import MMAU
from dllm_audio.evaluation.questions import make_task
from dllm_audio.evaluation.report import finish_run, score_predictions
from dllm_audio.evaluation.run_info import start_run
from dllm_audio.evaluation.runner import run_task
from dllm_audio.evaluation.sources import rows_source


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("run")
    rows = tone_rows(12)
    rows[5]["audio"] = "missing|file.wav"
    task, predictor = make_task(MMAU, rows_source(rows, "12 tones")), FakePredictor()
    start_run(task, predictor.description, folder)
    run_task(task, predictor, folder, progress=False, batch_size=5)
    finish_run(task, folder)
    return folder


def test_json_holds_what_is_needed_to_repeat_the_run(folder: Path) -> None:
    report = json.loads((folder / "report.json").read_text())
    assert report["settings"]["task"]["data"] == "12 tones"
    assert report["settings"]["task"]["data_revision"].startswith("sha256:")
    assert report["settings"]["model"] == {"model": "fake", "seed": 0}
    assert report["prompt_of_first_row"].startswith("You are given the audio")
    assert report["starts"][0]["device"] == "cpu"
    assert report["starts"][0]["versions"]["torch"]
    assert report["scores"]["scorer"].startswith("mmau v")
    assert report["speed"]["rtf"] > 0
    assert report["failures"]["reasons"][0]["id"] == "row-5"


def test_markdown_shows_scores_failures_speed_and_settings(folder: Path) -> None:
    text = (folder / "report.md").read_text()
    for part in ("| all | official | 11 | 11 | 12 | 0.9167 |", "1 of 12 rows", "`row-5`:",
                 "| rtf |", "| nfe_mean | 4.4", "data_revision", "versions.torch",
                 "![Scores by group](report.png)"):  # fmt: skip
        assert part in text


def test_unreadable_answers_are_counted_and_listed(tmp_path: Path) -> None:
    task = tone_task(25)
    answers = ["low tone or high tone | noise"] * 23 + ["A", None]
    report = score_predictions(task, answers, tmp_path, "theirs.json")
    robust = report.scores.modes["robust"]
    assert len(robust.unreadable) == 23
    listed = json.loads((tmp_path / "report.json").read_text())["scores"]["modes"]["robust"]
    assert listed["unreadable"]["row-0"] == "low tone or high tone | noise"
    assert "row-24" not in listed["unreadable"]
    text = (tmp_path / "report.md").read_text()
    assert "23, which count as wrong" in text
    assert "- `row-0`: low tone or high tone \\| noise" in text
    assert "- and 3 more, all in `report.json`" in text


def test_the_plot_is_a_picture(folder: Path) -> None:
    assert (folder / "report.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize("category", ["$x^{$", "half \ud800", "two\nlines", "a|b", 3])
def test_any_name_of_a_group_can_be_shown(tmp_path: Path, category) -> None:
    rows = [{**row, "category": category} for row in tone_rows(2)]
    task = make_task(MMAU, rows_source(rows, "two"))
    report = score_predictions(task, ["A", None], tmp_path, "elsewhere")
    assert (tmp_path / "report.png").read_bytes().startswith(b"\x89PNG")
    assert report.scores.modes["robust"].groups["category"][str(category)].total == 2
    written = json.loads((tmp_path / "report.json").read_text())
    assert written["scores"]["modes"]["robust"]["groups"]["overall"]["all"]["correct"] == 1
    assert (written["failures"]["count"], written["failures"]["rows"]) == (1, 2)


def test_the_exported_file_scores_the_same(folder: Path) -> None:
    rows = list(map(json.loads, (folder / "mmau_predictions.jsonl").read_text().splitlines()))
    items = [MMAU.item(row, i) for i, row in enumerate(rows)]
    report = json.loads((folder / "report.json").read_text())
    again = MMAU.score(items, [row["model_prediction"] for row in rows])
    assert json.loads(json.dumps(again.to_json())) == report["scores"]


def test_transcription_reports_have_the_same_form(tmp_path: Path) -> None:
    rows = [
        {"id": f"row {i}", "audio": row["audio"], "text": "b high tone", "speaker": "x"}
        for i, row in enumerate(tone_rows(3))
    ]
    task = make_task(ASR, rows_source(rows, "three"))

    class Constant(FakePredictor):
        def __call__(self, audio, prompts, seeds):
            return super().__call__(audio, ["row 1?"] * len(prompts), seeds)

    run_task(task, Constant(), tmp_path, progress=False)
    report = finish_run(task, tmp_path)
    assert report.scores.modes["wer"].overall.score == 0.0
    assert "| all | wer | 0 | 9 |" in (tmp_path / "report.md").read_text()


def test_an_unfinished_run_has_no_report(tmp_path: Path) -> None:
    with pytest.raises(Exception, match="3 of 3 rows have no result yet"):
        finish_run(tone_task(3), tmp_path)
