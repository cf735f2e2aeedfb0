"""Many recordings, long ones, interrupted runs, several processes."""

from __future__ import annotations

import io
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from functools import partialmethod
from pathlib import Path

import numpy as np
import pytest
import soundfile
import tqdm

from dllm_audio.cli import main
from dllm_audio.cli.asking import Asker, ask_all
from dllm_audio.cli.exit_codes import ERROR, OK, SOME_FAILED
from dllm_audio.cli.keeping import Keeper
from dllm_audio.cli.progress import Progress
from dllm_audio.cli.recordings import Heard, Recording
from dllm_audio.cli.results import Layout, Part
from dllm_audio.cli.sharing import Share
from dllm_audio.errors import InvalidArgumentError

TEXT = Layout("json", "text")
# Waits for its end after some batches, however slow the one that kills it is.
WAITS = """
import itertools, signal
from dllm_audio.cli.asking import Asker
answer, batches = Asker.__call__, itertools.count()
def waiting(self, windows):
    return answer(self, windows) if next(batches) < 12 else signal.pause()
Asker.__call__ = waiting
"""


def record(path: Path, seconds: float, frequency: float = 300.0) -> Path:
    moments = np.arange(round(seconds * 16000)) / 16000
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, 0.3 * np.sin(2 * np.pi * frequency * moments), 16000)
    return path


class Echo:
    """Answers with the number of the window; notes what it was asked, and may fail."""

    def __init__(self, fails_at: Sequence[tuple[str, int]] = ()) -> None:
        self.batches: list[list[tuple[str, int]]] = []
        self._fails_at = fails_at

    def __call__(self, windows: Sequence[Heard]) -> list[Part]:
        asked = [(Path(heard.recording.name).stem, heard.number) for heard in windows]
        self.batches.append(asked)
        if set(asked) & set(self._fails_at):
            raise MemoryError("too little of it")
        return [
            Part(heard.window.start, heard.window.end, f"w{heard.number}", 1, 0.5)
            for heard in windows
        ]


class Heap:
    """Keeps what it is told."""

    def __init__(self) -> None:
        self.told: list[tuple[str, str]] = []

    def begin(self, recording: Recording) -> dict:
        return {}

    def part(self, heard: Heard, part: Part) -> None:
        self.told.append((Path(heard.recording.name).stem, part.text))

    def end(self, recording: Recording) -> None:
        error = recording.error
        self.told.append((Path(recording.name).stem, "end" if error is None else str(error)))


def ask(names: Sequence[Path], echo: Echo, sink, batch_size: int = 1) -> int:
    with Progress(len(names)) as progress:
        return ask_all(
            list(map(str, names)), echo, sink,
            window_seconds=1.0, batch_size=batch_size, progress=progress,
        )  # fmt: skip


@pytest.mark.parametrize("batch_size", [1, 2, 3, 8, 100])
def test_windows_of_several_recordings_share_a_batch_and_keep_their_order(
    batch_size: int, tmp_path: Path
) -> None:
    names = [record(tmp_path / f"{name}.wav", length) for name, length in
             (("a", 2.5), ("b", 0.5), ("c", 3.9))]  # fmt: skip
    echo, heap = Echo(), Heap()
    assert ask([*names, tmp_path / "none.wav"], echo, heap, batch_size) == 1
    asked = [each for batch in echo.batches for each in batch]
    count = {name: sum(each[0] == name for each in asked) for name in "abc"}
    assert count["b"] == 1
    assert count["a"] >= 3
    assert count["c"] >= 4
    assert asked == [(name, number) for name in "abc" for number in range(count[name])]
    assert [len(batch) for batch in echo.batches[:-1]] == [batch_size] * (len(echo.batches) - 1)
    expected = []
    for name in "abc":
        expected += [(name, f"w{number}") for number in range(count[name])] + [(name, "end")]
    assert heap.told[:-1] == expected
    assert "cannot be read" in heap.told[-1][1]


def test_a_window_that_fails_ends_its_recording_and_no_other(tmp_path: Path) -> None:
    names = [record(tmp_path / f"{name}.wav", 2.5) for name in "abc"]
    echo, heap = Echo(fails_at=[("b", 1)]), Heap()
    assert ask(names, echo, heap, batch_size=4) == 1
    assert [text for name, text in heap.told if name == "b"] == ["w0", "too little of it"]
    for name in "ac":
        assert [text for each, text in heap.told if each == name][-1] == "end"


def test_progress_goes_on_inside_a_long_recording(tmp_path: Path, monkeypatch) -> None:
    terminal = io.StringIO()
    monkeypatch.setattr(terminal, "isatty", lambda: True)
    monkeypatch.setattr(sys, "stderr", terminal)
    seen: list[str] = []

    class Watching(Echo):
        def __call__(self, windows: Sequence[Heard]) -> list[Part]:
            seen.append(terminal.getvalue().rpartition("\r")[2])
            return super().__call__(windows)

    at_once = partialmethod(tqdm.tqdm.__init__, mininterval=0, miniters=1)
    monkeypatch.setattr(tqdm.tqdm, "__init__", at_once)
    ask([record(tmp_path / "long.wav", 9.0)], Watching(), Heap())
    shown = [re.search(r"long\.wav:.* (\d+)/9 ", line) for line in seen]
    numbers = [int(found[1]) for found in shown if found]
    assert numbers == sorted(numbers)
    assert len(set(numbers)) >= 7


def test_damage_in_the_middle_keeps_what_was_heard_before_it(tmp_path: Path) -> None:
    whole = record(tmp_path / "a.wav", 4.0)
    cut = tmp_path / "cut.flac"
    samples, rate = soundfile.read(whole)
    soundfile.write(cut, np.random.default_rng(0).normal(0, 0.1, len(samples)), rate)
    cut.write_bytes(cut.read_bytes()[:100_000])
    heap = Heap()
    assert ask([cut, whole], Echo(), heap) == 1
    assert ("cut", "w0") in heap.told
    assert ("a", "end") in heap.told


def keeper(folder: Path, names: Sequence[Path], **options: object) -> Keeper:
    asked = {"prompt": options.pop("prompt", "What?")}
    return Keeper(folder, TEXT, list(map(str, names)), asked, **options)  # type: ignore[arg-type]


class Killed(BaseException):
    pass


def interrupted(name: Path, folder: Path, after: int) -> Path:
    """The partial file of a run that was killed."""

    class Dying(Echo):
        def __call__(self, windows: Sequence[Heard]) -> list[Part]:
            if len(self.batches) == after:
                raise Killed
            return super().__call__(windows)

    with pytest.raises(Killed):
        ask([name], Dying(), keeper(folder, [name]))
    return folder / f"{name.stem}.json.partial"


def test_an_interrupted_recording_goes_on_where_it_stopped(tmp_path: Path) -> None:
    name, folder = record(tmp_path / "a.wav", 5.0), tmp_path / "out"
    partial = interrupted(name, folder, after=3)
    assert len(partial.read_text().splitlines()) == 4
    echo = Echo()
    assert ask([name], echo, keeper(folder, [name]), batch_size=2) == 0
    assert echo.batches[0][0] == ("a", 3)
    whole = Echo()
    ask([name], whole, keeper(tmp_path / "whole", [name]))
    assert (folder / "a.json").read_bytes() == (tmp_path / "whole" / "a.json").read_bytes()
    assert [path.name for path in folder.iterdir()] == ["a.json"]
    again = Echo()
    assert ask([name], again, keeper(folder, [name])) == 0
    assert again.batches == []


@pytest.mark.parametrize("change", ["file", "prompt", "overwrite", "header", "garbage", "empty"])
def test_nothing_is_taken_over_from_another_file_or_question(change: str, tmp_path: Path) -> None:
    name, folder = record(tmp_path / "a.wav", 3.0), tmp_path / "out"
    partial = interrupted(name, folder, after=2)
    options: dict[str, object] = {}
    if change == "file":
        record(name, 3.5)
    elif change == "prompt":
        options["prompt"] = "Why?"
    elif change == "overwrite":
        options["overwrite"] = True
    else:
        lines = partial.read_text().splitlines(keepends=True)
        content = {"header": lines[1:], "garbage": ["\x00{]\n", *lines], "empty": []}[change]
        if change == "garbage":
            content[1] = lines[1]
        partial.write_text("".join(content))
    echo = Echo()
    assert ask([name], echo, keeper(folder, [name], **options)) == 0
    assert echo.batches[0] == [("a", 0)]


def test_damaged_lines_are_asked_about_again(tmp_path: Path) -> None:
    name, folder = record(tmp_path / "a.wav", 5.0), tmp_path / "out"
    partial = interrupted(name, folder, after=3)
    lines = partial.read_text().splitlines(keepends=True)
    lines[2] = lines[2].replace('"w1"', "17")  # a number for a text
    partial.write_text("".join(lines)[:-5])  # and a line that was cut short
    echo = Echo()
    assert ask([name], echo, keeper(folder, [name])) == 0
    assert [batch[0][1] for batch in echo.batches[:2]] == [1, 2]
    windows = json.loads((folder / "a.json").read_text())["windows"]
    assert [window["text"] for window in windows] == [f"w{n}" for n in range(len(windows))]


def test_two_results_never_share_a_file(tmp_path: Path) -> None:
    with pytest.raises(InvalidArgumentError, match="different names"):
        keeper(tmp_path, [Path("/a/b.wav"), Path("/a/b.flac"), Path("a/b.wav"), Path("../a/b.wav")])


@pytest.fixture
def model(model_folder: Path) -> list[str]:
    return ["--model", str(model_folder)]


def test_answers_come_out_of_the_choices_with_their_probabilities(tmp_path, model, capsys) -> None:
    folder = tmp_path / "in"
    names = [record(folder / f"{n}.wav", 0.4 + n / 2, 200.0 + 90 * n) for n in range(3)]
    command = ["answer", str(folder), "-q", "Is it loud?", *model, "--choices", "yes", "no"]
    assert main([*command, "--json"]) == OK
    records = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [record["file"] for record in records] == list(map(str, names))
    for each in records:
        for window in each["windows"]:
            chances = window["probabilities"]
            assert [*chances] == ["yes", "no"]
            assert sum(chances.values()) == pytest.approx(1, abs=1e-3)
            assert chances[window["text"]] == max(chances.values()) == window["confidence"]
    assert main([*command, "no "]) == ERROR
    assert "--choices: expected texts that differ" in capsys.readouterr().err
    assert main([*command, "--stream"]) == ERROR
    assert "--choices: expected nothing beside --stream" in capsys.readouterr().err


def test_doubtful_answers_are_marked(tmp_path, model, capsys) -> None:
    clip = record(tmp_path / "clip.wav", 0.5)
    command = ["answer", str(clip), "-q", "What?", *model]
    assert main([*command, "--json"]) == OK
    whole = json.loads(capsys.readouterr().out)
    sure = whole["confidence"]
    assert 0 < sure < 1
    assert "doubtful" not in whole["windows"][0]
    for threshold, mark in ((sure - 1e-3, ""), (sure + 1e-3, "[doubtful] ")):
        assert main([*command, "--min-confidence", str(threshold)]) == OK
        assert capsys.readouterr().out == f"{mark}{whole['answer']}\n"
        assert main([*command, "--min-confidence", str(threshold), "--json"]) == OK
        assert json.loads(capsys.readouterr().out)["windows"][0]["doubtful"] == bool(mark)
        assert main([*command, "--min-confidence", str(threshold), "--stream"]) == OK
        assert capsys.readouterr().out.splitlines()[-1] == f"{mark}{whole['answer']}"
    with pytest.raises(SystemExit):
        main([*command, "--min-confidence", "1.5"])


def test_files_do_not_hang_on_the_batch_nor_on_the_output(tmp_path, model, capsys) -> None:
    folder = tmp_path / "in"
    for number in range(3):
        record(folder / f"{number}.wav", 0.7 + number, 200.0 + 70 * number)
    results = []
    for batch in ("1", "4"):
        output = tmp_path / f"out{batch}"
        command = ["transcribe", str(folder), *model, "--format", "json", "--batch-size", batch]
        assert main([*command, "--output-dir", str(output)]) == OK
        assert capsys.readouterr().out == ""
        results.append([json.loads(path.read_text()) for path in sorted(output.iterdir())])
        assert main(command) == OK
        results.append([json.loads(line) for line in capsys.readouterr().out.splitlines()])
    for each in results[1:]:
        assert [(r["file"], r["text"]) for r in each] == [
            (r["file"], r["text"]) for r in results[0]
        ]


def test_a_share_is_what_the_launcher_says(monkeypatch) -> None:
    names = [str(number) for number in range(11)]
    shares = [Share(rank, 4).of(names) for rank in range(4)]
    assert sorted(name for share in shares for name in share) == sorted(names)
    assert max(map(len, shares)) - min(map(len, shares)) <= 1
    for name in ("RANK", "WORLD_SIZE", "LOCAL_RANK"):
        monkeypatch.delenv(name, raising=False)
    assert Share.of_environment() == Share()
    monkeypatch.setenv("WORLD_SIZE", "3")
    for rank in ("3", "-1", "x", ""):
        monkeypatch.setenv("RANK", rank)
        with pytest.raises(InvalidArgumentError, match="RANK"):
            Share.of_environment()
    monkeypatch.setenv("RANK", "2")
    assert Share.of_environment() == Share(2, 3, 2)


def test_processes_that_print_would_mix_their_answers(tmp_path, model, monkeypatch, capsys) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setenv("RANK", "1")
    assert main(["answer", str(record(tmp_path / "a.wav", 0.2)), "-q", "?", *model]) == ERROR
    assert "--output-dir: expected a folder where processes share work" in capsys.readouterr().err


@pytest.mark.slow
def test_processes_share_a_folder_and_write_each_result_once(tmp_path, model_folder) -> None:
    for number in range(5):
        record(tmp_path / "in" / f"{number}.wav", 0.5, 200.0 + 50 * number)
    command = ["transcribe", str(tmp_path / "in"), "--model", str(model_folder), "--format", "json"]
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone"]
    launcher += ["--nproc_per_node", "2", "-m", "dllm_audio.cli"]
    subprocess.run(
        [*launcher, *command, "--output-dir", str(tmp_path / "two")],
        env={**os.environ, "OMP_NUM_THREADS": "1"}, check=True, capture_output=True,
    )  # fmt: skip
    assert main([*command, "--output-dir", str(tmp_path / "one")]) == OK
    one, two = (sorted((tmp_path / name).iterdir()) for name in ("one", "two"))
    assert [path.name for path in two] == [f"{number}.json" for number in range(5)]
    for mine, theirs in zip(one, two, strict=True):
        assert json.loads(mine.read_text())["text"] == json.loads(theirs.read_text())["text"]


@pytest.mark.slow
def test_a_kill_in_the_middle_of_a_recording_loses_nothing(tmp_path, model_folder) -> None:
    name, output = record(tmp_path / "long.wav", 240.0), tmp_path / "out"
    arguments = ["transcribe", str(name), "--model", str(model_folder), "--output-dir", str(output)]
    arguments += ["--format", "json", "--batch-size", "2"]
    (tmp_path / "waits.py").write_text(WAITS)
    command = [sys.executable, "-m", "dllm_audio.cli", *arguments]
    process = subprocess.Popen([*command, "--import", str(tmp_path / "waits.py")])
    partial = output / "long.json.partial"
    while not partial.exists() or partial.read_text().count("\n") < 8:
        assert process.poll() is None
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.wait()
    kept = partial.read_text().splitlines()
    asked: list[int] = []
    original = Asker.__call__

    def counting(self: Asker, windows: Sequence[Heard]) -> list[Part]:
        asked.extend(heard.number for heard in windows)
        return original(self, windows)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Asker, "__call__", counting)
        assert main(arguments) == OK
    windows = json.loads((output / "long.json").read_text())["windows"]
    assert windows[-1]["end"] == 240.0
    assert len(kept) - 2 <= min(asked) <= len(kept)
    assert sorted(asked) == list(range(min(asked), len(windows)))
    assert not partial.exists()


def test_some_failed_is_told_by_the_exit_code_with_files_too(tmp_path, model, capsys) -> None:
    good, bad = record(tmp_path / "good.wav", 0.3), tmp_path / "bad.wav"
    bad.write_text("no sound")
    command = ["transcribe", str(bad), str(good), *model, "--output-dir", str(tmp_path / "out")]
    assert main(command) == SOME_FAILED
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["good.txt"]
    assert f"dllm-audio: {bad}: " in capsys.readouterr().err
