"""Which files of a folder hold its weights, and whether they may be read."""

from __future__ import annotations

import re
from pathlib import Path, PurePosixPath, PureWindowsPath

from ..errors import CheckpointError, UnsafeCheckpointError
from ..files import read_json
from .filling import shorten

SINGLE_FILE = "model.safetensors"
_SHARD = re.compile(r"(?P<stem>.+)-(?P<number>\d{5})-of-(?P<total>\d{5})\.safetensors")


def find_weight_files(directory: str | Path) -> list[Path]:
    """The safetensors files that together hold the weights of a directory.

    ``model.safetensors`` wins; then the shards named by ``*.safetensors.index.json``; then a
    complete set ``X-00001-of-0000N.safetensors``; then the only safetensors file there is.

    Raises:
        CheckpointError: none, an incomplete set, or several that do not belong together.
        UnsafeCheckpointError: a shard lies outside the directory.
    """
    root = Path(directory)
    if (root / SINGLE_FILE).exists():
        return [_inside(root, SINGLE_FILE)]
    index = index_file(root)
    if index is not None:
        return [_inside(root, name) for name in dict.fromkeys(weight_map_of(index).values())]
    names = sorted(path.name for path in root.glob("*.safetensors"))
    if not names:
        raise CheckpointError(f"{root}: holds no safetensors weights")
    shards = [_SHARD.fullmatch(name) for name in names]
    if all(shards):
        names = _complete_set(root, [shard for shard in shards if shard])
    elif len(names) > 1:
        raise CheckpointError(f"{root}: several weight files and no index: {', '.join(names)}")
    return [_inside(root, name) for name in names]


def check_inside(root: Path, path: Path) -> None:
    """Refuse a file that a symlink takes out of its folder.

    The hub's cache is the one exception: its snapshots are links into its own ``blobs`` folder.
    """
    real_root, real = root.resolve(), path.resolve()
    allowed = [real_root]
    for parent in real_root.parents:
        if parent.name == "snapshots" and parent.parent.name.startswith("models--"):
            allowed.append(parent.parent / "blobs")
    if not any(real.is_relative_to(folder) for folder in allowed):
        raise UnsafeCheckpointError(f"{path}: links to {real}, outside its folder")
    if not real.is_file():
        raise CheckpointError(f"{path}: expected a file")


def index_file(root: Path) -> Path | None:
    """The index of a folder's shards, or None."""
    indices = sorted(root.glob("*.safetensors.index.json"))
    if len(indices) > 1:
        names = ", ".join(index.name for index in indices)
        raise CheckpointError(f"{root}: several weight indices: {names}")
    return indices[0] if indices else None


def weight_map_of(index: Path) -> dict[str, str]:
    """Tensor name to shard name, as an index says."""
    weight_map = read_json(index).get("weight_map")
    if not isinstance(weight_map, dict) or not weight_map:
        raise CheckpointError(f"{index}: expected a non-empty object 'weight_map'")
    for name, shard in weight_map.items():
        if not isinstance(shard, str):
            raise CheckpointError(f"{index}: {name}: expected a file name, got {shard!r}")
    return weight_map


def _inside(root: Path, name: str) -> Path:
    """The file of that name, refused when it lies outside ``root``."""
    plain = PurePosixPath(name).name == name and PureWindowsPath(name).name == name
    if not plain or "\0" in name or not name.endswith(".safetensors"):
        raise UnsafeCheckpointError(
            f"{root}: expected the plain name of a .safetensors file in this folder, got {name!r}"
        )
    path = root / name
    if not path.exists():
        raise CheckpointError(f"{root}: the weight file {name} is missing")
    check_inside(root, path)
    return path


def _complete_set(root: Path, shards: list[re.Match[str]]) -> list[str]:
    families = {(shard["stem"], shard["total"]) for shard in shards}
    if len(families) > 1:
        names = ", ".join(sorted(shard.string for shard in shards))
        raise CheckpointError(f"{root}: several sets of weight files: {names}")
    stem, total = families.pop()
    expected = {f"{stem}-{n:05d}-of-{total}.safetensors" for n in range(1, int(total) + 1)}
    found = {shard.string for shard in shards}
    if found != expected:
        raise CheckpointError(f"{root}: weight files are missing: {shorten(expected - found)}")
    return sorted(found)
