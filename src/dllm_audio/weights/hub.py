"""Folders of checkpoints, local or on the hub."""

from __future__ import annotations

import re
from pathlib import Path

from ..errors import CheckpointError

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
