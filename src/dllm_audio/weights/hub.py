"""Folders of checkpoints, local or on the hub, and the JSON files in them."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ..errors import CheckpointError

_MAX_JSON_BYTES = 64 * 2**20
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
    name = str(id_or_dir)
    path = Path(id_or_dir).expanduser()
    if name and path.is_dir():
        return path
    if path.exists() or not _HUB_ID.fullmatch(name):
        raise CheckpointError(f"{name!r}: expected a directory or a hub id such as 'org/name'")
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


def _unique(path: Path) -> Callable[[list[tuple[str, Any]]], dict[str, Any]]:
    def build(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        if len({key for key, _ in pairs}) != len(pairs):
            raise CheckpointError(f"{path}: a key comes twice in one JSON object")
        return dict(pairs)

    return build
