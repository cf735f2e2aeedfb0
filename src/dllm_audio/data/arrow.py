"""Rows that the ``datasets`` library reads: Parquet files, its folders, and the hub.

Audio stays undecoded, and whatever the library, Arrow or the hub has against a stranger's file
becomes one error that names the file or the row.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, overload

from ..errors import DataError, MissingDependencyError, one_line


class ArrowRows(Sequence[Mapping[str, Any]]):
    """Rows of a ``datasets.Dataset``.

    Args:
        dataset: a map-style data set; its audio columns are left undecoded.
        source: what errors call it.
    """

    def __init__(self, dataset: Any, source: str) -> None:
        from datasets import Audio

        self.source = source
        features = dataset.features.items()
        self.audio_columns = [name for name, kind in features if isinstance(kind, Audio)]
        for name in self.audio_columns:
            dataset = dataset.cast_column(name, Audio(decode=False))
        self.dataset = dataset

    def without_audio(self) -> ArrowRows:
        """The same rows without their audio columns, cheap to go through."""
        return ArrowRows(self.dataset.remove_columns(self.audio_columns), self.source)

    def __len__(self) -> int:
        return len(self.dataset)

    @overload
    def __getitem__(self, index: int) -> Mapping[str, Any]: ...

    @overload
    def __getitem__(self, index: slice) -> list[Mapping[str, Any]]: ...

    def __getitem__(self, index: int | slice) -> Any:
        if isinstance(index, slice):
            return [self[place] for place in range(*index.indices(len(self)))]
        try:
            return self.dataset[index]
        except IndexError:
            raise
        except Exception as error:  # bytes that are no UTF-8, offsets beyond the end, ...
            where = f"{self.source}, row {index}"
            raise DataError(f"{where}: cannot be read ({_reason(error)})") from error


def read_arrow(
    place: str | Path,
    *,
    name: str | None = None,
    split: str | None = None,
    revision: str | None = None,
) -> Any:
    """Open a Parquet file, a folder of ``datasets`` or a data set on the hub.

    Args:
        place: a ``.parquet`` file; a folder that ``datasets`` wrote or understands; or a hub id.
        name: of the configuration; None: the default one.
        split: of a folder or hub data set; None: its only one.
        revision: of a hub data set; None: the newest.

    Returns:
        A ``datasets.Dataset``.

    Raises:
        DataError: it cannot be read, holds a pipe or a device, or has no such split.
        MissingDependencyError: ``datasets`` is missing.
    """
    try:
        import datasets
    except ImportError as error:
        raise MissingDependencyError("datasets", "reading such data sets", "train") from error
    path = Path(place)
    for each in path.rglob("*") if path.is_dir() else [path]:
        if each.exists() and not (each.is_file() or each.is_dir()):  # a pipe would be waited for
            raise DataError(f"{each}: expected a regular file, got a pipe or a device")
    try:
        if path.is_file():
            loaded = datasets.load_dataset("parquet", data_files=str(path))["train"]
        elif (path / "state.json").exists() or (path / "dataset_dict.json").exists():
            loaded = datasets.load_from_disk(str(path))
        elif path.is_dir():
            loaded = datasets.load_dataset(str(path), name)
        else:
            loaded = datasets.load_dataset(str(place), name, split=split, revision=revision)
    except Exception as error:  # of Arrow, the library, the hub, or what a damaged file leads to
        raise DataError(f"{place}: cannot be read as a data set ({_reason(error)})") from error
    return _choose_split(loaded, split, str(place)) if isinstance(loaded, dict) else loaded


def _choose_split(loaded: Mapping[str, Any], split: str | None, where: str) -> Any:
    if split is None and len(loaded) == 1:
        return next(iter(loaded.values()))
    if split is None or split not in loaded:
        raise DataError(f"{where}: expected one of the splits {', '.join(loaded)}, got {split}")
    return loaded[split]


def _reason(error: BaseException) -> str:
    """What went wrong first; the library wraps it in errors that do not tell it."""
    while error.__cause__ is not None:
        error = error.__cause__
    return one_line(error)
