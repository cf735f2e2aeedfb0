from __future__ import annotations

import io
import wave
from pathlib import Path

import numpy as np
import pytest

from dllm_audio.data import ExampleParser, RecordDataset, audio_check, check_audio
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
    assert decoded == ["text.wav", "missing.wav"]
    decoded.clear()
    check_audio(dataset, **options)
    assert decoded == ["missing.wav"]


def test_unknown_policy(dataset: RecordDataset) -> None:
    with pytest.raises(InvalidArgumentError, match="on_unreadable"):
        check_audio(dataset, on_unreadable="ignore")
