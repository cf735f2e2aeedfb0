"""The published checkpoints of DIFFA and DIFFA-2, assembled into a model."""

from __future__ import annotations

from collections.abc import Mapping
from math import inf
from pathlib import Path
from typing import Any

import torch

from ..backbones import LLaDA
from ..encoders import WhisperEncoder
from ..errors import CheckpointError, InvalidArgumentError, UnsafeCheckpointError
from ..model import AudioDiffusionLM
from ..prompts import load_tokenizer
from ..weights import check_inside, load_weights, read_json, resolve_directory
from .assembly import Surroundings, build_adapter, used_tensors
from .crosscheck import check_configs, check_tokenizer
from .frozen import check_frozen, split_frozen
from .keys import from_published
from .lora import PUBLISHED_ALPHA, merge_lora, split_lora
from .reading import PICKLE, SAFETENSORS, read_tensors

_STAGES = (1, 2, 3, 4)
_FIRST_LORA_STAGE = 3
_STAGE_1_FOLDER = "stage1"
_FILES = ("config.json", PICKLE, SAFETENSORS)


def load_diffa(
    path: str | Path,
    *,
    whisper: str | Path,
    llada: str | Path,
    stage: int = 2,
    unsafe_pickle: bool = False,
    dtype: torch.dtype | None = None,
    device_map: torch.device | str | None = None,
) -> AudioDiffusionLM:
    """Load a checkpoint in the published layout of DIFFA or DIFFA-2.

    The frozen encoder and backbone come from their own checkpoints.  LoRA tensors are merged into
    the backbone.  A full checkpoint of the original training code, which holds the frozen parts
    too, is held against those two, and then only what trained is taken from it.

    Args:
        path: local directory or hub id, with ``config.json`` and ``pytorch_model.bin`` or
            ``model.safetensors``.
        whisper: directory or hub id of the Whisper model that it was trained with.
        llada: directory or hub id of the LLaDA model that it was trained with.
        stage: 1 = learned prompts and semantic embeddings, from the folder ``stage1/`` where
            there is one; 2 and later = acoustic and semantic embeddings; 3 and 4 insist on LoRA.
        unsafe_pickle: also reads pickles that today's ``torch.save`` would not write (old format,
            compressed).  Pickles are read with ``weights_only=True`` with or without it: code in
            a checkpoint is never run.
        dtype: of all weights; None keeps what the files hold (the encoder: float32).
        device_map: the device of the weights, which they go to as they are read; None: the CPU.

    Returns:
        The model, in evaluation mode, with the tokenizer of ``llada`` when it has one.

    Raises:
        CheckpointError: files or tensors that are missing, left over, damaged or do not fit, or
            configs and ids that contradict each other; the message names them.
        UnsafeCheckpointError: a file would run code or lies outside its folder.

    Example:
        >>> model = load_diffa(  # doctest: +SKIP
        ...     "diffa/", whisper="openai/whisper-small", llada="GSAI-ML/LLaDA-8B-Instruct"
        ... )
    """
    if stage not in _STAGES:
        raise InvalidArgumentError("stage", f"one of {list(_STAGES)}", stage)
    folder, config = _locate(path, stage)
    source = str(folder)
    published, updates = split_lora(read_tensors(folder, unsafe_pickle))
    if stage >= _FIRST_LORA_STAGE and not updates:
        raise CheckpointError(f"{source}: holds no LoRA tensors, which stage {stage} has")
    trained, frozen_encoder, frozen_backbone = split_frozen(published)
    tensors = from_published(trained)

    llada_folder = resolve_directory(llada)
    device = torch.device("cpu" if device_map is None else device_map)
    encoder = WhisperEncoder.from_pretrained(
        whisper, dtype=dtype or torch.float32, device_map=device
    )
    backbone = LLaDA.from_pretrained(llada_folder, dtype=dtype, device_map=device)
    check_configs(source, config, encoder, backbone)
    check_frozen(source, frozen_encoder, encoder.model, "whisper")
    check_frozen(source, frozen_backbone, backbone, "llada")
    prompted = stage == 1
    around = Surroundings(
        encoder.hidden_size, encoder.num_layers, encoder.num_heads, backbone.config.d_model
    )
    adapter = build_adapter(tensors, around, prompted=prompted, config=config, source=source)
    weights = used_tensors(tensors, prompted).items()
    load_weights(adapter, weights, source=source, dtype=dtype, device=device)
    merge_lora(
        backbone,
        {LLaDA.names.native(name): update for name, update in updates.items()},
        _lora_alpha(source, config),
    )
    tokenizer = None
    if (llada_folder / "tokenizer.json").exists():
        tokenizer = load_tokenizer(llada_folder)
        check_tokenizer(tokenizer, backbone.config)
    return AudioDiffusionLM.from_parts(encoder, adapter, backbone, tokenizer).eval()


def _locate(path: str | Path, stage: int) -> tuple[Path, dict[str, Any]]:
    """The folder of a stage with its weights present, and its config."""
    root = resolve_directory(path, patterns=("*.json",))
    name = _STAGE_1_FOLDER if stage == 1 and (root / _STAGE_1_FOLDER).is_dir() else ""
    patterns = tuple(f"{name}/{file}" if name else file for file in _FILES)
    root = resolve_directory(path, patterns=patterns)
    folder = root / name
    if not folder.resolve().is_relative_to(root.resolve()):
        raise UnsafeCheckpointError(f"{folder}: links to {folder.resolve()}, outside {root}")
    file = folder / "config.json"
    if not file.exists():
        file = root / "config.json"
    config = read_json(file)
    check_inside(root, file)
    return folder, config


def _lora_alpha(source: str, config: Mapping[str, Any]) -> float:
    nested = config.get("lora_config")
    alpha = nested.get("lora_alpha") if isinstance(nested, Mapping) else config.get("lora_alpha")
    if alpha is None:
        return PUBLISHED_ALPHA
    if isinstance(alpha, bool) or not isinstance(alpha, int | float) or not 0 < alpha < inf:
        raise CheckpointError(f"{source}: config.json: lora_alpha: expected > 0, got {alpha!r}")
    return float(alpha)
