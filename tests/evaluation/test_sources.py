"""Rows come from any local file or data set, and their audio undecoded."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path

import numpy as np
import pytest

from dllm_audio import load_audio
from dllm_audio.errors import DataError
from dllm_audio.evaluation.sources import open_source, rows_source
from dllm_audio.files import read_rows

ROWS = [{"id": "1", "audio": "a.wav", "text": "one\u2028two"}, {"id": "2", "audio": "/b.wav"}]


def wav_bytes(samples: int = 800) -> bytes:
    import soundfile

    buffer = io.BytesIO()
    soundfile.write(buffer, np.linspace(-0.5, 0.5, samples, dtype=np.float32), 16000, "FLOAT",
                    format="WAV")  # fmt: skip
    return buffer.getvalue()


@pytest.mark.parametrize("suffix", [".json", ".jsonl"])
def test_json_files_are_read_with_paths_from_their_folder(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"rows{suffix}"
    lines = "\n".join(json.dumps(row, ensure_ascii=False) for row in ROWS)
    path.write_text("\ufeff" + (json.dumps(ROWS) if suffix == ".json" else lines + "\n\n"))
    source = open_source(path)
    assert list(source.rows) == ROWS
    assert source.audio(0) == tmp_path / "a.wav"
    assert source.audio(1) == Path("/b.wav")
    assert source.revision.startswith("sha256:")
    assert open_source(path, audio_root="/elsewhere").audio(0) == Path("/elsewhere/a.wav")


def test_the_revision_changes_with_the_data(tmp_path: Path) -> None:
    path = tmp_path / "rows.json"
    path.write_text(json.dumps(ROWS))
    before = open_source(path).revision
    path.write_text(json.dumps(ROWS[::-1]))
    assert open_source(path).revision != before
    assert rows_source(ROWS, "x").revision != rows_source(ROWS[::-1], "x").revision


@pytest.mark.parametrize(("suffix", "delimiter"), [(".csv", ","), (".tsv", "\t")])
def test_tables_are_read(tmp_path: Path, suffix: str, delimiter: str) -> None:
    path = tmp_path / f"rows{suffix}"
    with open(path, "w", newline="") as file:
        writer = csv.writer(file, delimiter=delimiter)
        writer.writerows([["id", "audio", "text"], ["1", "a.wav", 'say "hi", now']])
    assert open_source(path).rows[0]["text"] == 'say "hi", now'


def test_a_table_keeps_line_ends_inside_its_fields(tmp_path) -> None:
    text = "one\ntwo\u2028three\x0bfour\r\nfive"
    path = tmp_path / "r.csv"
    path.write_bytes(f'\ufeffid,question\r\n1,"{text}"\r\n'.encode())
    assert read_rows(path) == [{"id": "1", "question": text}]


@pytest.mark.parametrize(
    ("name", "content", "match"),
    [
        ("r.json", "{", "not readable as JSON"),
        ("r.json", '{"a": 1}', "list of records"),
        ("r.json", "[1]", "list of records"),
        ("r.json", "[]", "no rows"),
        ("r.jsonl", '{"a": 1}\n{', r"jsonl, line 2: not readable as JSON"),
        ("r.txt", "x", r"expected \.json"),
        ("r.json", b"\xff\xfe\x00", "not UTF-8"),
    ],
)
def test_what_is_not_a_table_of_rows_is_refused(tmp_path, name, content, match) -> None:
    path = tmp_path / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(DataError, match=match):
        open_source(path)


def test_a_place_that_is_not_there_is_named() -> None:
    with pytest.raises(DataError, match=r"nowhere\.json: expected a file, a folder or a hub"):
        open_source("some/where/nowhere.json")


@pytest.mark.parametrize(
    "value", [wav_bytes(), {"bytes": wav_bytes(), "path": "x.mp3"},
              {"array": np.zeros(800, dtype=np.float32), "sampling_rate": 16000}],
)  # fmt: skip
def test_every_form_of_audio_reaches_the_loader(value) -> None:
    source = rows_source([{"id": "1", "audio": value}], "one")
    assert load_audio(source.audio(0)).shape == (800,)


@pytest.mark.parametrize("value", [3, {}, {"bytes": None, "path": None}])
def test_audio_in_no_known_form_is_named(value) -> None:
    with pytest.raises(DataError, match=r"row 0, field 'audio'"):
        rows_source([{"audio": value}], "one").audio(0)
    with pytest.raises(DataError, match="row 0: expected audio in one of audio, audio_path"):
        rows_source([{"id": "1"}], "one").audio(0)


def test_saved_data_sets_hand_over_undecoded_audio(tmp_path: Path) -> None:
    datasets = pytest.importorskip("datasets")
    datasets.disable_progress_bars()
    (tmp_path / "a.wav").write_bytes(wav_bytes())
    (tmp_path / "bad.wav").write_text("no sound")
    rows = {
        "id": ["1", "2"],
        "context": [
            {"bytes": None, "path": str(tmp_path / "a.wav")},
            {"bytes": b"no sound", "path": "bad.wav"},
        ],
    }
    record = {"bytes": datasets.Value("binary"), "path": datasets.Value("string")}
    features = datasets.Features({"id": datasets.Value("string"), "context": record})
    dataset = datasets.Dataset.from_dict(rows, features=features)
    dataset = dataset.cast_column("context", datasets.Audio())
    dataset.save_to_disk(str(tmp_path / "saved"))
    dataset.to_parquet(str(tmp_path / "rows.parquet"))
    for place in (tmp_path / "saved", tmp_path / "rows.parquet"):
        source = open_source(place)
        assert len(source.facts) == 2
        assert set(source.facts[0]) == {"id"}
        assert load_audio(source.audio(0)).shape == (800,)
        assert source.audio(1) == b"no sound"
        assert open_source(place).revision == source.revision
    splits = datasets.DatasetDict({"test": dataset, "train": dataset})
    splits.save_to_disk(str(tmp_path / "splits"))
    assert len(open_source(tmp_path / "splits", split="test").facts) == 2
    with pytest.raises(DataError, match="one of the splits test, train"):
        open_source(tmp_path / "splits")
