"""Transformers' training arguments for exact runs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from transformers import TrainingArguments


def training_arguments(output_dir: str | Path, **options: Any) -> TrainingArguments:
    """Transformers' arguments with the settings that exact runs need.

    Args:
        output_dir: folder of checkpoints, logs and curves.
        options: any of transformers' ``TrainingArguments``.
    """
    fixed = {
        "remove_unused_columns": False,  # records are objects, not columns
        "label_names": ["labels"],
        "logging_nan_inf_filter": False,  # it would hide a loss that is not finite
        "average_tokens_across_devices": True,
        "prediction_loss_only": True,
    }
    usual = {"dataloader_pin_memory": torch.cuda.is_available()}  # it warns without a GPU
    return TrainingArguments(str(output_dir), **{**usual, **options, **fixed})
