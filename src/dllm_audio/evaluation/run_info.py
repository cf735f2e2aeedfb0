"""The record of a run: what must stay the same, and where and when each part of it ran."""

from __future__ import annotations

import json
import platform
from collections.abc import Mapping
from datetime import datetime, timezone
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch

from ..errors import DataError
from ..files import read_json, write_json
from .flatten import flatten
from .runner import Shard
from .task import Task

_PACKAGES = ("dllm-audio", "torch", "transformers", "datasets", "jiwer", "soundfile", "soxr")


def environment(device: torch.device | str) -> dict[str, Any]:
    """Versions, device and time.

    Example:
        >>> environment("cpu")["device"]
        'cpu'
    """
    device = torch.device(device)
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else platform.machine()
    return {
        "time": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "device": device.type,
        "device_name": name,
        "python": platform.python_version(),
        "platform": platform.platform(),
        "threads": torch.get_num_threads(),
        "versions": {package: _version(package) for package in _PACKAGES},
    }


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def start_run(
    task: Task,
    description: Mapping[str, Any],
    folder: Path,
    *,
    device: torch.device | str = "cpu",
    shard: Shard | None = None,
) -> None:
    """Record the start of a run, or check that its folder belongs to the same one.

    Args:
        task: the questions.
        description: the predictor's.
        folder: where results are kept.
        device: where the model computes.
        shard: this process; only the first one writes.

    Raises:
        DataError: the folder holds a run with other settings; the message names them.
    """
    # Through JSON once, so that tuples and lists compare equal after a restart.
    settings = json.loads(json.dumps({"task": task.fingerprint(), "model": dict(description)}))
    known = read_run(folder)
    if known is not None:
        before, now = flatten(known["settings"]), flatten(settings)
        changed = [
            f"{name} was {before.get(name)!r}, is {now.get(name)!r}"
            for name in dict.fromkeys([*now, *before])
            if before.get(name) != now.get(name)
        ]
        if changed:
            raise DataError(
                f"{folder}: holds a run with other settings ({'; '.join(changed)}); "
                "use another folder"
            )
    shard = shard or Shard()
    if shard.rank == 0:
        folder.mkdir(parents=True, exist_ok=True)
        started = {**environment(device), "processes": shard.world_size}
        starts = [*(known["starts"] if known else []), started]
        run = {"settings": settings, "prompt_of_first_row": task.items[0].prompt, "starts": starts}
        write_json(folder / "run.json", run)


def read_run(folder: Path) -> dict[str, Any] | None:
    """The record of the run in a folder; None where there is none.

    Raises:
        DataError: the record is damaged.
    """
    path = folder / "run.json"
    if not path.exists():
        return None
    try:
        run = read_json(path, DataError)
        run["settings"]["task"], run["settings"]["model"], run["starts"]
    except (KeyError, TypeError) as error:
        raise DataError(f"{path}: expected the record of a run ({error})") from error
    return run
