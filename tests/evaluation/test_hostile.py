"""Damaged data, predictions and run folders: a result, or one line that names file and row."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from helpers import CHOICES, FakePredictor

from dllm_audio.errors import DllmAudioError
from dllm_audio.evaluation.benchmarks import BENCHMARKS, MMAU
from dllm_audio.evaluation.questions import Task, make_task
from dllm_audio.evaluation.rendering import Report
from dllm_audio.evaluation.report import finish_run, read_predictions, score_predictions
from dllm_audio.evaluation.run_info import start_run
from dllm_audio.evaluation.runner import run_task
from dllm_audio.evaluation.sources import open_source
from dllm_audio.evaluation.store import Shard

SOUND = (
    b"RIFF\x64\x01\x00\x00WAVEfmt \x10\x00\x00\x00\x01\x00\x01\x00\x80\x3e\x00\x00\x00\x7d\x00\x00"
)
SOUND += b"\x02\x00\x10\x00data\x40\x01\x00\x00" + b"\x01\x00" * 160


def rows(count: int = 3) -> list[dict[str, Any]]:
    return [
        {
            "id": f"row-{i}",
            "audio_id": "a.wav",
            "question": f"Which is row {i}?",
            "choices": CHOICES,
            "answer": CHOICES[i % 3],
            "task": "sound",
            "category": "c",
        }
        for i in range(count)
    ]


def changed(index: int = 1, **fields: Any) -> str:
    made = rows()
    made[index] |= fields
    return json.dumps(made)


def raw(index: int, name: str, value: str) -> str:
    """A row with JSON that ``json`` would not write."""
    return changed(index, **{name: "@"}).replace('"@"', value)


def task_of(path: Path, text: str | bytes) -> Task:
    path.write_bytes(text if isinstance(text, bytes) else text.encode("utf-8", "surrogatepass"))
    (path.parent / "a.wav").write_bytes(SOUND)
    return make_task(MMAU, open_source(path))


def evaluate(task: Task, folder: Path) -> Report:
    predictor = FakePredictor()
    start_run(task, predictor.description, folder)
    run_task(task, predictor, folder, progress=False)
    return finish_run(task, folder)


def one_line(error: BaseException) -> str:
    text = str(error)
    assert "\n" not in text
    assert len(text) < 600
    return text


REFUSED_ROWS = {
    "gold is a letter": (changed(answer="B"), "row 1, field 'answer'"),
    "gold is no choice": (changed(answer="drum"), "row 1, field 'answer'"),
    "gold is a number": (changed(answer=1), "row 1, field 'answer'"),
    "gold is a list": (changed(answer=["noise"]), "row 1, field 'answer'"),
    "gold is missing": (changed(answer=None), "row 1, field 'answer'"),
    "question is a number": (changed(question=3), "row 1, field 'question'"),
    "question is missing": (changed(question=None), "row 1, field 'question'"),
    "choices are missing": (changed(choices=None), "row 1, choices"),
    "choices are a word": (changed(choices="noise"), "row 1, choices"),
    "choices are numbers": (changed(choices=[1, 2]), "row 1, choices"),
    "choices are empty": (changed(choices=[]), "row 1, choices"),
    "choices are none": (changed(choices=[None]), "row 1, choices"),
    "too many choices": (changed(choices=[f"c{i}" for i in range(27)]), "row 1, choices"),
    "choices nested deep in a text": (changed(choices="[" * 10**5), "row 1, choices"),
    "choices of many minus signs": (changed(choices="-" * 10**6 + "1"), "row 1, choices"),
    "choices of a huge integer": (changed(choices="[" + "9" * 5000 + "]"), "row 1, choices"),
    "long id twice": (json.dumps([row | {"id": "x" * 10**5} for row in rows()]), "row 1: the id"),
    "id twice": (changed(id="row-0"), "row 1: the id 'row-0' is also that of row 0"),
    "half a character in a question": (raw(1, "question", r'"\ud83d?"'), "row 1"),
    "half a character in an id": (raw(1, "id", r'"\udc00"'), "row 1"),
    "half a character in a choice": (raw(1, "choices", r'["\ud83d", "b"]'), "row 1"),
    "half a character in a category": (raw(1, "category", r'"bad \ud83d"'), "row 1"),
    "a huge integer": (raw(1, "category", "9" * 5000), "integer of 5000 digits"),
    "a huge integer as id": (raw(1, "id", "9" * 5000), "integer of 5000 digits"),
    "deep nesting": (raw(1, "category", "[" * 10**5 + "]" * 10**5), "nested deeper"),
    "nesting over the limit": (raw(1, "category", "[" * 150 + "]" * 150), "row 1"),
    "a key twice": (raw(1, "category", '1, "answer": "x"'), "a key comes twice"),
    "a row that is no record": (json.dumps([*rows(), 3]), "row 3"),
    "no rows": ("[]", "holds no rows"),
    "an empty file": ("", "holds no rows"),
    "no JSON": ("{", "not readable as JSON"),
    "not UTF-8": (b'[{"id": "\xff"}]', "not UTF-8"),
    "UTF-16": (changed().encode("utf-16"), "not UTF-8"),
    "one object": ('{"rows": []}', "expected a list of records"),
}


@pytest.mark.parametrize("name", REFUSED_ROWS)
def test_a_row_that_cannot_be_asked_is_named_before_anything_runs(name: str, tmp_path) -> None:
    text, message = REFUSED_ROWS[name]
    with pytest.raises(DllmAudioError) as caught:
        task_of(tmp_path / "data.json", text)
    assert "data.json" in one_line(caught.value)
    assert message in one_line(caught.value)


def lines(made: list[dict[str, Any]]) -> str:
    return "".join(json.dumps(row) + "\n" for row in made)


HEADER = "id,audio_id,question,choices,answer,category\n"
LIST = '"[""low tone"", ""high tone"", ""noise""]"'
ROW = f"row-{{}},a.wav,Which is row {{}}?,{LIST},noise,{{}}\n"
REFUSED_TABLES = {
    "an unclosed quote": (HEADER + ROW.format(0, 0, '"c'), "line"),
    "a column twice": (HEADER.replace("category", "answer") + ROW.format(0, 0, "c"), "'answer'"),
    "a field too many": (HEADER + ROW.format(0, 0, "c,d"), "row 0"),
    "a field too few": (HEADER + ROW.format(0, 0, "c") + "row-1,a.wav\n", "row 1"),
    "text behind a quote": (HEADER + ROW.format(0, 0, '"c"d'), "line 2"),
    "a header alone": (HEADER, "holds no rows"),
}


@pytest.mark.parametrize("name", REFUSED_TABLES)
def test_a_damaged_table_is_refused_with_its_place(name: str, tmp_path: Path) -> None:
    text, message = REFUSED_TABLES[name]
    with pytest.raises(DllmAudioError) as caught:
        task_of(tmp_path / "data.csv", text)
    assert "data.csv" in one_line(caught.value)
    assert message in one_line(caught.value)


ACCEPTED = {
    "plain": ("data.json", changed()),
    "a byte order mark": ("data.json", "\ufeff" + changed()),
    "JSON Lines": ("data.jsonl", lines(rows())),
    "JSON Lines with a byte order mark": ("data.jsonl", "\ufeff" + lines(rows())),
    "JSON Lines without a last newline": ("data.jsonl", lines(rows()).rstrip()),
    "Windows line ends": ("data.jsonl", lines(rows()).replace("\n", "\r\n")),
    "a table": ("data.csv", HEADER + "".join(ROW.format(i, i, "c") for i in range(3))),
    "a table with a mark": ("data.csv", "\ufeff" + HEADER + ROW.format(0, 0, "c")),
    "a table with Windows line ends": (
        "data.csv",
        (HEADER + ROW.format(0, 0, "c")).replace("\n", "\r\n"),
    ),
    "no id": ("data.json", changed(id=None)),
    "a category of any type": ("data.json", changed(category={"a": [1]})),
    "a category of no number": ("data.json", raw(1, "category", "NaN")),
    "a category of many letters": ("data.json", changed(category="long " * 10**5)),
    "a category in other letters": ("data.json", changed(category="音乐 \U0001f3bb $x^{$")),
    "an answer that is kept back": ("data.json", changed(answer="")),
    "equal choices": ("data.json", changed(choices=["a", "a"], answer="a")),
    "an empty choice": ("data.json", changed(choices=["", "b"], answer="b")),
}


@pytest.mark.parametrize("name", ACCEPTED)
def test_odd_rows_are_answered_and_shown(name: str, tmp_path: Path) -> None:
    file, text = ACCEPTED[name]
    report = evaluate(task_of(tmp_path / file, text), tmp_path / "run")
    assert report.failures == ()
    json.loads((tmp_path / "run" / "report.json").read_text())
    assert (tmp_path / "run" / "report.png").stat().st_size > 0


@pytest.mark.parametrize("space", ["\n", "\r\n", "\u2028", "\v", "\x85", "\f"])
def test_a_quoted_field_keeps_what_it_holds(space: str, tmp_path: Path) -> None:
    text = HEADER + ROW.format(0, 0, f'"two{space}words"') + ROW.format(1, 1, "c")
    task = task_of(tmp_path / "data.csv", text)
    assert [item.row["category"] for item in task.items] == [f"two{space}words", "c"]


AUDIO: dict[str, Any] = {
    "missing": "nowhere.wav",
    "no sound": "data.json",
    "a folder": ".",
    "nothing": None,
    "a number": 5,
    "a zero byte": "a\x00.wav",
    "a very long name": "a" * 5000,
    "an empty record": {},
    "a record of nonsense": {"array": "x", "sampling_rate": -1},
    "a record without a rate": {"array": [0.0]},
    "base64": {"bytes": "UklGRg=="},
}


@pytest.mark.parametrize("name", AUDIO)
def test_audio_that_cannot_be_read_is_a_failed_row(name: str, tmp_path: Path) -> None:
    task = task_of(tmp_path / "data.json", changed(audio_id=AUDIO[name]))
    report = evaluate(task, tmp_path / "run")
    assert [failure.id for failure in report.failures] == ["row-1"]
    assert "\n" not in report.failures[0].error
    assert len(report.failures[0].error) < 700


PREDICTIONS = {
    "a number": ([{"id": "row-0", "model_prediction": 3}], "row 0, field 'model_prediction'"),
    "a list": ([{"id": "row-0", "model_prediction": ["A"]}], "row 0, field 'model_prediction'"),
    "an unknown id": ([{"id": "row-9", "model_prediction": "A"}], "row 0: the id 'row-9'"),
    "an id twice": ([{"id": "row-0", "model_prediction": "A"}] * 2, "row 1: the id 'row-0'"),
    "a very long id": ([{"id": "x" * 10**5, "model_prediction": "A"}], "row 0: the id 'xxx"),
    "a very long value": ([{"id": "row-0", "model_prediction": ["x" * 10**5]}], "row 0, field"),
    "no id in some": ([{"id": "row-0", "model_prediction": "A"}, {}], "row 1"),
}


@pytest.mark.parametrize("name", PREDICTIONS)
def test_predictions_that_cannot_be_matched_are_named(name: str, tmp_path: Path) -> None:
    made, message = PREDICTIONS[name]
    task = task_of(tmp_path / "data.json", changed())
    (tmp_path / "theirs.json").write_text(json.dumps(made))
    with pytest.raises(DllmAudioError) as caught:
        read_predictions(tmp_path / "theirs.json", task.items, MMAU.prediction_keys)
    assert "theirs.json" in one_line(caught.value)
    assert message in one_line(caught.value)


@pytest.mark.parametrize("text", ["", " ", "x" * 10**6, "\x00", "[" * 10**5, "A" * 10**6, "$"])
def test_any_prediction_is_scored(text: str, tmp_path: Path) -> None:
    task = task_of(tmp_path / "data.json", changed())
    (tmp_path / "theirs.json").write_text(
        json.dumps([{"id": "row-0", "model_prediction": "", "model_output": text}])
    )
    found = read_predictions(tmp_path / "theirs.json", task.items, MMAU.prediction_keys)
    report = score_predictions(task, found, tmp_path / "run", "theirs.json")
    assert report.scores.modes["robust"].overall.correct == 0
    assert len((tmp_path / "run" / "report.md").read_text()) < 20_000


def _line(change: Callable[[bytes], bytes]) -> Callable[[Path], None]:
    def damage(folder: Path) -> None:
        path = Shard().path(folder, "results")
        whole = path.read_bytes().splitlines(keepends=True)
        whole[1] = change(whole[1])
        path.write_bytes(b"".join(whole))

    return damage


def _instead(name: str, text: str) -> Callable[[Path], None]:
    return lambda folder: (folder / name).write_text(text) and None


def _special(name: str, make: Callable[[Path], None]) -> Callable[[Path], None]:
    def damage(folder: Path) -> None:
        (folder / name).unlink()
        make(folder / name)

    return damage


RESULTS = "shards/results-00000-of-00001.jsonl"
MENDED = {
    "no JSON": _line(lambda _: b"{\n"),
    "zero bytes": _line(lambda line: b"\x00" * (len(line) - 1) + b"\n"),
    "not UTF-8": _line(lambda line: line.replace(b"row", b"\xff\xfe\xfd")),
    "a list": _line(lambda _: b"[]\n"),
    "another record": _line(lambda _: b'{"id": "x"}\n'),
    "a field of the wrong type": _line(lambda line: line.replace(b'"nfe": 5', b'"nfe": "5"')),
    "a huge integer": _line(lambda line: line.replace(b'"nfe": 5', b'"nfe": ' + b"9" * 5000)),
    "deep nesting": _line(lambda line: line.replace(b'"nfe": 5', b'"nfe": ' + b"[" * 10**5)),
    "half a character": _line(lambda line: line.replace(b"row-1", rb"row-\ud800")),
    "torn": lambda folder: os.truncate(folder / RESULTS, (folder / RESULTS).stat().st_size - 9),
    "times are gone": lambda folder: Shard().path(folder, "timings").unlink(),
    "results are gone": lambda folder: (folder / RESULTS).unlink(),
    "nothing is left": lambda folder: (folder / "run.json").unlink(),
}


@pytest.mark.parametrize("name", MENDED)
@pytest.mark.filterwarnings("ignore:.*damaged, and left out")
def test_a_damaged_run_goes_on_and_ends_as_an_undisturbed_one(name: str, tmp_path: Path) -> None:
    task = task_of(tmp_path / "data.json", changed())
    evaluate(task, tmp_path / "run")
    calm = (tmp_path / "run" / "results.jsonl").read_bytes()
    MENDED[name](tmp_path / "run")
    assert evaluate(task, tmp_path / "run").failures == ()
    assert (tmp_path / "run" / "results.jsonl").read_bytes() == calm


NAMED = {
    "settings without JSON": _instead("run.json", "{"),
    "settings of a list": _instead("run.json", "[]"),
    "empty settings": _instead("run.json", "{}"),
    "settings of the wrong types": _instead("run.json", '{"settings": 3, "starts": []}'),
    "settings of a huge integer": _instead("run.json", '{"starts": ' + "9" * 5000 + "}"),
    "deep settings": _instead("run.json", '{"starts": ' + "[" * 10**5),
    "settings in a pipe": _special("run.json", os.mkfifo),
    "settings in a folder": _special("run.json", os.mkdir),
    "results in a pipe": _special(RESULTS, os.mkfifo),
    "results in a folder": _special(RESULTS, os.mkdir),
    "an id twice": lambda folder: (folder / RESULTS).write_bytes(
        (folder / RESULTS).read_bytes() * 2
    ) and None,
}  # fmt: skip


@pytest.mark.parametrize("name", NAMED)
def test_a_folder_that_cannot_be_gone_on_with_is_named(name: str, tmp_path: Path) -> None:
    task = task_of(tmp_path / "data.json", changed())
    evaluate(task, tmp_path / "run")
    NAMED[name](tmp_path / "run")
    with pytest.raises(DllmAudioError) as caught:
        evaluate(task, tmp_path / "run")
    assert str(tmp_path / "run") in one_line(caught.value)


def test_a_picture_takes_the_place_of_a_link(tmp_path: Path) -> None:
    task = task_of(tmp_path / "data.json", changed())
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "report.png").symlink_to("/dev/full")
    evaluate(task, tmp_path / "run")
    assert (tmp_path / "run" / "report.png").read_bytes().startswith(b"\x89PNG")
    assert not (tmp_path / "run" / "report.png").is_symlink()


BAD_GOLD: dict[str, dict[str, Any]] = {
    "mmsu": {"question": "?", "choice_a": "x", "choice_b": "y", "answer_gt": "B"},
    "mmau": {"question": "?", "choices": ["x", "y"], "answer": "B"},
    "mmar": {"question": "?", "choices": ["x", "y"], "answer": "x y"},
    "toy": {"question": "?", "choices": ["x", "y"], "answer": "z"},
    "voicebench-mmsu": {"prompt": "A. x B. y C. z D. w", "reference": "x"},
    "voicebench-openbookqa": {"prompt": "A. x B. y C. z D. w", "reference": 2},
}


@pytest.mark.parametrize("name", BAD_GOLD)
def test_a_right_answer_that_is_no_choice_is_named(name: str, tmp_path: Path) -> None:
    good = {key: "x" for key in ("answer_gt", "answer") if key in BAD_GOLD[name]}
    first = {**BAD_GOLD[name], **(good or {"reference": "B"}), "id": "0"}
    (tmp_path / "data.jsonl").write_text(lines([first, {**BAD_GOLD[name], "id": "1"}]))
    source = open_source(tmp_path / "data.jsonl")
    field = next(key for key in ("answer_gt", "answer", "reference") if key in BAD_GOLD[name])
    with pytest.raises(DllmAudioError, match=f"row 1, field '{field}'") as caught:
        make_task(BENCHMARKS[name], source)
    assert "data.jsonl" in one_line(caught.value)
