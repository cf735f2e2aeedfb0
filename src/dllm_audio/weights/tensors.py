"""Tensors of safetensors files: one file or many shards, one tensor at a time."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from ..errors import CheckpointError, one_line
from .files import SINGLE_FILE, check_inside, find_weight_files, index_file, weight_map_of
from .filling import shorten
from .pickles import check_tensors, read_pickle

PICKLE = "pytorch_model.bin"


def iter_weights(
    source: str | Path,
    device: torch.device | str = "cpu",
    wanted: Callable[[str], bool] | None = None,
    pickled: bool = False,
) -> Iterator[tuple[str, Tensor]]:
    """Yield name and tensor of every weight, one at a time, straight onto ``device``.

    Args:
        source: a directory (see ``find_weight_files``) or one safetensors file.
        device: where the tensors are placed.
        wanted: reads only the names for which this is true; None: all.
        pickled: where a directory has no safetensors, its ``pytorch_model.bin`` is read whole,
            without running code.

    Yields:
        Pairs of name and tensor, in the dtype of the file.

    Raises:
        CheckpointError: a file is missing, damaged, or contradicts the index.
        UnsafeCheckpointError: a shard lies outside the directory, or a pickle holds anything but
            tensors.

    Example:
        >>> shapes = {n: t.shape for n, t in iter_weights("weights/")}  # doctest: +SKIP
    """
    path = Path(source)
    if pickled and (path / PICKLE).exists() and not any(path.glob("*.safetensors*")):
        check_inside(path, path / PICKLE)
        for name, tensor in check_tensors(path / PICKLE, read_pickle(path / PICKLE)).items():
            if wanted is None or wanted(name):
                yield name, tensor.to(device)
        return
    files = find_weight_files(path) if path.is_dir() else [path]
    seen = _names(files)
    index = index_file(path) if path.is_dir() else None
    if index is not None and files[0].name != SINGLE_FILE:
        _check_index(index, weight_map_of(index), seen)
    for file in files:
        yield from _iter_file(file, str(torch.device(device)), wanted)


def weight_shapes(directory: str | Path) -> Iterator[tuple[str, list[int]]]:
    """Name and shape of every weight of a folder, checked like :func:`iter_weights`."""
    files = find_weight_files(directory)
    seen = _names(files)
    index = index_file(Path(directory))
    if index is not None and files[0].name != SINGLE_FILE:
        _check_index(index, weight_map_of(index), seen)
    for file in files:
        with _open(file) as reader:
            for name in reader.keys():  # noqa: SIM118 (not a mapping)
                yield name, list(reader.get_slice(name).get_shape())


def _open(file: Path, device: str = "cpu") -> Any:
    if not file.is_file():
        raise CheckpointError(f"{file}: there is no such file")
    # Not memory-mapped: a mapped file stays tied to the model, so that saving over it would crash
    # the process, and its pages would count as a second copy.
    try:
        return safe_open(file, framework="pt", device=device, backend="pread")
    except (SafetensorError, OSError) as error:
        raise CheckpointError(
            f"{file}: not a whole safetensors file ({one_line(error)})"
        ) from error


def _names(files: list[Path]) -> dict[str, Path]:
    seen: dict[str, Path] = {}
    for file in files:
        with _open(file) as reader:
            for name in reader.keys():  # noqa: SIM118 (not a mapping)
                if name in seen:
                    raise CheckpointError(f"{file}: {name} is also in {seen[name].name}")
                seen[name] = file
    return seen


def _check_index(index: Path, weight_map: dict[str, str], seen: dict[str, Path]) -> None:
    wrong = [name for name, file in weight_map.items() if name not in seen]
    if wrong:
        raise CheckpointError(f"{index}: names tensors that no shard holds: {shorten(wrong)}")
    wrong = [name for name, file in seen.items() if weight_map.get(name) != file.name]
    if wrong:
        raise CheckpointError(f"{index}: contradicts the shards on: {shorten(wrong)}")


def _iter_file(
    file: Path, device: str, wanted: Callable[[str], bool] | None
) -> Iterator[tuple[str, Tensor]]:
    with _open(file, device) as reader:
        for name in reader.keys():  # noqa: SIM118 (not a mapping)
            if wanted is None or wanted(name):
                try:
                    tensor = reader.get_tensor(name)
                except SafetensorError as error:
                    raise CheckpointError(
                        f"{file}: {name} cannot be read ({one_line(error)})"
                    ) from error
                yield name, tensor
