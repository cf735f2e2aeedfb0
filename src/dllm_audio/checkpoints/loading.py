"""One call for whatever a user may point at: a saved model, or a published checkpoint."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ..errors import InvalidArgumentError
from ..files import current_folder, read_json
from ..model import AudioDiffusionLM
from ..model_config import CONFIG, AudioDiffusionConfig
from ..weights import resolve_directory
from .diffa import load_diffa


def load_model(
    source: str | Path,
    *,
    whisper: str | Path | None = None,
    llada: str | Path | None = None,
    stage: int | None = None,
    revision: str | None = None,
    **placement: Any,
) -> AudioDiffusionLM:
    """Load a saved model, or, where ``whisper`` and ``llada`` are given, a published checkpoint.

    Args:
        source: local directory or hub id.
        whisper: for a published checkpoint, which holds neither: its encoder.
        llada: and its backbone.
        stage: stage of a published checkpoint; None is 2.
        revision: hub revision.
        placement: ``dtype`` and ``device_map``.

    Raises:
        CheckpointError: anything missing, damaged or of the wrong shape.
        InvalidArgumentError: ``whisper``, ``llada`` or ``stage`` where they do not belong, or
            missing where they do.
    """
    published = {"whisper": whisper, "llada": llada, "stage": stage}
    folder = current_folder(resolve_directory(source, revision, ("*.json",)))
    kind = read_json(folder / CONFIG).get("model_type")
    if kind == AudioDiffusionConfig.model_type or not any(published.values()):
        for name, value in published.items():
            if value is not None:
                expected = f"None ({source} is no published DIFFA checkpoint)"
                raise InvalidArgumentError(name, expected, value)
        return AudioDiffusionLM.from_pretrained(source, revision=revision, **placement)
    if whisper is None or llada is None:
        name = "whisper" if whisper is None else "llada"
        expected = "a directory or hub id, because the checkpoint is a published one"
        raise InvalidArgumentError(name, expected, None)
    return load_diffa(source, whisper=whisper, llada=llada, stage=stage or 2, **placement)
