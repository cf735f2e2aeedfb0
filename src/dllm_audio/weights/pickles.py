"""Tensors of PyTorch's pickled files, read without ever running code."""

from __future__ import annotations

import pickle
import struct
import warnings
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ..errors import CheckpointError, UnsafeCheckpointError, one_line

_SHARED = 4  # a tied weight is stored once and has two names; more than a few have no reason


def read_pickle(path: str | Path, unusual_container: bool = False) -> Any:
    """What ``torch.save`` wrote, if it is made of tensors and plain containers alone.

    ``torch.load(weights_only=True)`` reads it, always.

    Args:
        path: a file of ``torch.save``.
        unusual_container: also read files that today's ``torch.save`` does not write: the
            format before PyTorch 1.6, and compressed archives (which can unpack to far more than
            their size).

    Raises:
        CheckpointError: missing or damaged.
        UnsafeCheckpointError: holds anything that loading would have to run, or an unusual
            container without leave.
    """
    path = Path(path)
    if not path.is_file():
        raise CheckpointError(f"{path}: there is no such file")
    if not unusual_container:
        _check_container(path)
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "Detected pickle protocol")  # damage; told below
            return torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise UnsafeCheckpointError(
            f"{path}: holds something other than plain tensors, which loading would have to run; "
            "it is refused"
        ) from error
    except _DAMAGE as error:
        raise CheckpointError(f"{path}: damaged, cannot be read ({one_line(error)})") from error


def check_tensors(source: str | Path, content: Any) -> dict[str, Tensor]:
    """The content of a file as names and ordinary tensors.

    Raises:
        CheckpointError: not a mapping of names to dense tensors that hold data, or many times
            more of it than is stored.
    """
    if not isinstance(content, Mapping) or not content:
        kind = type(content).__name__
        raise CheckpointError(f"{source}: expected names and tensors, got {kind}")
    for name, tensor in content.items():
        if not isinstance(name, str) or not isinstance(tensor, Tensor):
            kind = type(tensor).__name__
            raise CheckpointError(f"{source}: {name!r}: expected a tensor, got {kind}")
        if tensor.layout != torch.strided or tensor.is_meta or tensor.is_quantized:
            raise CheckpointError(f"{source}: {name}: expected a dense tensor that holds data")
    _check_size(source, content)
    return dict(content)


def _check_size(source: str | Path, tensors: Mapping[str, Tensor]) -> None:
    """A stored number may stand for any number of elements, in any number of tensors."""
    storages = [tensor.untyped_storage() for tensor in tensors.values()]
    stored = sum({each.data_ptr(): each.nbytes() for each in storages}.values())
    claimed = sum(tensor.nbytes for tensor in tensors.values())
    if claimed > _SHARED * stored:
        largest = max(tensors, key=lambda name: tensors[name].nbytes)
        reason = f"its tensors claim {claimed} bytes and store {stored}; the largest is {largest}"
        raise CheckpointError(f"{source}: {reason}")


# What the unpickler and the archive reader raise on damaged bytes.
_DAMAGE = (
    *(OSError, EOFError, MemoryError, RuntimeError, ValueError, TypeError),
    *(LookupError, ArithmeticError, AttributeError, AssertionError, struct.error),
)


def _check_container(path: Path) -> None:
    try:
        archive = zipfile.is_zipfile(path)
        if archive:
            with zipfile.ZipFile(path) as reader:
                entries = reader.infolist()
    except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError) as error:
        raise CheckpointError(f"{path}: damaged archive ({one_line(error)})") from error
    if not archive:
        raise UnsafeCheckpointError(
            f"{path}: not an archive of today's torch.save (damaged, or written before "
            "PyTorch 1.6; unsafe_pickle=True reads the old format, still without running code)"
        )
    if any(entry.compress_type != zipfile.ZIP_STORED for entry in entries):
        raise UnsafeCheckpointError(
            f"{path}: a compressed archive, which torch.save does not write "
            "(unsafe_pickle=True reads it)"
        )
    if sum(entry.file_size for entry in entries) > path.stat().st_size:
        raise CheckpointError(f"{path}: its archive claims more bytes than the file has")
