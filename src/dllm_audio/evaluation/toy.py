"""A benchmark in MMAU's format out of the embedded sounds: the whole path, anywhere, offline."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import overload

from ..files import write_json
from ..toy import FAMILIES, ToyDataset, ToyRecord
from .scoring import Row
from .sources import Source, rows_source

_FAMILIES = tuple(f for f in FAMILIES if f not in ("describe", "unknown"))  # without choices
_LAYOUT = "mmau"
TOY_SIZE = 240  # rows of the benchmark as it is usually run


class _Rows(Sequence[Row]):
    """Rows that are made when they are asked for, sound included."""

    def __init__(self, data: ToyDataset) -> None:
        self._data = data

    def __len__(self) -> int:
        return len(self._data)

    @overload
    def __getitem__(self, index: int) -> Row: ...

    @overload
    def __getitem__(self, index: slice) -> list[Row]: ...

    def __getitem__(self, index: int | slice) -> Row | list[Row]:
        if isinstance(index, slice):
            return [self[i] for i in range(*index.indices(len(self)))]
        record = self._data[index]
        audio = {"array": record.waveform, "sampling_rate": record.sampling_rate}
        return {**_facts(record, index), "audio": audio}


def _audio_path(index: int) -> str:
    return f"audio/toy-{index:05d}.wav"


def _facts(record: ToyRecord, index: int) -> dict[str, object]:
    return {
        "id": f"toy-{index:05d}",
        "audio_id": _audio_path(index),
        "question": record.question,
        "choices": list(record.choices or ()),
        "answer": record.answer,
        "task": record.kind,
        "category": record.family,
    }


def _dataset(size: int, seed: int) -> ToyDataset:
    return ToyDataset(
        "heldout", size, seed, families=_FAMILIES, choice_share=1.0, layouts=(_LAYOUT,)
    )


def toy_source(size: int = TOY_SIZE, seed: int = 1) -> Source:
    """Multiple-choice questions about generated clips of held-out voices, in MMAU's fields.

    Args:
        size: number of rows; the families of questions that have choices take turns.
        seed: fixes every row.

    Raises:
        InvalidArgumentError: a negative size or seed.

    Example:
        >>> sorted(toy_source(size=1).facts[0])
        ['answer', 'audio_id', 'category', 'choices', 'id', 'question', 'task']
    """
    data = _dataset(size, seed)
    facts = [_facts(record, index) for index, record in enumerate(data)]
    description = f"toy benchmark, held-out voices, seed {seed}"
    # What fixes the sounds is fixed with the questions; hashing the sounds would take longer.
    revision = rows_source(facts, description).revision
    return Source(_Rows(data), facts, None, description, revision)


def write_toy_benchmark(folder: str | Path, size: int = TOY_SIZE, seed: int = 1) -> Path:
    """Write the toy benchmark as MMAU is distributed: a JSON list and a folder of WAV files.

    Args:
        folder: made when it does not exist.
        size: number of rows.
        seed: fixes every row.

    Returns:
        The JSON file, for ``dllm-audio eval mmau --data``.
    """
    import soundfile

    root, data = Path(folder), _dataset(size, seed)
    (root / "audio").mkdir(parents=True, exist_ok=True)
    for index, record in enumerate(data):
        path = root / _audio_path(index)
        soundfile.write(path, record.waveform, record.sampling_rate, subtype="PCM_16")
    path = root / "toy.json"
    write_json(path, [_facts(record, index) for index, record in enumerate(data)])
    return path
