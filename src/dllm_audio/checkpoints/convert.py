"""Published folders from pickles to safetensors and back, every tensor bit for bit."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from functools import partial
from pathlib import Path

import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor

from ..errors import CheckpointError, InvalidArgumentError
from ..files import parse_json, replacing
from ..weights import check_inside
from .reading import PICKLE, SAFETENSORS, read_tensors

_ORDER = "tensor_order"  # safetensors sort their tensors; pickles keep the order
_FORMATS = ("safetensors", "published")


def convert_checkpoint(
    source: str | Path,
    target: str | Path,
    to: str = "safetensors",
    *,
    unsafe_pickle: bool = False,
) -> list[Path]:
    """Rewrite the weights of a published folder, and of its ``stage1/``, in another container.

    Names, dtypes, bits and order of the tensors stay; JSON files are copied.  Each file appears
    under its name only when it is whole; an interrupted run can be repeated and goes on.

    Args:
        source: folder in the published layout, with either container.
        target: folder to write; made when missing.
        to: ``"safetensors"`` (``model.safetensors``) or ``"published"`` (``pytorch_model.bin``).
        unsafe_pickle: as in ``load_diffa``.

    Returns:
        The weight files that were written.

    Raises:
        InvalidArgumentError: an unknown format, or ``target`` is ``source``.
        CheckpointError: no weights, damaged weights, or a target that holds weights already.
        UnsafeCheckpointError: a file would run code or lies outside its folder.
        OSError: a file cannot be written; names it.

    Example:
        >>> Path("published").mkdir()
        >>> torch.save({"trainable_prompts.weight": torch.zeros(2, 4)},
        ...            "published/pytorch_model.bin")
        >>> [file.name for file in convert_checkpoint("published", "converted")]
        ['model.safetensors']
    """
    if to not in _FORMATS:
        raise InvalidArgumentError("to", f"one of {list(_FORMATS)}", to)
    root, goal = Path(source), Path(target)
    if not root.is_dir():
        raise CheckpointError(f"{root}: there is no such directory")
    if goal.resolve() == root.resolve():
        raise InvalidArgumentError("target", "another directory than source", str(target))
    folders = [f for f in (Path(), Path("stage1")) if _holds_weights(root / f)]
    if not folders:
        raise CheckpointError(f"{root}: holds neither {SAFETENSORS} nor {PICKLE}")
    name = SAFETENSORS if to == "safetensors" else PICKLE
    return [_convert(root / folder, goal / folder, name, unsafe_pickle) for folder in folders]


def _holds_weights(folder: Path) -> bool:
    return (folder / PICKLE).exists() or any(folder.glob("*.safetensors"))


def _convert(source: Path, target: Path, name: str, unsafe_pickle: bool) -> Path:
    tensors = read_tensors(source, unsafe_pickle)
    tensors = {key: tensors[key] for key in _order(source, list(tensors))}
    if _holds_weights(target):
        if (target / name).exists() and _same(read_tensors(target, unsafe_pickle), tensors):
            return target / name
        raise CheckpointError(f"{target}: holds other weights already; remove them or go elsewhere")
    target.mkdir(parents=True, exist_ok=True)
    for file in source.glob("*.json"):
        if not file.name.endswith(".index.json"):
            check_inside(source, file)
            _write(target / file.name, partial(shutil.copyfile, file))
    write = _write_safetensors if name == SAFETENSORS else torch.save
    return _write(target / name, partial(write, tensors))


def _same(some: dict[str, Tensor], others: dict[str, Tensor]) -> bool:
    """Whether both hold the same names, dtypes, shapes and bits."""
    if some.keys() != others.keys():
        return False
    pairs = [(tensor, others[name]) for name, tensor in some.items()]
    return all(
        a.dtype == b.dtype and a.shape == b.shape and torch.equal(_bytes(a), _bytes(b))
        for a, b in pairs
    )


def _bytes(tensor: Tensor) -> Tensor:
    return tensor.contiguous().reshape(-1).view(torch.uint8)


def _order(folder: Path, names: list[str]) -> list[str]:
    """The order of the tensors before they were written as safetensors, where it is known."""
    file = folder / SAFETENSORS
    if not file.exists():
        return names
    with safe_open(file, framework="pt") as reader:
        noted = (reader.metadata() or {}).get(_ORDER, "[]")
    try:
        order = parse_json(noted, str(file), CheckpointError)
    except CheckpointError:
        return names
    return order if isinstance(order, list) and sorted(map(str, order)) == sorted(names) else names


def _write_safetensors(tensors: dict[str, Tensor], path: Path) -> None:
    # Copies, because safetensors hold neither views nor two names for one storage.
    dense = {name: t.clone(memory_format=torch.contiguous_format) for name, t in tensors.items()}
    save_file(dense, path, metadata={"format": "pt", _ORDER: json.dumps(list(tensors))})


def _write(path: Path, write: Callable[[Path], object]) -> Path:
    # The file has its name while it is written, because torch.save puts it into the file.
    with replacing(path) as scratch:
        write(scratch)
    return path
