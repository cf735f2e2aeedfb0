"""Encoder half of openai-whisper models: their sizes and tensors under transformers' names."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict, is_dataclass
from pathlib import Path
from typing import Any
from urllib.error import URLError

import torch
from torch import Tensor
from transformers import WhisperConfig

from ..errors import CheckpointError, InvalidArgumentError, one_line
from ..weights import check_tensors, read_pickle
from .names import from_openai_name

_PREFIX = "encoder."
_SIZES = ("n_mels", "n_audio_ctx", "n_audio_state", "n_audio_head", "n_audio_layer")


def read_openai(name_or_model: Any) -> tuple[Mapping[str, Any], Mapping[str, Tensor]]:
    """Dimensions and state dict of an openai-whisper model, checkpoint file or model name.

    Raises:
        InvalidArgumentError: none of the three.
        CheckpointError: the download failed or the file is not an openai-whisper checkpoint.
        UnsafeCheckpointError: the file would run code when loaded.
    """
    if isinstance(name_or_model, str | Path):
        path = Path(name_or_model).expanduser()
        if path.is_file():
            return _read_file(path)
        name_or_model = _download(str(name_or_model))
    dims = getattr(name_or_model, "dims", None)
    if not isinstance(name_or_model, torch.nn.Module) or not is_dataclass(dims):
        raise InvalidArgumentError(
            "name_or_model",
            "a model name, a checkpoint file or an openai-whisper model",
            type(name_or_model),
        )
    return asdict(dims), name_or_model.state_dict()  # type: ignore[arg-type]


def openai_config(dims: Mapping[str, Any], source: str) -> WhisperConfig:
    """transformers' config of the encoder with these openai-whisper dimensions."""
    wrong = [key for key in _SIZES if not isinstance(dims.get(key), int) or dims[key] < 1]
    if wrong:
        raise CheckpointError(f"{source}: dims: expected positive integers in {', '.join(wrong)}")
    return WhisperConfig(
        num_mel_bins=dims["n_mels"],
        max_source_positions=dims["n_audio_ctx"],
        d_model=dims["n_audio_state"],
        encoder_attention_heads=dims["n_audio_head"],
        encoder_layers=dims["n_audio_layer"],
        encoder_ffn_dim=4 * dims["n_audio_state"],
    )


def openai_weights(state: Mapping[str, Tensor]) -> Iterator[tuple[str, Tensor]]:
    """Encoder tensors under transformers' names, copied so that nothing is shared."""
    for name, tensor in state.items():
        if name.startswith(_PREFIX):
            yield from_openai_name(name.removeprefix(_PREFIX)), tensor.detach().clone()


def _download(name: str) -> torch.nn.Module:
    import whisper

    if name not in whisper.available_models():
        expected = f"a checkpoint file or one of {', '.join(whisper.available_models())}"
        raise InvalidArgumentError("name_or_model", expected, repr(name))
    try:
        return whisper.load_model(name, device="cpu")
    except (URLError, OSError, RuntimeError) as error:
        raise CheckpointError(
            f"{name}: cannot be downloaded or read ({one_line(error)})"
        ) from error


def _read_file(path: Path) -> tuple[Mapping[str, Any], Mapping[str, Tensor]]:
    content = read_pickle(path)
    dims = content.get("dims") if isinstance(content, Mapping) else None
    if not isinstance(dims, Mapping) or "model_state_dict" not in content:
        raise CheckpointError(f"{path}: expected 'dims' and 'model_state_dict' of openai-whisper")
    return dims, check_tensors(f"{path}: model_state_dict", content["model_state_dict"])
