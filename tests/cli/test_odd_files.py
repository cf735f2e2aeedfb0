"""A hundred damaged or odd files: each gives a result or a one-line reason."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from odd_files import build

from dllm_audio.cli import main
from dllm_audio.cli.exit_codes import SOME_FAILED

# What must work whatever else does: odd, but sound.
GOOD = {
    "rate_192000.wav", "channels_8.wav", "pcm_24.wav", "one_sample.wav", "silence.wav",
    "ten_minutes.flac", "as_flac.txt", "rate_8000.wav", "double.wav",
    "name with spaces and é.wav", "two_samples.flac",
}  # fmt: skip
BAD = {
    "zero_bytes.wav", "text.wav", "random.flac", "float_with_nan.wav", "float_all_inf.wav",
    "missing.wav", "folder.wav", "link_to_nowhere.wav", "name\nwith a line break.wav",
    "float_all_huge.wav",
    "no_samples.wav", "cut_50_percent.flac", "no_channels.wav",
}  # fmt: skip


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    files = build(tmp_path_factory.mktemp("odd"))
    assert len(files) >= 100
    assert {path.name for path in files} >= GOOD | BAD
    return files


@pytest.mark.slow
def test_answer_gives_a_result_or_a_reason_for_each(files, wide_model_folder, capsys) -> None:
    arguments = ["answer", *map(str, files), "-q", "What?", "--model", str(wide_model_folder)]
    code = main([*arguments, "--json", "--batch-size", "16", "--steps", "1", "--gen-length", "2"])
    captured = capsys.readouterr()
    records = [json.loads(line) for line in captured.out.splitlines()]
    assert [record["file"] for record in records] == [str(path) for path in files]
    answered = {Path(r["file"]).name for r in records if "answer" in r}
    refused = {Path(r["file"]).name: r["error"] for r in records if "error" in r}
    assert answered | refused.keys() == {path.name for path in files}
    assert not answered & refused.keys()
    assert answered >= GOOD
    assert refused.keys() >= BAD
    assert all(reason and "\n" not in reason for reason in refused.values())
    assert "Traceback" not in captured.err
    complaints = [line for line in captured.err.splitlines() if line.startswith("dllm-audio: ")]
    assert len(complaints) == len(refused)
    long = next(r for r in records if r["file"].endswith("ten_minutes.flac"))
    assert long["windows"][-1]["end"] == 600.0
    assert len(long["windows"]) >= 60
    assert code == SOME_FAILED


@pytest.mark.slow
def test_eval_gives_a_result_or_a_reason_for_each(
    files, wide_model_folder, tmp_path, capsys
) -> None:
    manifest = tmp_path / "manifest.json"
    rows = [{"id": str(i), "audio": str(path), "text": "word"} for i, path in enumerate(files)]
    manifest.write_text(json.dumps(rows))
    output = tmp_path / "run"
    arguments = ["eval", "asr", "--data", str(manifest), "--output", str(output)]
    arguments += ["--steps", "1", "--gen-length", "2", "--batch-size", "8"]
    code = main([*arguments, "--model", str(wide_model_folder)])
    captured = capsys.readouterr()
    assert "Traceback" not in captured.err
    records = [json.loads(line) for line in (output / "results.jsonl").read_text().splitlines()]
    assert [record["id"] for record in records] == [row["id"] for row in rows]
    for record, path in zip(records, files, strict=True):
        assert (record["prediction"] is None) != (record["error"] is None)
        assert record["error"] is None or "\n" not in record["error"]
        if path.name in GOOD:
            assert record["error"] is None, path.name
        if path.name in BAD:
            assert record["error"], path.name
    report = json.loads((output / "report.json").read_text())
    failed = sum(record["prediction"] is None for record in records)
    assert report["failures"]["count"] == failed
    words = report["scores"]["modes"]["wer"]["groups"]["overall"]["all"]
    assert words["missing"] == failed
    assert words["reference_words"] == len(files)
    assert report["speed"]["rows_cut_to_window"] >= 1
    assert code == SOME_FAILED
