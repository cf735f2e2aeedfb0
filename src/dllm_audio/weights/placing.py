"""Loading through transformers where weights are spread over devices or quantized."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch

from ..errors import CheckpointError, InvalidArgumentError, one_line
from .files import find_weight_files
from .filling import shorten

# What transformers' auto classes pass on beside the arguments of their caller.
_PASSED_ON = ("trust_remote_code", "name_or_path", "adapter_kwargs", "code_revision", "_from_auto")


def single_device(device_map: Any) -> bool:
    """Whether a ``device_map`` names one device (or nothing), for which nothing need be spread."""
    if device_map is None or isinstance(device_map, torch.device | int):
        return True
    if not isinstance(device_map, str):
        return False
    return device_map not in ("auto", "balanced", "balanced_low_0", "sequential", "disk")


def check_hub_options(options: Mapping[str, object]) -> None:
    """Refuse options that a ``from_pretrained`` of ours does not have.

    Raises:
        InvalidArgumentError: names the option.
    """
    for name, value in options.items():
        if name == "trust_remote_code" and value:
            raise InvalidArgumentError(name, "False: code of a checkpoint is never run", value)
        if name not in _PASSED_ON:
            raise InvalidArgumentError(
                name, "no option of that name (see the documentation)", repr(value)
            )


def load_through_transformers(
    load: Callable[..., Any],
    folder: Path,
    *,
    passed_over: re.Pattern[str] | None = None,
    **options: Any,
) -> Any:
    """A model by transformers' own loader, as strictly as by ours.

    Args:
        load: the inherited ``from_pretrained``.
        folder: local, in which only safetensors count.
        passed_over: names of tensors that the file may hold for other uses; None: there are none.
        options: of ``from_pretrained``.

    Raises:
        CheckpointError: tensors that are missing, left over or misshapen, or a placement that
            this machine cannot do.
    """
    find_weight_files(folder)  # refuses what lies outside the folder or is incomplete
    try:
        model, found = load(
            str(folder),
            output_loading_info=True,
            use_safetensors=True,
            local_files_only=True,
            **options,
        )
    except (OSError, ValueError, RuntimeError, ImportError, KeyError) as error:
        raise CheckpointError(f"{folder}: {one_line(error)}") from error
    for name in ("missing_keys", "unexpected_keys", "mismatched_keys"):
        wrong = sorted(map(str, found.get(name, ())))
        if name == "unexpected_keys" and passed_over is not None:
            wrong = [tensor for tensor in wrong if not passed_over.search(tensor)]
        if wrong:
            raise CheckpointError(f"{folder}: {name.replace('_', ' ')}: {shorten(wrong)}")
    return model
