"""What weight files hold, read from their headers: names, dtypes and shapes, not the weights."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from safetensors import SafetensorError, safe_open

from ..checkpoints.reading import PICKLE, read_tensors
from ..errors import CheckpointError
from ..weights import check_inside, find_weight_files

_SAMPLE = 2**20  # bytes of a file's beginning and end that its fingerprint covers
# Bytes of an element, by the names that safetensors gives to dtypes.
_BYTES = {"F64": 8, "I64": 8, "F32": 4, "I32": 4, "F16": 2, "BF16": 2, "I16": 2}
_NAMES = {"F64": "float64", "F32": "float32", "F16": "float16", "BF16": "bfloat16",
          "I64": "int64", "I32": "int32", "I16": "int16", "I8": "int8", "U8": "uint8",
          "BOOL": "bool", "F8_E4M3": "float8_e4m3fn", "F8_E5M2": "float8_e5m2"}  # fmt: skip


@dataclass(frozen=True, slots=True)
class TensorEntry:
    """One tensor of a checkpoint.

    Attributes:
        name: as in the file.
        dtype: for example ``float32``.
        shape: sizes.
        bytes: space of its elements.
    """

    name: str
    dtype: str
    shape: tuple[int, ...]
    bytes: int

    @property
    def count(self) -> int:
        """Number of elements."""
        return math.prod(self.shape)


@dataclass(frozen=True, slots=True)
class Part:
    """All tensors whose names share a first word.

    Attributes:
        name: that word.
        tensors: how many.
        parameters: their elements.
        bytes: their space.
        dtypes: the dtypes among them, sorted.
    """

    name: str
    tensors: int
    parameters: int
    bytes: int
    dtypes: tuple[str, ...]


def list_tensors(folder: Path) -> list[TensorEntry]:
    """Every tensor of a folder, or of one safetensors file.

    Headers are enough for safetensors; a pickle is read whole, without running code.

    Raises:
        CheckpointError: no weights, or damaged ones.
    """
    if folder.is_dir() and not any(folder.glob("*.safetensors")) and (folder / PICKLE).exists():
        return [
            TensorEntry(name, str(t.dtype).removeprefix("torch."), tuple(t.shape), t.nbytes)
            for name, t in read_tensors(folder).items()
        ]
    if not folder.is_dir():
        check_inside(folder.parent, folder)
    files = find_weight_files(folder) if folder.is_dir() else [folder]
    return [entry for file in files for entry in _header(file)]


def _header(file: Path) -> list[TensorEntry]:
    entries = []
    try:
        with safe_open(file, framework="pt") as reader:
            for name in reader.keys():  # noqa: SIM118 (not a mapping)
                view = reader.get_slice(name)
                dtype, shape = view.get_dtype(), tuple(view.get_shape())
                size = _BYTES.get(dtype, 1) * math.prod(shape)
                entries.append(TensorEntry(name, _NAMES.get(dtype, dtype), shape, size))
    except (SafetensorError, OSError) as error:
        raise CheckpointError(f"{file}: not a whole safetensors file ({error})") from error
    return entries


def group_parts(entries: Iterable[TensorEntry]) -> list[Part]:
    """Sum up tensors by the first word of their names, in the order of the file."""
    groups: dict[str, list[TensorEntry]] = {}
    for entry in entries:
        groups.setdefault(entry.name.partition(".")[0], []).append(entry)
    return [
        Part(
            name,
            len(group),
            sum(entry.count for entry in group),
            sum(entry.bytes for entry in group),
            tuple(sorted({entry.dtype for entry in group})),
        )
        for name, group in groups.items()
    ]


def fingerprint(folder: Path) -> str:
    """Checksum of a folder's files: their names, sizes, beginnings and ends.

    Quick whatever the size, and another one as soon as weights were trained further.
    """
    digest = hashlib.sha256()
    for file in sorted(path for path in folder.rglob("*") if path.is_file()):
        size = file.stat().st_size
        digest.update(f"{file.relative_to(folder).as_posix()} {size}\n".encode())
        with open(file, "rb") as reader:
            digest.update(reader.read(_SAMPLE))
            reader.seek(max(size - _SAMPLE, 0))
            digest.update(reader.read(_SAMPLE))
    return "sha256:" + digest.hexdigest()[:16]
