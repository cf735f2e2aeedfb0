"""Rows of a file or data set as records, parsed one at a time."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from torch.utils.data import Dataset
from tqdm.auto import tqdm

from ..errors import DataError
from ..files import read_rows
from .arrow import ArrowRows
from .fields import Row
from .records import Record
from .rows import Parser

_ERRORS_SHOWN = 10


class RecordDataset(Dataset[Record]):
    """Parsed rows; row numbers stay those of the source, whatever is selected.

    Data sets that are put together must differ in ``first_row``, as :func:`number_apart` makes
    them: the noise of a record hangs on its number.  Errors name source and row all the same.

    Args:
        rows: anything with ``len`` and integer indexing that gives mappings.
        parser: from a row to a record.
        source: what errors call it.
        root: folder that relative audio paths start from.
        indices: rows to keep, in order; None keeps all.
        first_row: number of the source's first row.

    Example:
        >>> from dllm_audio.data import ExampleParser
        >>> rows = [{"audio": "a.wav", "question": "What is said?", "answer": "two"}]
        >>> RecordDataset(rows, ExampleParser())[0].target
        'two'
    """

    def __init__(
        self,
        rows: Sequence[Mapping[str, Any]],
        parser: Parser,
        source: str = "rows",
        root: str | Path | None = None,
        indices: Sequence[int] | None = None,
        first_row: int = 0,
    ) -> None:
        self.rows, self.parser, self.source = rows, parser, source
        self.root = None if root is None else Path(root)
        self.indices = range(len(rows)) if indices is None else indices
        self.first_row = first_row

    @classmethod
    def from_file(
        cls, path: str | Path, parser: Parser, root: str | Path | None = None
    ) -> RecordDataset:
        """Rows of a JSON list, a JSON Lines file or a table (``.csv``, ``.tsv``).

        Args:
            path: the file.
            parser: from a row to a record.
            root: folder that relative audio paths start from; None: the file's own.

        Raises:
            DataError: the file cannot be read; names the line.
        """
        path = Path(path)
        return cls(read_rows(path), parser, str(path), path.parent if root is None else root)

    @classmethod
    def from_datasets(
        cls, dataset: Any, parser: Parser, root: str | Path | None = None
    ) -> RecordDataset:
        """Rows of a Hugging Face ``datasets.Dataset``; its audio columns are left undecoded.

        Args:
            dataset: a map-style data set.
            parser: from a row to a record.
            root: folder that relative audio paths start from.
        """
        info = dataset.info
        names = (info.dataset_name or "dataset", info.config_name, dataset.split)
        source = "/".join(str(name) for name in names if name and name != "default")
        return cls(ArrowRows(dataset, source), parser, source, root)

    def __len__(self) -> int:
        return len(self.indices)

    def __getitem__(self, index: int) -> Record:
        position = self.indices[index]
        record = self.parser(Row(self.rows[position], position, self.source, self.root))
        origin = f"{self.source}, row {position}"
        return replace(record, row=self.first_row + position, origin=origin)

    def select(self, indices: Sequence[int]) -> RecordDataset:
        """The records at these indices, with their row numbers."""
        kept = [self.indices[i] for i in indices]
        return RecordDataset(self.rows, self.parser, self.source, self.root, kept, self.first_row)

    def validate(self, progress: bool = True) -> None:
        """Parse every row before a run starts.

        Args:
            progress: show a bar.

        Raises:
            DataError: names the rows and fields that are wrong, the first few in full.
        """
        errors = []
        for index in tqdm(range(len(self)), desc="rows", unit="row", disable=not progress):
            try:
                self[index]
            except DataError as error:
                errors.append(str(error))
        if errors:
            shown = "\n".join(errors[:_ERRORS_SHOWN])
            raise DataError(f"{self.source}: {len(errors)} of {len(self)} rows:\n{shown}")


def number_apart(datasets: Sequence[RecordDataset]) -> list[RecordDataset]:
    """The same data sets, numbered one after the other, so that no two records share a number.

    A source's rows count whether they are selected or not: a record keeps its number when another
    one turns out unreadable.

    Example:
        >>> from dllm_audio.data import ExampleParser
        >>> row = {"audio": "a.wav", "question": "What is said?", "answer": "two"}
        >>> made = [RecordDataset([row, row], ExampleParser()) for _ in range(2)]
        >>> [record.row for dataset in number_apart(made) for record in dataset]
        [0, 1, 2, 3]
    """
    numbered, first = [], 0
    for each in datasets:
        numbered.append(
            RecordDataset(each.rows, each.parser, each.source, each.root, each.indices, first)
        )
        first += len(each.rows)
    return numbered
