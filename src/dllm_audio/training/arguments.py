"""Transformers' training arguments for exact runs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any

import torch
from transformers import TrainingArguments

from ..errors import InvalidArgumentError

# What exact runs need; nothing else can be asked for.
_FIXED: dict[str, Any] = {
    "remove_unused_columns": False,  # records are objects, not columns
    "label_names": ["labels"],
    "logging_nan_inf_filter": False,  # it would hide a loss that is not finite
    "average_tokens_across_devices": True,
    "prediction_loss_only": True,
    # Checkpoints are staged, published and rotated by ExactTrainer, and hold trainable weights
    # only: transformers would look for the best one where it is not.
    "load_best_model_at_end": False,
}


def training_arguments(output_dir: str | Path, **options: Any) -> TrainingArguments:
    """Transformers' arguments with the settings that exact runs need.

    Args:
        output_dir: folder of checkpoints, logs and curves.
        options: any of transformers' ``TrainingArguments``, but those that exact runs fix.

    Raises:
        InvalidArgumentError: an unknown option, or another value for one that is fixed.
    """
    check_options(options)
    usual = {"dataloader_pin_memory": torch.cuda.is_available()}  # it warns without a GPU
    return TrainingArguments(str(output_dir), **{**usual, **options, **_FIXED})


def check_options(options: Mapping[str, Any], where: str = "") -> None:
    """Check options before there is a folder, or anything is downloaded.

    Args:
        options: of :func:`training_arguments`.
        where: stands in front of an option's name in errors, such as ``"arguments."``.

    Raises:
        InvalidArgumentError: an unknown option, or another value for one that is fixed.
    """
    known = {f.name for f in fields(TrainingArguments) if f.init} - {"output_dir"}
    for name, value in options.items():
        if name not in known:
            expected = "the name of one of transformers' TrainingArguments"
            raise InvalidArgumentError(f"{where}{name}", expected, f"an unknown one ({value!r})")
        if name in _FIXED and value != _FIXED[name]:
            expected = f"{_FIXED[name]}, because exact runs need it"
            raise InvalidArgumentError(f"{where}{name}", expected, repr(value))
