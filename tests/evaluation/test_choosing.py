"""``--answers choices``: one of the question's own choices, how likely each is, nothing to read."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest
import torch

from dllm_audio import CachedParallelSampler
from dllm_audio.cli import main
from dllm_audio.cli.exit_codes import ERROR, INTERRUPTED, OK
from dllm_audio.errors import InvalidArgumentError
from dllm_audio.evaluation.asr import ASR
from dllm_audio.evaluation.benchmarks import MMAU, MMSU
from dllm_audio.evaluation.mmsu import CHOICE_FIELDS
from dllm_audio.evaluation.predictors import Chooser, ModelChooser, ModelPredictor
from dllm_audio.evaluation.questions import make_task
from dllm_audio.evaluation.runner import run_task
from dllm_audio.evaluation.sources import rows_source
from dllm_audio.evaluation.toy import write_toy_benchmark
from dllm_audio.evaluation.voicebench import VoiceBench
from dllm_audio.toy import small_model

ROWS = 7
LONG = "a sound that " + "goes on and " * 30 + "ends"


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The toy questions in the form of MMAU and of MMSU, some with choices hard to read."""
    path = write_toy_benchmark(tmp_path_factory.mktemp("toy"), ROWS)
    rows = json.loads(path.read_text())
    rows[1] |= {"choices": ["B", "A", "not B"], "answer": "A"}  # letters that stand for others
    rows[2] |= {"choices": ["rain", "rain", "a dog"], "answer": "rain"}
    rows[3] |= {"choices": ["?!", "rain", LONG], "answer": "?!"}
    path.write_text(json.dumps(rows))
    lettered = []
    for row in rows:
        choices = [*row.pop("choices"), None, None][:4]
        answer = row.pop("answer")
        lettered.append({**row, **dict(zip(CHOICE_FIELDS, choices, strict=True))})
        lettered[-1]["answer_gt"] = answer
    (path.parent / "mmsu.jsonl").write_text("".join(json.dumps(row) + "\n" for row in lettered))
    return {"mmau": path, "mmsu": path.parent / "mmsu.jsonl"}


def evaluate(name: str, data: Path, output: Path, *options: str) -> int:
    where = ["--data", str(data), "--output", str(output), "--device", "cpu"]
    return main(["eval", name, "--answers", "choices", *where, *options])


def results(output: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (output / "results.jsonl").read_text().splitlines()]


@pytest.mark.parametrize("name", ["mmau", "mmsu"])
def test_every_answer_is_a_choice_and_none_is_unreadable(name, folders, tmp_path: Path) -> None:
    assert evaluate(name, folders[name], tmp_path, "--batch-size", "3") == OK
    report = json.loads((tmp_path / "report.json").read_text())
    assert report["settings"]["model"]["answers"] == "choices"
    for mode in ("official", "robust"):
        overall = report["scores"]["modes"][mode]["groups"]["overall"]["all"]
        assert overall["invalid_share"] == 0.0
        assert overall["valid"] == ROWS
    exported = (tmp_path / f"{name}_predictions.jsonl").read_text().splitlines()
    for result, line in zip(results(tmp_path), exported, strict=True):
        chances = result["probabilities"]
        assert math.fsum(chances.values()) == pytest.approx(1.0, abs=1e-3)
        assert chances[result["prediction"]] == max(chances.values())
        row = json.loads(line)
        assert row["probabilities"] == chances
        texts = [row.get(field) for field in CHOICE_FIELDS] if name == "mmsu" else row["choices"]
        present = [place for place, text in enumerate(texts) if text is not None]
        expected = ["ABCD"[place] for place in present] if name == "mmsu" else dict.fromkeys(texts)
        assert set(chances) == set(expected)


@pytest.mark.parametrize("name", ["mmau", "mmsu"])
def test_an_interrupted_run_goes_on_to_the_same_file(
    name, folders, tmp_path: Path, monkeypatch
) -> None:
    assert evaluate(name, folders[name], tmp_path / "calm", "--batch-size", "2") == OK
    choose, batches = ModelChooser.choose, []

    def interrupted(self, *asked):
        batches.append(len(asked[1]))
        if len(batches) == 3:
            raise KeyboardInterrupt
        return choose(self, *asked)

    monkeypatch.setattr(ModelChooser, "choose", interrupted)
    hurt = tmp_path / "hurt"
    assert evaluate(name, folders[name], hurt, "--batch-size", "2") == INTERRUPTED
    shard = next((hurt / "shards").glob("results-*"))
    assert len(shard.read_bytes().splitlines()) == 4
    shard.write_bytes(shard.read_bytes()[:-20])  # as a power cut leaves it
    assert evaluate(name, folders[name], hurt, "--batch-size", "2") == OK
    assert sum(batches[3:]) == ROWS - 3
    assert (hurt / "results.jsonl").read_bytes() == (
        tmp_path / "calm" / "results.jsonl"
    ).read_bytes()


def test_a_row_does_not_depend_on_its_batch(folders, tmp_path: Path) -> None:
    for size in (1, ROWS):
        evaluate("mmau", folders["mmau"], tmp_path / str(size), "--batch-size", str(size))
    for alone, together in zip(results(tmp_path / "1"), results(tmp_path / str(ROWS)), strict=True):
        assert alone["prediction"] == together["prediction"]
        assert alone["probabilities"] == pytest.approx(together["probabilities"], abs=1e-4)


def test_what_was_chosen_is_what_the_public_door_says() -> None:
    model, sound = small_model(), torch.randn(16000, generator=torch.Generator().manual_seed(0))
    sampler = CachedParallelSampler(8, 8)
    chooser = ModelChooser(model, sampler)
    assert isinstance(chooser, Chooser)
    assert not isinstance(ModelPredictor(model), Chooser)
    rows = [["a dog", "rain"], [LONG, "a drum"], ["beeping", "rain", "a dog"]]
    found = chooser.choose([sound] * 3, ["What?"] * 3, rows)
    longest = len(model.tokenizer.encode(LONG, add_special_tokens=False))
    lengths = [8, 8 * math.ceil((longest + 1) / 8), 8]
    for row, (choices, length) in enumerate(zip(rows, lengths, strict=True)):
        alone = model.generate(
            audio=[sound], prompts=["What?"], choices=choices,
            sampler=CachedParallelSampler(length, length),
        )  # fmt: skip
        assert alone.texts == [found.texts[row]]
        expected = dict(zip(choices, alone.choice_probabilities[0], strict=True))
        assert found.probabilities[row] == pytest.approx(expected, abs=1e-4)
        assert found.nfe[row] == int(alone.output.row_nfe[0])


def test_letters_and_texts_are_offered_as_the_question_asks_for_them() -> None:
    row = {"question": "?", "choices": ["x", "y", "x", " "], "answer": "y"}
    item = MMAU.item(row, 0)
    assert item.offered() == ["x", "y"]
    assert [item.index_of(text) for text in ("x", "y", "z")] == [0, 1, None]
    row = {"question": "?", "choice_a": "x", "choice_c": "y", "answer_gt": "y"}
    item = MMSU.item(row, 0)
    assert item.offered() == ["A", "C"]
    assert item.index_of("C") == 2
    spoken = VoiceBench("openbookqa")
    item = spoken.item({"prompt": "Which? A. x B. y C. B D. w", "reference": "B"}, 0)
    assert item.offered() == ["A", "B", "C", "D"]
    assert spoken.score([item], ["B"]).modes["robust"].overall.invalid_share == 1.0
    assert spoken.score([item], ["B"], [1]).modes["robust"].overall.correct == 1


def test_what_is_known_is_not_read_but_the_published_rule_stays() -> None:
    item = MMAU.item({"question": "?", "choices": ["B", "A"], "answer": "A"}, 0)
    read = MMAU.score([item], ["A"]).modes
    known = MMAU.score([item], ["A"], [1]).modes
    assert read["robust"].overall.invalid_share == 1.0
    assert known["robust"].overall.correct == known["official"].overall.correct == 1
    assert known["robust"].chosen_position == {"B": 1}
    sign = MMAU.item({"question": "?", "choices": ["?!", "rain"], "answer": "?!"}, 0)
    known = MMAU.score([sign], ["?!"], [0]).modes
    # The published script never counts an answer without a word as right.
    assert known["official"].overall.correct == 0
    assert known["robust"].overall.correct == 1
    assert known["official"].overall.invalid_share == known["robust"].overall.invalid_share == 0


def test_where_there_is_nothing_to_choose_it_is_said(tmp_path: Path, capsys) -> None:
    data = tmp_path / "rows.json"
    data.write_text('[{"audio": "a.wav", "text": "hi"}]')
    assert evaluate("asr", data, tmp_path / "out") == ERROR
    assert "--answers: expected decoded: the questions of asr" in capsys.readouterr().err
    command = ["eval", "toy", "--limit", "1", "--answers", "choices", "--text", "whole"]
    assert main([*command, "--output", str(tmp_path / "out")]) == ERROR
    assert "--text: expected nothing beside --answers choices" in capsys.readouterr().err
    task = make_task(ASR, rows_source([{"audio": b"", "text": "hi"}], "one row"))
    with pytest.raises(InvalidArgumentError, match="the questions have no choices"):
        run_task(task, ModelChooser(small_model()), tmp_path, progress=False)


def test_eval_scores_the_answer_or_the_whole_response(tmp_path: Path, capsys) -> None:
    said = {}
    for text in ("answer", "whole"):
        command = ["eval", "toy", "--limit", "2", "--text", text, "--device", "cpu", "--json"]
        assert main([*command, "--output", str(tmp_path / text)]) == OK
        said[text] = json.loads(capsys.readouterr().out)["settings"]["model"].get("text")
    assert said == {"answer": None, "whole": "whole"}
