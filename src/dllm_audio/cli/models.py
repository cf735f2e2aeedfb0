"""The model and the decode settings that the options ask for."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import torch

from ..errors import CheckpointError, InvalidArgumentError
from ..evaluation.predictors import ModelPredictor
from ..evaluation.settings import DecodeSettings

_ASSETS = Path(__file__).parents[1] / "assets"
_DECODE_OPTIONS = (
    *("sampler", "steps", "gen_length", "block_length"),
    *("threshold", "factor", "cache"),
)


def decode_settings(
    arguments: argparse.Namespace, default: DecodeSettings | None = None
) -> DecodeSettings | None:
    """The settings that the options ask for; ``default`` where they ask for nothing.

    Raises:
        InvalidArgumentError: options that contradict each other.
    """
    asked = {
        name: value for name in _DECODE_OPTIONS if (value := getattr(arguments, name)) is not None
    }
    if not asked and not arguments.temperature:
        return default
    if asked.get("cache") == "none":
        asked["cache"] = None
    base: dict[str, Any] = {"gen_length": 128, "block_length": 32}
    if default is not None:
        base = default.to_json()
    if asked.keys() & {"threshold", "factor", "cache"}:
        asked.setdefault("sampler", "cached")
    if asked.keys() & {"threshold", "factor"}:
        base["steps"] = None
    if default is None:
        asked.setdefault("sampler", "cached")
        if asked["sampler"] == "cached" and not asked.keys() & {"steps", "factor"}:
            asked.setdefault("threshold", 0.9)
        if asked["sampler"] == "cached":
            asked.setdefault("cache", "prefix")
        base.setdefault("steps", None if asked["sampler"] == "cached" else 128)
        base["block_length"] = min(base["block_length"], asked.get("gen_length", 128))
    elif "gen_length" in asked:
        base["block_length"] = None
    return DecodeSettings(**{**base, "temperature": arguments.temperature, **asked})


def choose_device(name: str | None) -> torch.device:
    """The device with that name, or the best there is.

    Raises:
        InvalidArgumentError: there is no such device here.
    """
    if name is None:
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:
        raise InvalidArgumentError("--device", "a device of this machine", name) from error
    return device


def embedded_model() -> Path:
    """Folder of the small model that ships with the package.

    Raises:
        CheckpointError: it is not there.
    """
    found = sorted(_ASSETS.glob("*/config.json"))
    if not found:
        raise CheckpointError("this installation holds no small model; name one with --model")
    return found[0].parent


def load_model(arguments: argparse.Namespace) -> tuple[Any, dict[str, Any], torch.device]:
    """Load the chosen model.

    Returns:
        The model, what it is (for reports), and its device.

    Raises:
        CheckpointError: it cannot be loaded.
        InvalidArgumentError: options that do not fit.
    """
    from ..model import AudioDiffusionLM

    device = choose_device(arguments.device)
    dtype = getattr(torch, arguments.dtype) if arguments.dtype else None
    published = [n for n in ("whisper", "llada", "stage") if getattr(arguments, n) is not None]
    name = arguments.model or "small model of this package"
    if published:
        model = _load_published(arguments, device, dtype)
    else:
        source = arguments.model or embedded_model()
        model = AudioDiffusionLM.from_pretrained(source, dtype=dtype, device=device)
    description = {"model": name, "dtype": str(model.dtype).removeprefix("torch.")}
    return model, description, device


def _load_published(
    arguments: argparse.Namespace, device: torch.device, dtype: torch.dtype | None
) -> Any:
    from ..checkpoints import load_diffa

    if arguments.model is None:
        raise InvalidArgumentError("--model", "a published checkpoint beside --whisper", None)
    for option in ("whisper", "llada"):
        if getattr(arguments, option) is None:
            raise InvalidArgumentError(f"--{option}", "a folder or hub id", None)
    return load_diffa(
        arguments.model,
        whisper=arguments.whisper,
        llada=arguments.llada,
        stage=2 if arguments.stage is None else arguments.stage,
        device=device,
        dtype=dtype or torch.float32,
    )


def load_predictor(arguments: argparse.Namespace) -> ModelPredictor:
    """The chosen model with the chosen decoding, for ``answer`` and ``transcribe``."""
    settings = decode_settings(arguments)
    sampler = settings.build() if settings else None  # first: a mistake should not wait for weights
    model, description, _ = load_model(arguments)
    return ModelPredictor(model, sampler, description)
