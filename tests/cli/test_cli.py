"""The command: results, exit codes, one-line errors, output formats."""

from __future__ import annotations

import argparse
import io
import json
import os
import re
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import soundfile

from dllm_audio.cli import build_parser, main
from dllm_audio.cli.contents import fingerprint
from dllm_audio.cli.decoding import chosen_sampler
from dllm_audio.cli.exit_codes import ERROR, INTERRUPTED, OK, SOME_FAILED
from dllm_audio.cli.recordings import Recording, find_files
from dllm_audio.cli.results import Layout, Part, clock
from dllm_audio.cli.streaming import partial_text
from dllm_audio.errors import DataError, DllmAudioError
from dllm_audio.samplers import (
    BlockSampler,
    CachedParallelSampler,
    EntropyBound,
    Factor,
    Sampler,
    Threshold,
    preset,
)

COMMANDS = ("answer", "transcribe", "serve", "eval", "tune", "convert", "info")


def write_tone(path: Path, seconds: float = 0.5, rate: int = 16000) -> Path:
    time = np.arange(round(seconds * rate)) / rate
    soundfile.write(path, 0.3 * np.sin(2 * np.pi * 300 * time), rate)
    return path


@pytest.fixture
def clip(tmp_path: Path) -> Path:
    return write_tone(tmp_path / "clip.wav")


@pytest.fixture
def model(model_folder: Path) -> list[str]:
    return ["--model", str(model_folder)]


@pytest.mark.parametrize("command", COMMANDS)
def test_help_describes_options_and_shows_examples(command: str, capsys) -> None:
    with pytest.raises(SystemExit) as exit_:
        main([command, "--help"])
    text = capsys.readouterr().out
    assert exit_.value.code == 0
    assert f"usage: dllm-audio {command} " in text
    assert "examples:" in text
    assert f"\n  dllm-audio {command}" in text
    assert max(map(len, text.splitlines())) <= 100


@pytest.mark.parametrize("command", COMMANDS)
def test_every_example_in_the_help_is_a_valid_command_line(command: str) -> None:
    parser = build_parser()
    epilog = next(
        action.choices[command].epilog
        for action in parser._actions
        if isinstance(action, argparse._SubParsersAction)
    )
    lines = re.sub(r"\\\n\s+", " ", epilog).splitlines()
    found = [line.strip() for line in lines if re.match(r"^  (dllm-audio|accelerate) ", line)]
    assert len(found) >= 2
    import shlex

    for line in found:
        words = shlex.split(line.partition(" > ")[0], comments=True)
        start = words.index("dllm_audio.cli") if words[0] == "accelerate" else 0
        assert parser.parse_args(words[start + 1 :]).run


def test_help_loads_neither_torch_nor_transformers() -> None:
    code = (
        "import sys; from dllm_audio.cli import build_parser; build_parser().format_help(); "
        "print([m for m in ('torch', 'transformers', 'numpy', 'soundfile') if m in sys.modules])"
    )
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert result.stdout.strip() == "[]"


@pytest.mark.parametrize(
    "arguments",
    [[], ["sing"], ["answer", "x.wav"], ["eval", "mmlu"], ["info", "--stage", "2"]],
)
def test_a_wrong_command_line_exits_with_2(arguments: list[str], capsys) -> None:
    with pytest.raises(SystemExit) as exit_:
        main(arguments)
    assert exit_.value.code == 2
    assert "usage: dllm-audio" in capsys.readouterr().err


def test_answer_prints_the_answer_alone(clip: Path, model: list[str], capsys) -> None:
    assert main(["answer", str(clip), "-q", "What is said?", *model]) == OK
    captured = capsys.readouterr()
    assert captured.out.endswith("\n")
    assert main(["answer", str(clip), "-q", "What is said?", "--json", *model]) == OK
    record = json.loads(capsys.readouterr().out)
    assert record["answer"] == captured.out.rstrip("\n")
    assert captured.err == f"{clip}: confidence {record['confidence']:.2f}\n"
    assert record["windows"][0]["end"] == 0.5
    assert record["windows"][0]["nfe"] >= 1


def test_answers_to_several_files_are_told_apart_and_failures_named(
    tmp_path, model, capsys
) -> None:
    good, bad = write_tone(tmp_path / "good.wav"), tmp_path / "bad.wav"
    bad.write_text("no sound")
    assert main(["answer", str(bad), str(good), "-q", "What?", *model]) == SOME_FAILED
    captured = capsys.readouterr()
    assert captured.out.startswith(f"{good}: ")
    first, second = captured.err.splitlines()
    assert first.startswith(f"dllm-audio: {bad}: ")
    assert second.startswith(f"{good}: confidence ")
    assert main(["answer", str(bad), "-q", "What?", *model]) == ERROR


def test_a_long_recording_is_answered_in_parts_that_are_stated(tmp_path, model, capsys) -> None:
    path = write_tone(tmp_path / "long.wav", seconds=2.5)
    assert main(["answer", str(path), "-q", "What?", *model]) == OK
    captured = capsys.readouterr()
    assert "2.5 s, heard in 3 windows of at most 1 s, cut at pauses" in captured.err
    lines = captured.out.splitlines()
    assert lines[0].startswith("[00:00:00.000 - 00:00:0")
    assert " - 00:00:02.500]" in captured.out


def test_what_is_left_of_a_truncated_file_can_be_used(tmp_path, clip, model, capsys) -> None:
    cut = tmp_path / "cut.wav"
    cut.write_bytes(clip.read_bytes()[:8000])
    command = ["transcribe", str(cut), "--json", *model]
    assert main(command) == ERROR
    assert "truncated" in json.loads(capsys.readouterr().out)["error"]
    assert main([*command, "--allow-truncated"]) == OK
    assert json.loads(capsys.readouterr().out)["seconds"] == pytest.approx(0.25, abs=0.01)


def test_standard_input_is_a_file_too(clip: Path, model, capsys, monkeypatch) -> None:
    monkeypatch.setattr("sys.stdin", SimpleNamespace(buffer=io.BytesIO(clip.read_bytes())))
    assert main(["answer", "-", "-q", "What?", *model]) == OK
    from_stdin = capsys.readouterr().out
    assert main(["answer", str(clip), "-q", "What?", *model]) == OK
    assert capsys.readouterr().out == from_stdin


def test_streaming_ends_with_the_same_answer(clip: Path, model, capsys) -> None:
    decoding = ["--sampler", "diffa", "--steps", "8", "--gen-length", "8"]
    main(["answer", str(clip), "-q", "What?", *model, *decoding])
    answer = capsys.readouterr().out.rstrip("\n")
    main(["answer", str(clip), "-q", "What?", "--stream", *model, *decoding])
    lines = capsys.readouterr().out.splitlines()
    assert lines[-1] == answer
    assert len(lines) == 9
    assert "_" in lines[0]
    main(["answer", str(clip), "-q", "What?", "--stream", "--json", *model, *decoding])
    records = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [r["nfe"] for r in records[:-1]] == list(range(1, 9))
    assert records[-1]["answer"] == answer
    assert records[-1]["windows"][0]["nfe"] == 8


def test_gaps_and_committed_tokens_are_shown_up_to_the_end() -> None:
    tokenizer = SimpleNamespace(decode=lambda ids, skip_special_tokens: "".join(map(chr, ids)))
    tokens = [ord("h"), ord("i"), 0, 0, ord("y"), 1, 0, ord("z")]
    assert partial_text(tokens, tokenizer, mask_token_id=0, ends={1}) == "hi __ y"
    assert partial_text([0, 0], tokenizer, 0, {1}) == "__"
    assert partial_text([1], tokenizer, 0, {1}) == ""


def test_transcripts_come_as_text_json_and_subtitles(tmp_path, model, capsys) -> None:
    path = write_tone(tmp_path / "talk.wav", seconds=1.6)
    command = ["transcribe", str(path), *model]
    assert main(command) == OK
    text = capsys.readouterr().out.rstrip("\n")
    assert main([*command, "--json"]) == OK
    record = json.loads(capsys.readouterr().out)
    assert record["text"] == text
    assert record["seconds"] == 1.6
    assert [w["start"] for w in record["windows"][1:]] == [w["end"] for w in record["windows"][:-1]]
    assert main([*command, "--format", "srt"]) == OK
    windows = [{k: v for k, v in w.items() if k != "doubtful"} for w in record["windows"]]
    heard = Recording(str(path), [Part(**window) for window in windows])
    assert capsys.readouterr().out.rstrip("\n") == Layout("srt", "text").render(heard).rstrip("\n")
    assert main([*command, "--window", "0.3", "--json"]) == OK
    assert len(json.loads(capsys.readouterr().out)["windows"]) >= 6
    assert main([*command, "--window", "3"]) == ERROR
    assert "--window: expected seconds above 0, at most 1" in capsys.readouterr().err


def test_subtitles_are_numbered_timed_and_leave_silence_out() -> None:
    parts = [
        Part(0.0, 2.5, "one", 1, 0.9),
        Part(2.5, 3.0, "", 1),
        Part(3.0, 3661.25, "two", 1, 0.4),
    ]
    assert Layout("srt", "text", min_confidence=0.5).render(Recording("talk.wav", parts)) == (
        "1\n00:00:00,000 --> 00:00:02,500\none\n\n"
        "2\n00:00:03,000 --> 01:01:01,250\n[doubtful] two\n"
    )
    assert clock(0.9999) == "00:00:00.999"


def test_folders_are_searched_and_written_once(tmp_path, model, capsys) -> None:
    source, output = tmp_path / "in", tmp_path / "out"
    (source / "sub").mkdir(parents=True)
    for name in ("b.wav", "a.wav", "sub/c.flac", "sub/a.wav"):
        write_tone(source / name, 0.2)
    (source / "notes.txt").write_text("x")
    assert [Path(f).name for f in find_files([str(source)])] == [
        "a.wav",
        "b.wav",
        "a.wav",
        "c.flac",
    ]
    command = ["transcribe", str(source), "--output-dir", str(output), "--format", "json", *model]
    assert main(command) == OK
    capsys.readouterr()
    written = sorted(output.iterdir())
    assert len(written) == 4
    assert {"b.json", "c.json"} <= {path.name for path in written}
    written[0].write_text("mine")
    assert main(command) == OK
    assert written[0].read_text() == "mine"
    assert main([*command, "--overwrite"]) == OK
    assert json.loads(written[0].read_text())["text"] is not None
    empty = str(tmp_path / "out")
    assert find_files([empty, str(source / "a.wav")]) == [empty, str(source / "a.wav")]
    capsys.readouterr()
    assert main(["transcribe", empty, str(source / "a.wav"), *model]) == SOME_FAILED
    assert f"{empty}: no sound file" in capsys.readouterr().err


def test_eval_runs_reports_and_goes_on(tmp_path, model, capsys) -> None:
    output = tmp_path / "run"
    command = ["eval", "toy", "--limit", "5", "--output", str(output), *model]
    assert main([*command, "--batch-size", "3"]) == OK
    text = capsys.readouterr().out
    assert "toy: 5 rows of toy benchmark" in text
    assert "official" in text
    assert "without prediction: 0 of 5" in text
    results = (output / "results.jsonl").read_bytes()
    assert {p.name for p in output.iterdir()} >= {
        "report.json", "report.md", "report.png", "run.json", "toy_predictions.jsonl",
    }  # fmt: skip
    assert main([*command, "--json"]) == OK
    report = json.loads(capsys.readouterr().out)
    assert (output / "results.jsonl").read_bytes() == results
    assert report["settings"]["model"]["decoding"]["commit"]["settings"]["tau"] == 0.5
    assert len(report["starts"]) == 2
    assert main([*command, "--steps", "4"]) == ERROR
    error = capsys.readouterr().err
    assert "holds a run with other settings (" in error
    assert "model.decoding.commit.name was 'threshold', is 'fixed-quota'" in error


def test_eval_scores_a_file_of_predictions(tmp_path, capsys) -> None:
    rows = [
        {"id": "1", "question": "?", "choices": ["x", "y"], "answer": "x", "model_output": "A. x"},
        {"id": "2", "question": "?", "choices": ["x", "y"], "answer": "y", "model_output": "x"},
        {"id": "3", "question": "?", "choices": ["x", "y"], "answer": "y"},
    ]
    path = tmp_path / "theirs.json"
    path.write_text(json.dumps(rows))
    command = ["eval", "mmar", "--predictions", str(path), "--output", str(tmp_path / "out")]
    assert main([*command, "--json"]) == SOME_FAILED
    report = json.loads(capsys.readouterr().out)
    overall = report["scores"]["modes"]["official"]["groups"]["overall"]["all"]
    assert (overall["correct"], overall["valid"], overall["total"]) == (1, 2, 3)
    assert report["failures"]["reasons"] == [{"id": "3", "error": "no prediction"}]


def test_eval_reads_audio_of_any_source_from_another_folder(tmp_path, model, capsys) -> None:
    for folder in ("sounds", "kaldi"):
        (tmp_path / folder).mkdir()
    write_tone(tmp_path / "sounds" / "a.wav")
    (tmp_path / "kaldi" / "wav.scp").write_text("u1 a.wav\n")
    (tmp_path / "kaldi" / "text").write_text("u1 HELLO\n")
    rows = tmp_path / "rows.jsonl"
    rows.write_text('{"id": "u1", "audio": "a.wav", "text": "HELLO"}\n')
    for data in (tmp_path / "kaldi", rows):
        command = ["eval", "asr", "--data", str(data), "--output", f"{data}-out", *model]
        assert main([*command, "--audio-root", str(tmp_path / "sounds")]) == OK, capsys.readouterr()


def test_voicebench_files_are_named_and_filled_for_its_evaluator(tmp_path, model, capsys) -> None:
    write_tone(tmp_path / "q.wav")
    rows = [{"audio": "q.wav", "prompt": "Where?", "reference": "here"}]
    data = tmp_path / "rows.json"
    data.write_text(json.dumps(rows))
    output = tmp_path / "vb"
    command = ["eval", "voicebench-sd-qa", "--split", "usa", "--data", str(data), *model]
    assert main([*command, "--output", str(output)]) == OK
    assert "scored by VoiceBench's own evaluator" in capsys.readouterr().out
    exported = (output / "tiny-sd-qa-usa-audio.jsonl").read_text().splitlines()
    assert set(json.loads(exported[0])) == {"prompt", "reference", "response"}


def test_info_shows_parts_memory_and_settings(model_folder: Path, capsys) -> None:
    assert main(["info", str(model_folder), "--tensors"]) == OK
    text = capsys.readouterr().out
    for part in (
        *("encoder", "adapter", "backbone", "total", "weights in memory: float32"),
        *("backbone.settings.n_layers", "adapter.name", "backbone.blocks.0.q_proj.weight"),
    ):
        assert part in text
    assert main(["info", str(model_folder), "--json"]) == OK
    record = json.loads(capsys.readouterr().out)
    from dllm_audio import AudioDiffusionLM

    model = AudioDiffusionLM.from_pretrained(model_folder)
    sizes = {part["name"]: part["parameters"] for part in record["parts"]}
    for name in ("adapter", "backbone"):
        assert sizes[name] == sum(p.numel() for p in getattr(model, name).parameters())
    assert record["bytes"] == 4 * record["parameters"]
    assert main(["info", str(model_folder / "model.safetensors")]) == OK


def test_a_models_fingerprint_changes_with_its_weights(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("{}")
    weights = tmp_path / "model.safetensors"
    weights.write_bytes(bytes(3 * 2**20))
    before = fingerprint(tmp_path)
    assert fingerprint(tmp_path) == before
    weights.write_bytes(bytes(3 * 2**20 - 1) + b"x")
    assert fingerprint(tmp_path) != before


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["info", "{tmp}/nowhere/at/all"], "nowhere"),
        (["info", "{tmp}/text.bin"], "expected a folder, a hub id or a .safetensors file"),
        (["info", "{tmp}/text.safetensors"], "not a whole safetensors file"),
        (["answer", "x.wav", "-q", "?", "--model", "{tmp}"], "config.json"),
        (["answer", "x.wav", "-q", "?", "--model", "{tmp}", "--stage", "2"], "--whisper: expected"),
        (["answer", "x.wav", "-q", "?", "--model", "{tmp}", "--device", "tpu"], "--device"),
        (["answer", "x.wav", "-q", "?", "--threshold", "1", "--factor", "1"], "factor: expected"),
        (["answer", "x.wav", "-q", "?", "--sampler", "block", "--factor", "1"], "sampler"),
        (["transcribe", "{tmp}"], "no sound file"),
        (["eval", "mmar"], "--data: expected the questions of mmar"),
        (["eval", "mmar", "--data", "{tmp}/nowhere.json"], "nowhere.json"),
        (["eval", "toy", "--preset", "diffa"], "--preset: expected one of model"),
        (["eval", "toy", "--audio-root", "{tmp}/text.bin"], "--audio-root: expected a folder"),
        (["convert", "{tmp}", "{tmp}/out"], "not a whole safetensors file"),
        (["convert", "{tmp}/empty", "{tmp}/out"], "holds neither"),
    ],
)
def test_errors_are_one_line_on_standard_error(tmp_path, capsys, arguments, message) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "text.bin").write_text("text")
    (tmp_path / "text.safetensors").write_text("text")
    code = main([a.replace("{tmp}", str(tmp_path)) for a in arguments])
    captured = capsys.readouterr()
    assert code == ERROR
    assert captured.err.startswith("dllm-audio: ")
    assert captured.err.count("\n") == 1
    assert message in captured.err
    assert captured.out == ""


def test_debug_shows_the_traceback(tmp_path: Path) -> None:
    with pytest.raises(DataError):
        main(["transcribe", str(tmp_path), "--debug"])


def test_an_interrupt_is_told_and_has_its_own_exit_code(clip, model, capsys, monkeypatch) -> None:
    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("dllm_audio.cli.inputs.load_predictor", interrupt)
    assert main(["answer", str(clip), "-q", "?", *model]) == INTERRUPTED
    assert capsys.readouterr().err == "dllm-audio: interrupted\n"


def parse(*options: str) -> argparse.Namespace:
    return build_parser().parse_args(["answer", "x.wav", "-q", "?", *options])


OWN = CachedParallelSampler(24, 8, Threshold(0.9), "prefix")
PUBLISHED = preset("diffa")
DESCRIBED = '{"gen_length": 6, "commit": {"name": "entropy-bound", "settings": {"gamma": 0.2}}}'


@pytest.mark.parametrize(
    ("options", "default", "expected"),
    [
        ([], OWN, None),
        ([], PUBLISHED, None),
        (["--steps", "4"], PUBLISHED, BlockSampler(4, 16, 16)),
        (["--gen-length", "4", "--steps", "4"], PUBLISHED, BlockSampler(4, 4, 4)),
        (["--temperature", "0.5"], preset("diffa-mmsu"), BlockSampler(4, 4, 4, temperature=0.5)),
        (
            ["--threshold", "0.8", "--cache", "dual"], PUBLISHED,
            CachedParallelSampler(16, 16, Threshold(0.8), "dual"),
        ),
        (["--gen-length", "4"], OWN, CachedParallelSampler(4, 4, Threshold(0.9), "prefix")),
        (
            ["--factor", "1", "--cache", "none"], OWN,
            CachedParallelSampler(24, 8, Factor(1.0), None),
        ),
        (["--steps", "12"], OWN, CachedParallelSampler(24, 8, None, "prefix", steps=12)),
        (["--threshold", "0.7", "--steps", "12"], OWN,
         CachedParallelSampler(24, 8, Threshold(0.7), "prefix", steps=12)),
        (["--sampler", "diffa"], OWN, PUBLISHED),
        (["--sampler", "diffa", "--gen-length", "8"], OWN, preset("diffa", gen_length=8)),
        (["--sampler", DESCRIBED], OWN, Sampler(6, 6, EntropyBound(0.2))),
    ],
)  # fmt: skip
def test_options_become_a_sampler(options, default, expected) -> None:
    found = chosen_sampler(parse(*options), default)
    assert (found is None) == (expected is None)
    if expected is not None:
        described, wanted = found.to_dict(), expected.to_dict()
        # Exactly these passes, whether the rule or the sampler says so.
        assert {**described, "steps": 0, "commit": 0} == {**wanted, "steps": 0, "commit": 0}
        assert found.plan() == expected.plan()
        assert found.commit == expected.commit


def test_a_description_may_stand_in_a_file(tmp_path: Path) -> None:
    (tmp_path / "s.json").write_text(DESCRIBED)
    found = chosen_sampler(parse("--sampler", str(tmp_path / "s.json")), OWN)
    assert found == Sampler(6, 6, EntropyBound(0.2))


@pytest.mark.parametrize(
    "options",
    [
        ["--sampler", "beam"],
        ["--sampler", '{"gen_length": 4, "commit": {"name": "beam"}}'],
        ["--sampler", '{"gen_length": 4, "stepz": 4}'],
        ["--threshold", "0.9", "--factor", "1"],
        ["--gen-length", "0"],
        ["--steps", "0"],
    ],
)
def test_options_that_cannot_be_are_refused(options: list[str]) -> None:
    with pytest.raises((DllmAudioError, SystemExit)):
        chosen_sampler(parse(*options), OWN)


@pytest.mark.slow
def test_the_installed_command_works_as_a_process(tmp_path: Path, model_folder: Path) -> None:
    clip = write_tone(tmp_path / "clip.wav")
    command = [sys.executable, "-m", "dllm_audio.cli", "answer", str(clip), "nowhere.wav"]
    result = subprocess.run(
        [*command, "-q", "What?", "--model", str(model_folder)], capture_output=True, text=True
    )
    assert result.returncode == SOME_FAILED
    assert result.stdout.startswith(f"{clip}: ")
    assert "nowhere.wav: cannot be read" in result.stderr
    assert "Traceback" not in result.stderr


@pytest.mark.slow
def test_processes_share_a_run_and_report_once(tmp_path: Path, model_folder: Path) -> None:
    command = ["eval", "toy", "--limit", "5", "--model", str(model_folder), "--device", "cpu"]
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone"]
    launcher += ["--nproc_per_node", "2", "-m", "dllm_audio.cli"]
    result = subprocess.run(
        [*launcher, *command, "--output", str(tmp_path / "two")],
        capture_output=True, text=True, env={**os.environ, "OMP_NUM_THREADS": "1"}, check=True,
    )  # fmt: skip
    assert result.stdout.count("report: ") == 1
    shards = sorted(p.name for p in (tmp_path / "two" / "shards").glob("results-*"))
    assert shards == ["results-00000-of-00002.jsonl", "results-00001-of-00002.jsonl"]
    assert main([*command, "--output", str(tmp_path / "one")]) == OK
    two, one = ((tmp_path / name / "results.jsonl").read_bytes() for name in ("two", "one"))
    assert two == one


def test_info_says_what_every_part_is(tmp_path: Path, model_folder: Path, capsys) -> None:
    for file in model_folder.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    config = json.loads((tmp_path / "config.json").read_text())
    for adapter in (
        {"name": "somebodys", "settings": {"inner": {"name": "linear", "settings": {}}}},
        {"type": "somebodys"},
    ):
        (tmp_path / "config.json").write_text(json.dumps({**config, "adapter": adapter}))
        assert main(["info", str(tmp_path)]) == OK
        text = capsys.readouterr().out
        assert re.search(r"^  adapter\.(name|type) +somebodys$", text, re.MULTILINE)
        assert ("adapter.settings.inner.name" in text) == ("name" in adapter)
        parts = re.findall(r"^  (\w+)\.[\w.]+ ", text, re.MULTILINE)
        assert parts.index("adapter") < parts.index("backbone")
