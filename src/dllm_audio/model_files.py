"""A whole model as a folder: ``config.json``, safetensors, tokenizer, processor and a card."""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from inspect import isroutine
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from torch import Tensor, nn

from .errors import DllmAudioError, InvalidArgumentError
from .files import current_folder, replace_files, write_json, write_text
from .model_card import model_card
from .model_config import CONFIG, PARTS, AudioDiffusionConfig
from .parts import build, describe
from .processor import AudioDiffusionProcessor
from .prompts import load_tokenizer
from .samplers import Sampler
from .weights import (
    check_rebuilt,
    is_packed,
    iter_weights,
    load_weights,
    packed,
    restore_buffers,
    retie,
    stored,
    unpacked,
    weight_shapes,
)

TOKENIZER = "tokenizer.json"
_SAMPLER = Sampler.__mro__  # the class and what it stands on
# What an earlier save may have left; any other file of the folder is the user's.
_OUTDATED = re.compile(
    r"model(-\d{5}-of-\d{5})?\.safetensors|model\.safetensors\.index\.json"
    r"|tokenizer(_config)?\.json|special_tokens_map\.json|chat_template\.jinja"
    r"|processor_config\.json"
)


def describe_parts(parts: Mapping[str, Any], **fields: Any) -> AudioDiffusionConfig:
    """The config of a model of these parts.

    Args:
        parts: encoder, adapter and backbone as they are now.
        fields: further fields of the config.

    Raises:
        InvalidArgumentError: a part that is not registered; says the line that would.
    """
    descriptions: dict[str, Any] = {kind: describe(kind, parts[kind]) for kind in PARTS}
    dtypes = {kind: _dtype_name(parts[kind]) for kind in PARTS}
    return AudioDiffusionConfig(**descriptions, part_dtypes=dtypes, **fields)


def describe_sampler(sampler: Sampler | None) -> dict[str, Any] | None:
    """The default sampler as plain JSON values.

    Raises:
        InvalidArgumentError: one that would not come back as it is.
    """
    if sampler is None:
        return None
    # A subclass may choose other settings, as the named samplers do, but not another way to go.
    own = {name for cls in type(sampler).__mro__ for name in vars(cls) if cls not in _SAMPLER}
    methods = {name for name, value in vars(Sampler).items() if isroutine(value)}
    changed = sorted((own & methods) - {"__init__"})
    if not isinstance(sampler, Sampler) or changed:
        expected = "a Sampler, whose settings say all (a commit rule of one's own is registered)"
        raise InvalidArgumentError("sampler", expected, f"{type(sampler).__name__} {changed}")
    return dict(sampler.to_dict())


def build_parts(config: AudioDiffusionConfig) -> dict[str, Any]:
    """The three parts with new weights.

    Raises:
        CheckpointError: a description that is missing or refused.
    """
    source = config.name_or_path or CONFIG
    return {kind: build(kind, config.description(kind), source) for kind in PARTS}


def write_folder(
    directory: str | Path,
    config: AudioDiffusionConfig,
    parts: Mapping[str, Any],
    processor: AudioDiffusionProcessor | None,
    storage_dtype: torch.dtype | None = None,
) -> None:
    """Save a model; until it is saved whole, the folder keeps what it held before.

    Args:
        directory: made when it does not exist; weights of an earlier save are replaced.
        config: describes the parts.
        parts: encoder, adapter and backbone.
        processor: with the tokenizer; None: the model has none.
        storage_dtype: of floating-point weights on disk (``torch.int8``: with a scale for each
            row); None keeps the model's. The config names the parts' own dtypes, which loading
            restores.

    Raises:
        InvalidArgumentError: parts whose weights are not those that the config builds (LoRA,
            layers or ties that were put in by hand), or a tokenizer without a file.
        CheckpointError: the disk is full or refuses to be written to.
    """
    from huggingface_hub import save_torch_state_dict

    eight_bits = storage_dtype == torch.int8
    if storage_dtype is not None and not (storage_dtype.is_floating_point or eight_bits):
        expected = "a floating-point dtype or torch.int8"
        raise InvalidArgumentError("storage_dtype", expected, storage_dtype)
    for kind in PARTS:
        mixed = len(_dtypes(parts[kind])) > 1
        if mixed and storage_dtype is not None:
            raise InvalidArgumentError("storage_dtype", "None where a part mixes dtypes", kind)
    together = _together(parts)
    _check_rebuilds(config, together)
    state = stored(together.state_dict(), None if eight_bits else storage_dtype)
    with replace_files(directory, _OUTDATED) as scratch:
        weights = packed(state) if eight_bits else state
        save_torch_state_dict(weights, scratch, safe_serialization=True)
        if processor is not None:
            processor.save_pretrained(scratch)
            if not (scratch / TOKENIZER).is_file():
                got = type(processor.tokenizer).__name__
                raise InvalidArgumentError("tokenizer", f"one that writes a {TOKENIZER}", got)
        write_json(scratch / CONFIG, config.to_dict())
        write_text(scratch / "README.md", model_card(config, parts))


def read_folder(
    folder: Path, config: AudioDiffusionConfig, dtype: torch.dtype | None, device: Any
) -> dict[str, Any]:
    """The three parts of a saved model, filled one tensor at a time.

    Raises:
        CheckpointError: anything missing, damaged, left over or of the wrong shape.
    """
    dtypes = {kind: dtype or config.dtype_of(kind) for kind in PARTS}
    with torch.device("meta"):
        parts = build_parts(config)

    def converted() -> Iterator[tuple[str, Tensor]]:
        for name, tensor in unpacked(iter_weights(folder, device=device), str(folder)):
            wanted = dtypes.get(name.partition(".")[0])
            yield name, tensor.to(wanted) if wanted and tensor.is_floating_point() else tensor

    load_weights(_together(parts), converted(), source=str(folder), device=device)
    settle(parts, config)
    return parts


@contextmanager
def plain_folder(folder: Path) -> Iterator[Path]:
    """A folder that transformers can read: the same, or for weights in 8 bits a copy of it."""
    if not is_packed(name for name, _ in weight_shapes(folder)):
        yield folder
        return
    from huggingface_hub import save_torch_state_dict

    with TemporaryDirectory() as scratch:
        weights = dict(unpacked(iter_weights(folder), str(folder)))
        save_torch_state_dict(weights, scratch, safe_serialization=True)
        shutil.copy(folder / CONFIG, scratch)
        yield Path(scratch)


def settle(
    parts: Mapping[str, Any],
    config: AudioDiffusionConfig,
    *,
    every_buffer: bool = False,
    tie: bool = True,
) -> None:
    """What parts need after their weights came; see ``weights.restore_buffers`` and ``retie``.

    Args:
        parts: filled.
        config: describes them.
        every_buffer: even those that have values.
        tie: tie again what the parts tie; False for quantized weights.

    Raises:
        CheckpointError: two values for one weight.
    """
    source = config.name_or_path or CONFIG
    for kind, part in _together(parts).items():
        if tie:
            retie(part, source)
        description = config.description(kind)
        restore_buffers(part, partial(build, kind, description, source), every=every_buffer)


def read_tokenizer(folder: Path) -> Any:
    """The tokenizer of a saved model, or None where it has none."""
    return load_tokenizer(folder) if (folder / TOKENIZER).exists() else None


def saved_folder(directory: Path) -> Path:
    """Where the files of a saved model are."""
    return current_folder(directory)


def _together(parts: Mapping[str, Any]) -> nn.ModuleDict:
    return nn.ModuleDict({n: part for n, part in parts.items() if isinstance(part, nn.Module)})


def _check_rebuilds(config: AudioDiffusionConfig, parts: nn.ModuleDict) -> None:
    """Refuse what could be written but not be loaded again."""
    try:
        with torch.device("meta"):
            rebuilt = _together(build_parts(config))
    except DllmAudioError as error:
        raise InvalidArgumentError("model", "parts that their to_config() builds", error) from error
    for part in rebuilt.values():
        tie = getattr(part, "tie_weights", None)
        if tie is not None:
            tie()
    check_rebuilt(parts.state_dict(keep_vars=True), rebuilt.state_dict(keep_vars=True), "")


def _dtypes(part: object) -> set[torch.dtype]:
    if not isinstance(part, nn.Module):
        return set()
    return {p.dtype for p in part.parameters() if p.is_floating_point()}


def _dtype_name(part: object) -> str | None:
    found = _dtypes(part)
    return str(*found).removeprefix("torch.") if len(found) == 1 else None
