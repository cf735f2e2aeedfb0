"""``transcribe --prior``: files, windows, resumption, what is said when something is wrong."""

from __future__ import annotations

import io
import json
import math
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import torch

from dllm_audio.audio import stream_windows
from dllm_audio.cli import main
from dllm_audio.cli.exit_codes import ERROR, OK, SOME_FAILED
from dllm_audio.cli.priors import PriorAsker
from dllm_audio.priors import Hypothesis, WhisperPrior, Word

TEXT = "And, mister John Dashwood had then leisure"


@pytest.fixture
def model(model_folder: Path) -> list[str]:
    return ["--model", str(model_folder), "--device", "cpu"]


def record(path: Path, seconds: float) -> Path:
    moments = np.arange(round(seconds * 16000)) / 16000
    soundfile.write(path, 0.3 * np.sin(2 * np.pi * 300 * moments), 16000)
    return path


def rows(path: Path, *records: Any) -> Path:
    path.write_text("".join(json.dumps(each) + "\n" for each in records))
    return path


def transcribed(capsys: pytest.CaptureFixture[str]) -> list[dict[str, Any]]:
    return [json.loads(line) for line in capsys.readouterr().out.splitlines()]


def test_the_words_of_a_file_come_out_as_they_are(tmp_path, model, capsys) -> None:
    """The model of random weights has nothing in common with them."""
    clip, prior = record(tmp_path / "a.wav", 0.8), tmp_path / "a.txt"
    prior.write_text(TEXT)
    assert main(["transcribe", str(clip), "--prior", str(prior), "--json", *model]) == OK
    (found,) = transcribed(capsys)
    assert found["text"] == TEXT
    assert found["windows"][0]["prior"] == TEXT
    assert found["windows"][0]["edits"] == []


def test_what_the_model_is_surer_of_is_changed_and_told(tmp_path, model, capsys) -> None:
    clip = record(tmp_path / "a.wav", 0.8)
    command = ["transcribe", str(clip), "--json", *model]
    assert main(command) == OK
    (heard,) = transcribed(capsys)
    word = heard["text"].split()[0]
    prior = rows(
        tmp_path / "prior.jsonl", {"id": "a", "text": f"{heard['text']} x", "confidences": None}
    )
    options = [
        "--prior",
        str(prior),
        "--prior-keep",
        "1",
        "--prior-unknown",
        "0",
        "--prior-threshold",
        "0",
    ]
    assert main([*command, *options, "--prior-agreement", "0"]) == OK
    (found,) = transcribed(capsys)
    window = found["windows"][0]
    assert window["prior"] == f"{heard['text']} x"
    assert window["edits"] or window["text"] == window["prior"]
    assert word
    assert set(window) >= {"start", "end", "text", "nfe", "confidence", "prior", "edits"}


@pytest.mark.parametrize("timed", [True, False])
def test_every_word_comes_out_once_in_a_recording_of_several_windows(
    timed: bool, tmp_path, model, capsys
) -> None:
    clip = record(tmp_path / "long.wav", 4.6)
    texts = [f"w{n}" for n in range(9)]
    # The last word ends behind the recording, as those of Whisper may.
    words = [{"word": text, "confidence": 1, **({"start": n * 0.55, "end": n * 0.55 + 0.5}
             if timed else {})} for n, text in enumerate(texts)]  # fmt: skip
    prior = rows(tmp_path / "prior.jsonl", {"file": "long.wav", "words": words})
    assert main(["transcribe", str(clip), "--prior", str(prior), "--json", *model]) == OK
    (found,) = transcribed(capsys)
    assert found["text"].split() == texts
    windows = found["windows"]
    assert len(windows) >= 5
    for window in windows:
        for text in window["text"].split():
            middle = int(text[1:]) * 0.55 + 0.25
            room = 0.0 if timed else 0.5
            assert window["start"] - room <= middle
            assert middle < window["end"] + room or window is windows[-1]
    assert found["confidence"] == 1.0


def test_a_recording_without_a_row_fails_and_the_next_is_tried(tmp_path, model, capsys) -> None:
    clips = [str(record(tmp_path / f"{name}.wav", 0.5)) for name in "ab"]
    prior = rows(tmp_path / "prior.jsonl", {"id": "b", "text": TEXT})
    command = ["transcribe", *clips, "--prior", str(prior), "--output-dir", str(tmp_path / "out")]
    assert main([*command, *model]) == SOME_FAILED
    error = capsys.readouterr().err
    assert f"{prior}: file, audio, path, id, name: expected a row for 'a.wav' or 'a'" in error
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["b.txt"]
    assert (tmp_path / "out" / "b.txt").read_text() == f"{TEXT}\n"


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--prior", "none.jsonl"], "none.jsonl: there is no such file"),
        (["--prior", "bad.jsonl"], "bad.jsonl, row 0: confidences[0]: expected a probability"),
        (["--prior", "nan.jsonl"], "nan.jsonl, row 0: confidences[0]: expected a probability"),
        (["--prior", "empty.txt"], "empty.txt: expected a text, got an empty file"),
        (["--prior", "a.txt", "--prior-language", "en"], "--prior-language: expected none beside"),
        (["--prior", "a.txt", "--prior-model", "x"], "--prior-model: expected none beside"),
        (["--prior", "whisper:x", "--prior-model", "x"], "--prior-model: expected none beside"),
        (["--prior", "whisper:nowhere/at/all"], "nowhere/at/all"),
        (["--prior-keep", "0.5"], "--prior: expected a prior beside --prior-keep"),
        (["--prior-model", "x"], "--prior: expected a prior beside --prior-model"),
    ],
)
def test_what_is_wrong_is_told_before_the_model_is_loaded(
    options: list[str], said: str, tmp_path, capsys, monkeypatch
) -> None:
    monkeypatch.chdir(tmp_path)
    rows(Path("bad.jsonl"), {"id": "a", "text": "one", "confidences": [2]})
    rows(Path("nan.jsonl"), {"id": "a", "text": "one", "confidences": [math.nan]})
    Path("empty.txt").write_text("\n")
    Path("a.txt").write_text(TEXT)
    record(Path("a.wav"), 0.5)
    command = ["transcribe", "a.wav", "--model", "no model at all", *options]
    assert main(command) == ERROR
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert said in error


def test_a_text_serves_one_recording_only(tmp_path, model, capsys) -> None:
    clips = [str(record(tmp_path / f"{name}.wav", 0.5)) for name in "ab"]
    prior = tmp_path / "a.txt"
    prior.write_text(TEXT)
    assert main(["transcribe", *clips, "--prior", str(prior), *model]) == ERROR
    assert "--prior: expected a file with a row for each of 2 recordings" in capsys.readouterr().err


def test_whisper_cannot_hear_standard_input_twice(capsys) -> None:
    assert main(["transcribe", "-", "--prior", "whisper"]) == ERROR
    assert "--prior: expected a file beside standard input" in capsys.readouterr().err


def test_standard_input_has_a_prior_too(tmp_path, model, capsys, monkeypatch) -> None:
    clip, prior = record(tmp_path / "a.wav", 0.8), tmp_path / "a.txt"
    prior.write_text(TEXT)
    stream = io.TextIOWrapper(io.BytesIO(clip.read_bytes()))
    monkeypatch.setattr(sys, "stdin", stream)
    assert main(["transcribe", "-", "--prior", str(prior), *model]) == OK
    assert capsys.readouterr().out == f"{TEXT}\n"


class Stopped(BaseException):
    pass


def test_an_interrupted_run_goes_on_unless_prior_or_rule_have_changed(
    tmp_path, model, monkeypatch
) -> None:
    clip, out = record(tmp_path / "long.wav", 4.6), tmp_path / "out"
    words = [{"word": f"w{n}", "start": n, "end": n + 0.5} for n in range(4)]
    prior = rows(tmp_path / "prior.jsonl", {"id": "long", "words": words})
    command = ["transcribe", str(clip), *model, "--prior", str(prior), "--format", "json"]
    command += ["--batch-size", "1"]
    original, asked = PriorAsker.__call__, []

    def noting(self: PriorAsker, windows: Sequence[Any]) -> list[Any]:
        if len(asked) == 2 and stops:
            raise Stopped
        asked.extend(heard.number for heard in windows)
        return original(self, windows)

    monkeypatch.setattr(PriorAsker, "__call__", noting)
    stops = True
    with pytest.raises(Stopped):
        main([*command, "--output-dir", str(out)])
    partial = out / "long.json.partial"
    kept = partial.read_text()
    stops, asked[:] = False, []
    assert main([*command, "--output-dir", str(out)]) == OK
    assert asked[0] == 2
    text = json.loads((out / "long.json").read_text())["text"]
    assert text == "w0 w1 w2 w3"
    for changed in (["--prior-margin", "0.5"], []):
        (out / "long.json").unlink()
        partial.write_text(kept)
        if not changed:
            rows(prior, {"id": "long", "words": words[:3]})
        asked[:] = []
        assert main([*command, *changed, "--output-dir", str(out)]) == OK
        assert asked[0] == 0


def test_processes_share_the_recordings(tmp_path, model, monkeypatch) -> None:
    clips = [str(record(tmp_path / f"{name}.wav", 0.5)) for name in "abc"]
    prior = rows(tmp_path / "p.jsonl", *({"id": name, "text": f"{TEXT} {name}"} for name in "abc"))
    monkeypatch.setenv("WORLD_SIZE", "2")
    for rank in "01":
        monkeypatch.setenv("RANK", rank)
        command = ["transcribe", *clips, "--prior", str(prior), "--output-dir", str(tmp_path / "o")]
        assert main([*command, *model]) == OK
    found = {path.stem: path.read_text() for path in (tmp_path / "o").iterdir()}
    assert found == {name: f"{TEXT} {name}\n" for name in "abc"}


def test_a_doubtful_prior_is_marked(tmp_path, model, capsys) -> None:
    clip = record(tmp_path / "a.wav", 0.5)
    prior = rows(tmp_path / "p.jsonl", {"id": "a", "text": "one two", "confidences": [0.97, 0.99]})
    command = ["transcribe", str(clip), "--prior", str(prior), *model]
    for least, mark in (("0.985", "[doubtful] "), ("0.975", "")):
        assert main([*command, "--min-confidence", least]) == OK
        assert capsys.readouterr().out == f"{mark}one two\n"


def test_whisper_hears_in_windows_of_its_own(tmp_path, model, capsys, monkeypatch) -> None:
    clip, heard = record(tmp_path / "long.wav", 3.4), []

    def init(self: WhisperPrior, source: Any, *, device: Any = None, language: Any = None) -> None:
        assert language == "en"

    def transcribe(self: WhisperPrior, waveform: torch.Tensor) -> Hypothesis:
        heard.append(len(waveform))
        return Hypothesis((Word("First", 0.99, 0.1, 0.4), Word("last.", 0.99, 3.3, 3.4)))

    monkeypatch.setattr(WhisperPrior, "__init__", init)
    monkeypatch.setattr(WhisperPrior, "transcribe", transcribe)
    folder = tmp_path / "weights"
    folder.mkdir()
    (folder / "config.json").write_text("{}")
    command = ["transcribe", str(clip), "--prior", f"whisper:{folder}", "--prior-language", "en"]
    assert main([*command, "--json", *model]) == OK
    (found,) = transcribed(capsys)
    assert heard == [sum(len(window.waveform) for window in stream_windows(clip, 30.0))]
    assert found["text"] == "First last."
    assert [window["text"] for window in found["windows"]][:: len(found["windows"]) - 1] == [
        "First",
        "last.",
    ]
