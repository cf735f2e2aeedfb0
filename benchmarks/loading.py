"""Writes a checkpoint in the published layout, to measure how long reading it takes."""

from __future__ import annotations

import json
from pathlib import Path

from safetensors.torch import save_file

from dllm_audio import LLaDA

LOADING_LIMIT = 4 * 2**30  # bytes; larger files would measure the disk


def write_checkpoint(backbone: LLaDA, folder: Path) -> None:
    """``config.json`` and ``model.safetensors`` under LLaDA's published names."""
    tensors = {
        LLaDA.names.published(k): v.cpu().contiguous() for k, v in backbone.state_dict().items()
    }
    save_file(tensors, folder / "model.safetensors")
    config = json.dumps(backbone.config.to_dict())
    (folder / "config.json").write_text(config, encoding="utf-8")
