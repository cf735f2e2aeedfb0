from __future__ import annotations

import io
import wave
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from dllm_audio.data import ExampleParser, RecordDataset, audio_check, check_audio, number_apart
from dllm_audio.errors import DataError, InvalidArgumentError


def wav_bytes(seconds: float) -> bytes:
    buffer = io.BytesIO()
    with wave.open(buffer, "wb") as file:
        file.setparams((1, 2, 16000, 0, "NONE", ""))
        file.writeframes(np.zeros(int(16000 * seconds), np.int16).tobytes())
    return buffer.getvalue()


@pytest.fixture
def dataset(tmp_path: Path) -> RecordDataset:
    (tmp_path / "good.wav").write_bytes(wav_bytes(0.5))
    (tmp_path / "long.wav").write_bytes(wav_bytes(3))
    (tmp_path / "text.wav").write_text("not audio")
    names = ["good.wav", "text.wav", "long.wav", "missing.wav", "good.wav"]
    rows = [{"audio": name, "question": "What?", "answer": "That."} for name in names]
    return RecordDataset(rows, ExampleParser(), "train.json", tmp_path)


def test_unreadable_audio_ends_with_the_whole_list(dataset: RecordDataset) -> None:
    with pytest.raises(DataError) as caught:
        check_audio(dataset, progress=False)
    message = str(caught.value)
    assert "2 of 5 clips" in message
    assert "train.json, row 1: " in message
    assert "train.json, row 3: " in message


def test_or_is_skipped_with_a_warning_each(dataset: RecordDataset, caplog) -> None:
    checked = check_audio(dataset, on_unreadable="skip", max_seconds=2, progress=False)
    assert [checked.dataset[i].row for i in range(len(checked.dataset))] == [0, 4]
    assert checked.durations == [0.5, 0.5]
    assert sorted(checked.unreadable) == [1, 2, 3]
    assert "3.00 s long, at most 2 s allowed" in checked.unreadable[2]
    assert sum("skipped" in record.message for record in caplog.records) == 3


def test_never_skips_everything(dataset: RecordDataset) -> None:
    with pytest.raises(DataError, match="2 of 2 clips"):
        check_audio(dataset.select([1, 3]), on_unreadable="skip", progress=False)


def test_the_index_remembers_until_a_file_changes(
    dataset: RecordDataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    index = tmp_path / "cache" / "audio.jsonl"
    options = {"on_unreadable": "skip", "index": index, "progress": False}
    first = check_audio(dataset, **options)
    with index.open("a") as file:
        file.write('\n{"key": "half a li')  # an interrupted check
    decoded: list[str] = []
    decode = audio_check._decode

    def remember(source: str) -> tuple[float, str | None]:
        decoded.append(Path(source).name)
        return decode(source)

    monkeypatch.setattr(audio_check, "_decode", remember)
    assert check_audio(dataset, **options).durations == first.durations
    assert decoded == ["missing.wav"]  # not there, so nothing to remember
    (tmp_path / "text.wav").write_bytes(wav_bytes(1))
    decoded.clear()
    assert check_audio(dataset, **options).durations == [0.5, 1.0, 3.0, 0.5]
    assert sorted(decoded) == ["missing.wav", "text.wav"]  # by several threads
    decoded.clear()
    check_audio(dataset, **options)
    assert decoded == ["missing.wav"]


@pytest.mark.parametrize("kind", ["bytes", "array"])
def test_clips_in_memory_are_remembered_by_content(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def clip(seconds: float) -> Any:
        samples = np.zeros(int(16000 * seconds), np.float32)
        return wav_bytes(seconds) if kind == "bytes" else (samples, 16000)

    def durations(*seconds: float) -> list[float]:
        rows = [{"audio": clip(each), "question": "What?", "answer": "That."} for each in seconds]
        dataset = RecordDataset(rows, ExampleParser())
        return check_audio(dataset, index=tmp_path / "audio.jsonl", progress=False).durations

    decoded: list[object] = []
    decode = audio_check._decode
    monkeypatch.setattr(audio_check, "_decode", lambda x: decoded.append(x) or decode(x))
    assert durations(0.5, 1.0, 0.5) == [0.5, 1.0, 0.5]
    assert len(decoded) == 2  # rows that share a clip decode it once
    assert durations(1.0, 1.5) == [1.0, 1.5]
    assert len(decoded) == 3


def test_no_rows_at_all() -> None:
    with pytest.raises(DataError, match=r"train\.json: expected one row or more, got none"):
        check_audio(RecordDataset([], ExampleParser(), "train.json"), progress=False)


def test_more_clips_than_fit_into_a_block_stay_in_order(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(audio_check, "_BLOCK", 3)
    lengths = [0.1 * (1 + index % 5) for index in range(10)]
    rows = [{"audio": wav_bytes(each), "question": "What?", "answer": "That."} for each in lengths]
    checked = check_audio(RecordDataset(rows, ExampleParser()), progress=False)
    assert checked.durations == pytest.approx(lengths)


def test_an_array_of_another_shape_is_unreadable() -> None:
    row = {"audio": (np.zeros((2, 2, 2)), 16000), "question": "What?", "answer": "That."}
    with pytest.raises(DataError, match=r"rows, row 0: "):
        check_audio(RecordDataset([row], ExampleParser()), progress=False)


def test_errors_name_the_row_of_the_source(dataset: RecordDataset) -> None:
    _, second = number_apart([dataset, dataset])
    with pytest.raises(DataError, match=r"train.json, row 1: .*\ntrain.json, row 3: "):
        check_audio(second, progress=False)


def test_unknown_policy(dataset: RecordDataset) -> None:
    with pytest.raises(InvalidArgumentError, match="on_unreadable"):
        check_audio(dataset, on_unreadable="ignore")
