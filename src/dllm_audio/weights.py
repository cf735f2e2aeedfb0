"""Safe reading of safetensors weights: one file or many shards, one tensor at a time.

Backbones, encoders and checkpoints all read weights through this module, so that a hostile or
damaged folder is refused in one place: a shard must be a plain file name inside the folder, must
be there, and must hold exactly the tensors that the index says.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn

from .errors import CheckpointError, UnsafeCheckpointError

_MAX_JSON_BYTES = 64 * 2**20
_SHARD = re.compile(r"(?P<stem>.+)-(?P<number>\d{5})-of-(?P<total>\d{5})\.safetensors")
_HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*(/[A-Za-z0-9][\w.-]*)?")

# Names of transformers' layout; other files (other precisions, other frameworks) stay unread.
SNAPSHOT_PATTERNS = ("*.json", "model.safetensors", "model-*-of-*.safetensors")


def resolve_directory(
    id_or_dir: str | Path,
    revision: str | None = None,
    patterns: tuple[str, ...] = SNAPSHOT_PATTERNS,
) -> Path:
    """The local directory behind a path or a hub id, downloaded when it has to be.

    Args:
        id_or_dir: a local directory, or a hub id such as ``"org/name"``.
        revision: branch, tag or commit on the hub.
        patterns: file name patterns that are downloaded; the default never fetches a pickle.

    Returns:
        Path of a directory that exists.

    Raises:
        CheckpointError: neither a directory nor an id that can be reached.
    """
    path = Path(id_or_dir).expanduser()
    if path.is_dir():
        return path
    name = str(id_or_dir)
    if path.exists() or not _HUB_ID.fullmatch(name):
        raise CheckpointError(f"{name}: expected a directory or a hub id such as 'org/name'")
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError

    try:
        return Path(snapshot_download(name, revision=revision, allow_patterns=list(patterns)))
    except (HfHubHTTPError, HFValidationError, LocalEntryNotFoundError, OSError) as error:
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise CheckpointError(
            f"{name}: no such directory, and the hub has no such model or cannot be reached "
            f"({reason}); pass a local directory to work offline"
        ) from error


def read_json(path: str | Path) -> dict[str, Any]:
    """The JSON object in a file of a checkpoint.

    Raises:
        CheckpointError: missing, too large, not JSON, or not an object.
    """
    path = Path(path)
    try:
        if path.stat().st_size > _MAX_JSON_BYTES:
            raise CheckpointError(f"{path}: larger than {_MAX_JSON_BYTES} bytes for a JSON file")
        content = json.loads(path.read_text(encoding="utf-8"), object_pairs_hook=_unique(path))
    except FileNotFoundError as error:
        raise CheckpointError(f"{path}: there is no such file") from error
    except (OSError, UnicodeDecodeError, json.JSONDecodeError, RecursionError) as error:
        raise CheckpointError(f"{path}: not readable as JSON ({error})") from error
    if not isinstance(content, dict):
        raise CheckpointError(f"{path}: expected a JSON object, got {type(content).__name__}")
    return content


def find_weight_files(directory: str | Path) -> list[Path]:
    """The safetensors files that together hold the weights of a directory.

    ``model.safetensors`` wins; then the shards named by ``*.safetensors.index.json``; then a
    complete set ``X-00001-of-0000N.safetensors``; then the only safetensors file there is.

    Raises:
        CheckpointError: none, an incomplete set, or several that do not belong together.
        UnsafeCheckpointError: a shard lies outside the directory.
    """
    root = Path(directory)
    if (root / "model.safetensors").exists():
        return [_inside(root, "model.safetensors")]
    index = _index_file(root)
    if index is not None:
        return [_inside(root, name) for name in dict.fromkeys(_weight_map(index).values())]
    names = sorted(path.name for path in root.glob("*.safetensors"))
    if not names:
        raise CheckpointError(f"{root}: holds no safetensors weights")
    shards = [_SHARD.fullmatch(name) for name in names]
    if all(shards):
        names = _complete_set(root, [shard for shard in shards if shard])
    elif len(names) > 1:
        raise CheckpointError(f"{root}: several weight files and no index: {', '.join(names)}")
    return [_inside(root, name) for name in names]


def iter_weights(
    source: str | Path,
    device: torch.device | str = "cpu",
    wanted: Callable[[str], bool] | None = None,
) -> Iterator[tuple[str, Tensor]]:
    """Yield name and tensor of every weight, one at a time, straight onto ``device``.

    Args:
        source: a directory (see ``find_weight_files``) or one safetensors file.
        device: where the tensors are placed.
        wanted: reads only the names for which this is true; None: all.

    Yields:
        Pairs of name and tensor, in the dtype of the file.

    Raises:
        CheckpointError: a file is missing, damaged, or contradicts the index.
        UnsafeCheckpointError: a shard lies outside the directory.

    Example:
        >>> shapes = {n: t.shape for n, t in iter_weights("weights/")}  # doctest: +SKIP
    """
    path = Path(source)
    files = find_weight_files(path) if path.is_dir() else [path]
    seen = _names(files)
    index = _index_file(path) if path.is_dir() else None
    if index is not None and files[0].name != "model.safetensors":
        _check_index(index, _weight_map(index), seen)
    for file in files:
        yield from _iter_file(file, str(torch.device(device)), wanted)


def load_weights(
    module: nn.Module,
    weights: Iterable[tuple[str, Tensor]],
    *,
    source: str,
    dtype: torch.dtype | None = None,
    device: torch.device | str | None = None,
) -> None:
    """Fill every parameter and persistent buffer of a module, strictly, one tensor at a time.

    Made for a module built under ``torch.device("meta")``: each tensor is converted and moved as
    it is read and becomes the parameter itself, so that the weights exist once.

    Args:
        module: built on the meta device, or any other.
        weights: pairs of the module's own parameter name and tensor.
        source: named in errors.
        dtype: of floating point weights; None keeps what the file holds.
        device: None keeps where the tensors come from.

    Raises:
        CheckpointError: a name that the module lacks, a name twice, a wrong shape, integers
            where floats belong, or names that never came; the message lists them.
    """
    slots = dict(module.state_dict(keep_vars=True))
    missing = dict.fromkeys(slots)
    for name, tensor in weights:
        if name not in slots:
            raise CheckpointError(f"{source}: the model has no tensor named {name}")
        if name not in missing:
            raise CheckpointError(f"{source}: {name} comes twice")
        _check_fit(source, name, tensor, slots[name])
        del missing[name]
        floating = tensor.is_floating_point()
        _assign(module, name, tensor.to(device=device, dtype=dtype if floating else None))
    if missing:
        raise CheckpointError(f"{source}: {len(missing)} tensors are missing: {shorten(missing)}")


def shorten(names: Iterable[str], limit: int = 8) -> str:
    """The first names of a list, for an error message."""
    listed = list(names)
    more = f" and {len(listed) - limit} more" if len(listed) > limit else ""
    return ", ".join(listed[:limit]) + more


def _check_fit(source: str, name: str, tensor: Tensor, slot: Tensor) -> None:
    if tensor.shape != slot.shape:
        raise CheckpointError(
            f"{source}: {name}: expected shape {list(slot.shape)}, got {list(tensor.shape)}"
        )
    if tensor.is_floating_point() != slot.is_floating_point():
        raise CheckpointError(
            f"{source}: {name}: expected a dtype like {slot.dtype}, got {tensor.dtype}"
        )


def _assign(module: nn.Module, name: str, tensor: Tensor) -> None:
    path, _, leaf = name.rpartition(".")
    owner = module.get_submodule(path)
    old = getattr(owner, leaf)
    if isinstance(old, nn.Parameter):
        tensor = nn.Parameter(tensor, requires_grad=old.requires_grad)
    setattr(owner, leaf, tensor)


def _unique(path: Path) -> Callable[[list[tuple[str, Any]]], dict[str, Any]]:
    def build(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        if len({key for key, _ in pairs}) != len(pairs):
            raise CheckpointError(f"{path}: a key comes twice in one JSON object")
        return dict(pairs)

    return build


def _index_file(root: Path) -> Path | None:
    indices = sorted(root.glob("*.safetensors.index.json"))
    if len(indices) > 1:
        names = ", ".join(index.name for index in indices)
        raise CheckpointError(f"{root}: several weight indices: {names}")
    return indices[0] if indices else None


def _weight_map(index: Path) -> dict[str, str]:
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


def _open(file: Path, device: str = "cpu") -> Any:
    try:
        return safe_open(file, framework="pt", device=device)
    except FileNotFoundError as error:
        raise CheckpointError(f"{file}: there is no such file") from error
    except (SafetensorError, OSError) as error:
        raise CheckpointError(f"{file}: not a whole safetensors file ({error})") from error


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
                    raise CheckpointError(f"{file}: {name} cannot be read ({error})") from error
                yield name, tensor
