"""The model and the decode settings that the options ask for."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import torch

from .. import checkpoints
from ..backbones import can_pack, pack_weights
from ..errors import CheckpointError, InvalidArgumentError
from ..evaluation.predictors import ModelPredictor
from ..model import AudioDiffusionLM
from ..samplers import Sampler, preset
from ..weights import resolve_directory
from .contents import fingerprint
from .decoding import chosen_sampler
from .sharing import Share

_ASSETS = Path(__file__).parents[1] / "assets"


def choose_device(name: str | None) -> torch.device:
    """The device with that name, or the best there is: for each of several processes its own.

    Raises:
        InvalidArgumentError: there is no such device here.
    """
    if name is None:
        share = Share.of_environment()
        if not torch.cuda.is_available():
            return torch.device("cpu")
        own = share.local_rank % torch.cuda.device_count()
        return torch.device("cuda" if share.world_size == 1 else f"cuda:{own}")
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


def load_model(
    arguments: argparse.Namespace,
) -> tuple[AudioDiffusionLM, dict[str, Any], torch.device]:
    """Load the chosen model.

    Returns:
        The model, what it is (for reports), and its device.

    Raises:
        CheckpointError: it cannot be loaded.
        InvalidArgumentError: options that do not fit.
    """
    device = choose_device(arguments.device)
    dtype = getattr(torch, arguments.dtype) if arguments.dtype else None
    published = {n: getattr(arguments, n) for n in ("whisper", "llada", "stage")}
    published = published if any(v is not None for v in published.values()) else {}
    if published and arguments.model is None:
        raise InvalidArgumentError("--model", "a published checkpoint beside --whisper", None)
    for name in ("whisper", "llada"):
        if published and published[name] is None:
            raise InvalidArgumentError(f"--{name}", "a folder or hub id", None)
    folder = embedded_model() if arguments.model is None else resolve_directory(arguments.model)
    description = {
        "model": arguments.model or "small model of this package",
        "model_fingerprint": fingerprint(folder),
        **published,
    }
    source = folder if arguments.model is None else arguments.model
    model = checkpoints.load_model(source, **published, dtype=dtype, device_map=device)
    description["dtype"] = str(model.dtype).removeprefix("torch.")
    if can_pack(model):
        pack_weights(model)
    return model, description, device


def load_predictor(arguments: argparse.Namespace, default: Sampler | None = None) -> ModelPredictor:
    """The chosen model with the chosen decoding.

    Args:
        arguments: the command line.
        default: a sampler that the options modify; None: the model's own.
    """
    # Contradictions are told at once, not after minutes of loading.
    chosen_sampler(arguments, default or preset("answers"))
    model, description, device = load_model(arguments)
    base = default or model.default_sampler()
    sampler = chosen_sampler(arguments, base) or base
    description |= {"decoding": sampler.to_dict(), "seed": arguments.seed}
    return ModelPredictor(model, sampler, description, device)
