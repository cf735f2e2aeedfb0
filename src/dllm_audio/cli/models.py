"""The model and the decode settings that the options ask for."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import torch

from ..backbones import can_pack, pack_weights
from ..errors import CheckpointError, InvalidArgumentError
from ..evaluation.predictors import ModelPredictor
from ..evaluation.settings import DecodeSettings
from ..weights import resolve_directory
from .contents import fingerprint

_ASSETS = Path(__file__).parents[1] / "assets"
_DECODE_OPTIONS = (
    *("sampler", "steps", "gen_length", "block_length"),
    *("threshold", "factor", "cache"),
)


def decode_settings(
    arguments: argparse.Namespace, default: DecodeSettings
) -> DecodeSettings | None:
    """What the options make of the default settings; None where they ask for nothing.

    Raises:
        InvalidArgumentError: options that contradict each other.
    """
    asked = {
        name: value for name in _DECODE_OPTIONS if (value := getattr(arguments, name)) is not None
    }
    if not asked and not arguments.temperature:
        return None
    merged: dict[str, Any] = default.to_json()
    parallel = asked.keys() & {"threshold", "factor"}
    if parallel or "steps" in asked:
        merged |= {"threshold": None, "factor": None, "steps": None}
    if parallel or "cache" in asked:
        asked.setdefault("sampler", "cached")
    if asked.get("sampler", merged["sampler"]) != "cached":
        merged |= {"threshold": None, "factor": None, "cache": None}
    if asked.get("cache") == "none":
        asked["cache"] = None
    length = asked.get("gen_length", merged["gen_length"])
    merged["block_length"] = min(merged["block_length"] or length, length)
    merged |= {"temperature": arguments.temperature, **asked}
    if merged["threshold"] is None and merged["factor"] is None and merged["steps"] is None:
        merged["steps"] = length
    return DecodeSettings(**merged)


def own_settings(model: Any) -> DecodeSettings:
    """The settings of a model's default sampler."""
    saved = model.generation
    return DecodeSettings(
        steps=None,
        gen_length=saved["gen_length"],
        block_length=min(saved["block_length"], saved["gen_length"]),
        sampler="cached",
        threshold=saved["threshold"],
        cache="prefix",
    )


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
    folder = embedded_model() if arguments.model is None else resolve_directory(arguments.model)
    description = {
        "model": arguments.model or "small model of this package",
        "model_fingerprint": fingerprint(folder),
    }
    published = {n: getattr(arguments, n) for n in ("whisper", "llada", "stage")}
    if any(value is not None for value in published.values()):
        model = _load_published(arguments, device, dtype)
        description |= published
    else:
        model = AudioDiffusionLM.from_pretrained(folder, dtype=dtype, device=device)
    description["dtype"] = str(model.dtype).removeprefix("torch.")
    if can_pack(model):
        pack_weights(model)
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
        dtype=dtype,
    )


def load_predictor(
    arguments: argparse.Namespace, preset: DecodeSettings | None = None
) -> ModelPredictor:
    """The chosen model with the chosen decoding.

    Args:
        arguments: the command line.
        preset: settings that the options modify; None: the model's own.
    """
    # Contradictions are told at once, not after minutes of loading.
    decode_settings(arguments, preset or DecodeSettings(None, 128, 32, "cached", threshold=0.9))
    model, description, device = load_model(arguments)
    base = preset or own_settings(model)
    settings = decode_settings(arguments, base) or base
    description |= {"decoding": settings.to_json(), "seed": arguments.seed}
    return ModelPredictor(model, settings.build(), description, device)
