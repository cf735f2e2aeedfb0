"""Parquet files and folders of ``datasets``: rows, or one line that names the file or the row."""

from __future__ import annotations

import os
from pathlib import Path

import datasets
import pyarrow
import pyarrow.parquet
import pytest

from dllm_audio.data import ArrowRows, ExampleParser, RecordDataset, read_arrow
from dllm_audio.errors import DataError, InvalidArgumentError
from dllm_audio.evaluation.sources import open_source
from dllm_audio.training.run_data import DataConfig

ROWS = {"audio": ["a.wav", "b.wav"], "input": ["What?"] * 2, "target": ["rain", "a dog"]}


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    datasets.Dataset.from_dict(ROWS).save_to_disk(tmp_path / "saved")
    return tmp_path / "saved"


def test_rows_come_from_a_file_a_folder_and_its_splits(saved: Path, tmp_path: Path) -> None:
    made = datasets.Dataset.from_dict(ROWS)
    made.to_parquet(tmp_path / "rows.parquet")
    datasets.DatasetDict({"train": made, "other": made}).save_to_disk(tmp_path / "splits")
    for place, split in (
        (saved, None),
        (tmp_path / "rows.parquet", None),
        (tmp_path / "splits", "other"),
    ):
        rows = ArrowRows(read_arrow(place, split=split), str(place))
        assert [row["target"] for row in rows] == ROWS["target"]
        assert rows[1:][0]["audio"] == "b.wav"
    with pytest.raises(DataError, match="expected one of the splits train, other, got None"):
        read_arrow(tmp_path / "splits")
    config = DataConfig([{"dataset": str(tmp_path / "splits"), "split": "train"}])
    read = config.read(config.train[0], ExampleParser())
    assert [record.target for record in read] == ROWS["target"]
    with pytest.raises(InvalidArgumentError, match="train"):
        DataConfig([{"dataset": str(saved), "split": "train", "trust_remote_code": "yes"}])


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("state.json", b"1"),
        ("state.json", b'{"_data_files": 1}'),
        ("state.json", b'{"_data_files": [1]}'),
        ("state.json", b""),
        ("dataset_info.json", b"1"),
        ("data-00000-of-00001.arrow", b"noise"),
        ("data-00000-of-00001.arrow", b""),
    ],
)
def test_damage_in_a_folder_names_it(name: str, content: bytes, saved: Path) -> None:
    (saved / name).write_bytes(content)
    for read in (open_source, read_arrow):
        with pytest.raises(DataError, match=r"saved: cannot be read as a data set \(.+\)$"):
            read(saved)


def test_a_pipe_in_a_folder_is_not_waited_for(saved: Path) -> None:
    path = next(saved.glob("*.arrow"))
    path.unlink()
    os.mkfifo(path)
    with pytest.raises(DataError, match=rf"{path.name}: expected a regular file"):
        read_arrow(saved)


def test_a_row_that_cannot_be_decoded_is_named(tmp_path: Path) -> None:
    texts = pyarrow.array([b"rain", b"\xff\xfe"], pyarrow.binary()).view(pyarrow.utf8())
    table = pyarrow.table({**ROWS, "target": texts})
    pyarrow.parquet.write_table(table, tmp_path / "rows.parquet")
    dataset = read_arrow(tmp_path / "rows.parquet")
    rows = ArrowRows(dataset, "rows.parquet")
    assert rows[0]["target"] == "rain"
    with pytest.raises(DataError, match=r"rows\.parquet, row 1: cannot be read \(.*utf-8"):
        _ = rows[1]
    read = RecordDataset.from_datasets(dataset, ExampleParser())
    with pytest.raises(DataError, match="row 1: cannot be read"):
        read.validate(progress=False)
