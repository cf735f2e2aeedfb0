"""What makes a run the run it is: noted in its folder, and compared when it goes on.

How the rows of a step are spread over processes and micro-batches does not belong to it, how many
they are does: the order of the rows, the number of steps and the learning rate hang on it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from ..errors import CheckpointError, TrainingError
from ..files import read_json, write_json
from . import checkpoints
from .stages import Stage

NOTE = "stage.json"


def run_settings(
    stage: Stage, seed: int, origin: Mapping[str, Any] | None = None, rows: int | None = None
) -> dict[str, Any]:
    """All that decides what a run becomes, as JSON knows it.

    Args:
        stage: what is run.
        seed: of order, noise and dropout.
        origin: names of what else enters (weights, data).
        rows: of a step, over all processes; None: those of one process.
    """
    settings = json.loads(json.dumps({"seed": seed, "origin": dict(origin or {}), **asdict(stage)}))
    optimization = settings["optimization"]
    of_one = optimization.pop("batch_size") * optimization.pop("accumulation")
    return {**settings, "rows per step": of_one if rows is None else rows}


def claim(folder: Path, settings: dict[str, Any]) -> None:
    """Note the settings of a run, or check that they are those it was started with.

    Raises:
        TrainingError: there are checkpoints of a run with other settings.
    """
    path = folder / NOTE
    found = _read(path) if path.exists() else None
    if found is not None and checkpoints.numbered_checkpoints(folder):
        _compare(folder, settings, found)
    if found == settings:
        return
    folder.mkdir(parents=True, exist_ok=True)
    write_json(path, settings)


def check_settings(folder: str | Path, settings: dict[str, Any]) -> None:
    """Make sure that a finished stage was made with these settings.

    Args:
        folder: of the stage.
        settings: from :func:`run_settings`; the rows of a step are not compared.

    Raises:
        TrainingError: other settings, or a note of them that cannot be read.
    """
    found = _read(Path(folder) / NOTE)
    _compare(Path(folder), settings, {**found, "rows per step": settings["rows per step"]})


def _read(path: Path) -> dict[str, Any]:
    try:
        return read_json(path)
    except CheckpointError as error:
        raise TrainingError(f"{path}: cannot be read ({error}); choose another folder") from error


def _compare(folder: Path, wanted: dict[str, Any], found: dict[str, Any]) -> None:
    changed = sorted(k for k in wanted.keys() | found.keys() if wanted.get(k) != found.get(k))
    if changed:
        shown = ", ".join(
            f"{name}: {found.get(name)} then, {wanted.get(name)} now"
            if name in ("seed", "rows per step")
            else name
            for name in changed
        )
        raise TrainingError(
            f"{folder} holds a run with other settings ({shown}); choose another folder, or remove "
            "it to start anew"
        )
