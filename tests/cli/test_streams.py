"""Closed, full or ASCII output, closed input, signals: one line and the right exit code."""

from __future__ import annotations

import io
import json
import os
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import soundfile
import torch

from dllm_audio.cli import main
from dllm_audio.cli.exit_codes import ERROR, INTERRUPTED, OK, TERMINATED
from dllm_audio.cli.stopping import Terminated, stoppable

COMMAND = [sys.executable, "-m", "dllm_audio.cli"]


@pytest.fixture
def clip(tmp_path: Path) -> Path:
    soundfile.write(tmp_path / "clíp.wav", [0.1, -0.1] * 2000, 16000)
    return tmp_path / "clíp.wav"


def run(*arguments: object, **options: Any) -> subprocess.CompletedProcess[str]:
    options = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True} | options
    return subprocess.run([*COMMAND, *map(str, arguments)], **options)


def closing(*numbers: int) -> Callable[[], None]:
    return lambda: [os.close(number) for number in numbers] and None


@pytest.mark.slow
def test_a_full_or_closed_output_is_one_line() -> None:
    with open("/dev/full", "w") as full:
        result = run("info", stdout=full)
    assert (result.returncode, result.stderr.count("\n")) == (ERROR, 1)
    assert "standard output: No space left on device" in result.stderr
    result = run("info", preexec_fn=closing(1))
    assert (result.returncode, result.stderr.count("\n")) == (ERROR, 1)
    assert "standard output: closed" in result.stderr
    reader, writer = os.pipe()
    os.close(reader)
    with os.fdopen(writer, "w") as pipe:
        result = run("info", stdout=pipe)
    assert (result.returncode, result.stderr) == (ERROR, "")


@pytest.mark.slow
def test_closed_inputs_and_errors_do_not_hinder(clip: Path, model_folder: Path) -> None:
    command = ["answer", clip, "-q", "?", "--model", model_folder, "--json"]
    result = run(*command, preexec_fn=closing(0, 2))
    assert result.returncode == OK
    assert json.loads(result.stdout)["file"] == str(clip)


def test_a_closed_standard_input_is_one_line(model_folder: Path, monkeypatch, capsys) -> None:
    monkeypatch.setattr(sys, "stdin", None)
    assert main(["answer", "-", "-q", "?", "--model", str(model_folder)]) == ERROR
    assert capsys.readouterr().err == "dllm-audio: -: standard input is closed\n"


@pytest.mark.parametrize("form", ["text", "json"])
def test_ascii_output_holds_any_name(form: str, clip: Path, model_folder, monkeypatch) -> None:
    output = io.TextIOWrapper(io.BytesIO(), encoding="ascii")
    monkeypatch.setattr(sys, "stdout", output)
    command = ["transcribe", str(clip), str(clip), "--model", str(model_folder)]
    assert main([*command, "--format", form]) == OK
    lines = output.buffer.getvalue().decode("ascii").splitlines()  # type: ignore[attr-defined]
    assert len(lines) == 2
    if form == "json":
        assert [json.loads(line)["file"] for line in lines] == [str(clip)] * 2
    else:
        assert all("cl\\xedp.wav" in line for line in lines)


def test_ascii_errors_hold_any_name(tmp_path: Path, monkeypatch) -> None:
    errors = io.TextIOWrapper(io.BytesIO(), encoding="ascii")
    monkeypatch.setattr(sys, "stderr", errors)
    assert main(["info", str(tmp_path / "né\udcff.safetensors")]) == ERROR
    errors.flush()
    assert b"n\\xe9\\udcff.safetensors" in errors.buffer.getvalue()  # type: ignore[attr-defined]


def test_a_name_that_is_no_utf8_is_json_too(tmp_path, clip, model_folder, monkeypatch) -> None:
    odd = tmp_path / os.fsdecode(b"od\xff.wav")
    odd.write_bytes(clip.read_bytes())
    output = io.TextIOWrapper(io.BytesIO(), encoding="utf-8")
    monkeypatch.setattr(sys, "stdout", output)
    assert main(["transcribe", str(odd), "--json", "--model", str(model_folder)]) == OK
    record = json.loads(output.buffer.getvalue())  # type: ignore[attr-defined]
    assert record["file"] == str(odd)


def limited(size: int) -> Callable[[], None]:
    return lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))


@pytest.mark.slow
@pytest.mark.parametrize("to", ["safetensors", "published"])
def test_a_conversion_that_does_not_fit_names_the_file(to: str, tmp_path: Path) -> None:
    source, target = tmp_path / "in", tmp_path / "out"
    source.mkdir()
    tensors = {"trainable_prompts.weight": torch.zeros(200, 200)}
    if to == "safetensors":
        torch.save(tensors, source / "pytorch_model.bin")
        name = "model.safetensors"
    else:
        from safetensors.torch import save_file

        save_file(tensors, source / "model.safetensors")
        name = "pytorch_model.bin"
    result = run("convert", source, target, "--to", to, preexec_fn=limited(20_000))
    assert result.returncode == ERROR
    assert result.stderr.count("\n") == 1
    assert str(target / name) in result.stderr
    assert list(target.iterdir()) == []


@pytest.mark.slow
def test_an_evaluation_that_does_not_fit_names_the_file(tmp_path, model_folder) -> None:
    command = ["eval", "toy", "--limit", 40, "--model", model_folder, "--output", tmp_path / "run"]
    result = run(*command, preexec_fn=limited(4096))  # the copy of the tokenizer fits
    assert result.returncode == ERROR
    assert len([line for line in result.stderr.splitlines() if "File too large" in line]) == 1
    assert str(tmp_path / "run") in result.stderr
    assert "Traceback" not in result.stderr
    assert not [path for path in tmp_path.rglob("*") if path.name.startswith(".")]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("number", "code", "word"),
    [(signal.SIGINT, INTERRUPTED, "interrupted"), (signal.SIGTERM, TERMINATED, "terminated")],
)
def test_signals_are_told_on_one_line(number: int, code: int, word: str, tmp_path: Path) -> None:
    parts = tmp_path / "waits.py"
    parts.write_text(f"import signal\nopen({str(tmp_path / 'begun')!r}, 'w')\nsignal.pause()\n")
    process = subprocess.Popen(
        [*COMMAND, "answer", "x.wav", "-q", "?", "--import", str(parts)],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    while not (tmp_path / "begun").exists():
        assert process.poll() is None
        time.sleep(0.05)
    process.send_signal(number)
    output, errors = process.communicate()
    assert (process.returncode, output, errors) == (code, "", f"dllm-audio: {word}\n")


def test_a_run_that_is_stopped_says_how_it_goes_on(tmp_path: Path, monkeypatch, capsys) -> None:
    import dllm_audio.training

    def stop(*_: object, **__: object) -> None:
        os.kill(os.getpid(), signal.SIGTERM)

    (tmp_path / "run.json").write_text(
        json.dumps({"data": {"qa": {"train": ["x"]}}, "encoder": "e", "backbone": "b"})
    )
    monkeypatch.setattr(dllm_audio.training, "run_recipe", stop)
    assert main(["train", str(tmp_path / "run.json"), "--output", "out"]) == TERMINATED
    assert capsys.readouterr().err == (
        "dllm-audio: terminated; the same command goes on from the last checkpoint in out\n"
    )


def test_the_handler_is_put_back() -> None:
    before = signal.getsignal(signal.SIGTERM)
    with pytest.raises(Terminated), stoppable():
        os.kill(os.getpid(), signal.SIGTERM)
    assert signal.getsignal(signal.SIGTERM) is before


def test_the_largest_seed_decodes(clip: Path, model_folder: Path, capsys) -> None:
    command = ["answer", str(clip), "-q", "?", "--model", str(model_folder), "--temperature", "1"]
    assert main([*command, "--seed", str(2**63 - 1)]) == OK
