"""The record of a run: what must stay the same, and where and when each part of it ran."""

from __future__ import annotations

import json
import platform
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import datetime, timezone
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import torch

from ..errors import DataError
from ..files import read_json, write_json
from .questions import Fingerprint, Task
from .store import Shard

_PACKAGES = ("dllm-audio", "torch", "transformers", "datasets", "jiwer", "soundfile", "soxr")


@dataclass(frozen=True, slots=True)
class Settings:
    """What must stay the same over all parts of a run.

    Attributes:
        task: the questions.
        model: description of the predictor, in plain JSON values.
    """

    task: Fingerprint
    model: Mapping[str, object]


@dataclass(frozen=True, slots=True)
class Start:
    """Where and when one part of a run was started.

    Attributes:
        time: UTC, ISO 8601.
        device: for example ``cuda``.
        device_name: of the GPU or the machine.
        python: version.
        platform: operating system.
        threads: of torch.
        versions: by package; None where it is not installed.
        processes: that share the run.
    """

    time: str
    device: str
    device_name: str
    python: str
    platform: str
    threads: int
    versions: Mapping[str, str | None]
    processes: int


@dataclass(frozen=True, slots=True)
class Run:
    """Content of ``run.json``.

    Attributes:
        settings: what must stay the same.
        prompt_of_first_row: how questions are asked.
        starts: one for every time that it was started.
    """

    settings: Settings
    prompt_of_first_row: str
    starts: tuple[Start, ...] = ()


def flatten(settings: Mapping[str, object], prefix: str = "") -> dict[str, object]:
    """Nested settings as one level with dotted names; lists stay lists.

    Example:
        >>> flatten({"encoder": {"d_model": 128}, "dtype": "float16"})
        {'encoder.d_model': 128, 'dtype': 'float16'}
    """
    flat: dict[str, object] = {}
    for name, value in settings.items():
        if isinstance(value, Mapping) and value:
            flat |= flatten(value, f"{prefix}{name}.")
        else:
            flat[prefix + name] = value
    return flat


def start_run(
    task: Task,
    description: Mapping[str, object],
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
    settings = Settings(task.fingerprint(), json.loads(json.dumps(dict(description))))
    known = read_run(folder)
    if known is not None:
        before, now = flatten(asdict(known.settings)), flatten(asdict(settings))
        changed = [
            f"{name} was {before.get(name)!r:.80}, is {now.get(name)!r:.80}"
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
        starts = (*(known.starts if known else ()), _start(device, shard.world_size))
        write_json(folder / "run.json", asdict(Run(settings, task.items[0].prompt, starts)))


def read_run(folder: Path) -> Run | None:
    """The record of the run in a folder; None where there is none.

    Raises:
        DataError: the record is damaged.
    """
    path = folder / "run.json"
    if not path.exists():
        return None
    values = read_json(path, DataError)
    try:
        task, model = values["settings"]["task"], values["settings"]["model"]
        starts = tuple(
            Start(**{**start, "versions": dict(start["versions"])}) for start in values["starts"]
        )
        run = Run(Settings(Fingerprint(**task), dict(model)), values["prompt_of_first_row"], starts)
    except (KeyError, TypeError, ValueError) as error:
        raise DataError(f"{path}: expected the record of a run ({error})") from error
    if not isinstance(run.prompt_of_first_row, str):
        raise DataError(f"{path}: expected the record of a run (prompt_of_first_row is no text)")
    return run


def _start(device: torch.device | str, processes: int) -> Start:
    device = torch.device(device)
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else platform.machine()
    return Start(
        time=datetime.now(timezone.utc).isoformat(timespec="seconds"),
        device=device.type,
        device_name=name,
        python=platform.python_version(),
        platform=platform.platform(),
        threads=torch.get_num_threads(),
        versions={package: _version(package) for package in _PACKAGES},
        processes=processes,
    )


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None
