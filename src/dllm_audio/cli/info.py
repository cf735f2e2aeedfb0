"""``dllm-audio info``: what a checkpoint holds and how much memory it takes."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import CheckpointError
from ..files import read_json
from . import checks
from .options import add_output_options, new_command
from .terminal import human_bytes, print_json, say

if TYPE_CHECKING:
    from .contents import TensorEntry

_DESCRIPTION = """\
Show what a checkpoint holds: parameters and memory of each part, dtypes, the main settings.

Reads headers only, so it is quick whatever the size, and never runs code from a checkpoint."""

_EPILOG = """\
examples:
  dllm-audio info                      # the small model of this package
  dllm-audio info ./my-model --tensors
  dllm-audio info ./DIFFA-2            # published layout; also its stage1/
  dllm-audio info weights.safetensors --json

Memory is that of the weights alone. While a model decodes, keys and values and the activations
come on top; a hub id is downloaded first."""


# Settings worth a line, where a config has them.
_WORTH_A_LINE = (
    "model_type", "encoder.name", "encoder.settings.d_model", "encoder.settings.encoder_layers",
    "encoder.settings.num_mel_bins", "encoder.settings.max_source_positions", "adapter.name",
    "backbone.name", "backbone.settings.d_model", "backbone.settings.n_layers",
    "backbone.settings.n_heads", "backbone.settings.vocab_size",
    "backbone.settings.max_sequence_length", "backbone.settings.mask_token_id",
    "backbone.settings.eos_token_id", "sampler.gen_length", "sampler.block_length",
    "sampler.commit.name", "d_model", "n_layers", "n_heads",
    "n_kv_heads", "vocab_size", "embedding_size", "max_sequence_length", "mask_token_id",
    "eos_token_id", "encoder_layers", "num_mel_bins", "prompt_size", "target_layer_ids",
)  # fmt: skip


def add_parser(commands: Any) -> None:
    """Add the command to the parser."""
    parser = new_command(
        commands,
        "info",
        summary="show parameters, memory and content of a checkpoint",
        usage="[DIR_OR_ID] [options]",
        description=_DESCRIPTION,
        epilog=_EPILOG,
    )
    parser.add_argument(
        "model",
        nargs="?",
        type=checks.name,
        metavar="DIR_OR_ID",
        help="default: the small model of this package",
    )
    parser.add_argument("--tensors", action="store_true", help="list every tensor")
    add_output_options(parser)
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Show the checkpoint; the exit code."""
    from ..evaluation.run_info import flatten
    from .contents import list_tensors

    place = _locate(arguments.model)
    folders = [place] + [f for f in (place / "stage1",) if place.is_dir() and f.is_dir()]
    for folder in folders:
        entries = list_tensors(folder)
        config = {}
        if folder.is_dir() and (folder / "config.json").exists():
            config = flatten(read_json(folder / "config.json"))
        if arguments.json:
            print_json(_record(folder, entries, config, arguments.tensors))
        else:
            say("\n".join(_lines(folder, entries, config, arguments.tensors)))
    return 0


def _locate(name: str | None) -> Path:
    from ..weights import resolve_directory
    from .models import embedded_model

    if name is None:
        return embedded_model()
    path = Path(name)
    if path.is_file():
        if path.suffix != ".safetensors":
            raise CheckpointError(f"{path}: expected a folder, a hub id or a .safetensors file")
        return path
    return resolve_directory(name, patterns=("*.json", "*.safetensors", "*.bin"))


def _record(
    folder: Path, entries: list[TensorEntry], config: Mapping[str, Any], tensors: bool
) -> dict[str, Any]:
    from .contents import group_parts

    parts = group_parts(entries)
    record: dict[str, Any] = {
        "path": str(folder),
        "parameters": sum(part.parameters for part in parts),
        "bytes": sum(part.bytes for part in parts),
        "parts": [asdict(part) for part in parts],
        "config": dict(config),
    }
    if tensors:
        record["tensors"] = [asdict(entry) for entry in entries]
    return record


def _worth_a_line(config: Mapping[str, Any]) -> list[str]:
    """Settings that are shown, part by part; what a part is, and parts inside it, always."""
    kinds = [key for key in config if key.rpartition(".")[2] in ("name", "type")]
    keys = dict.fromkeys((*_WORTH_A_LINE, *kinds))
    parts = list(dict.fromkeys(key.partition(".")[0] for key in keys))
    shown = [key for key in keys if key in config]
    return sorted(shown, key=lambda key: parts.index(key.partition(".")[0]))


def _lines(
    folder: Path, entries: list[TensorEntry], config: Mapping[str, Any], tensors: bool
) -> list[str]:
    from .contents import Part, group_parts

    parts = group_parts(entries)
    total = Part(
        "total",
        sum(part.tensors for part in parts),
        sum(part.parameters for part in parts),
        sum(part.bytes for part in parts),
        tuple(sorted({dtype for part in parts for dtype in part.dtypes})),
    )
    width = max(len(part.name) for part in [*parts, total])
    lines = [str(folder), ""]
    for part in [*parts, total]:
        lines.append(
            f"  {part.name:<{width}} {part.parameters:>15,} parameters {part.tensors:>5} tensors"
            f" {human_bytes(part.bytes):>11}  {', '.join(part.dtypes)}"
        )
    memory = ", ".join(
        f"{name} {human_bytes(total.parameters * size)}"
        for name, size in (("float32", 4), ("bfloat16", 2), ("int8", 1))
    )
    lines += ["", f"  weights in memory: {memory}"]
    shown = {key: config[key] for key in _worth_a_line(config)}
    if shown:
        longest = max(map(len, shown))
        lines += ["", *(f"  {name:<{longest}}  {value}" for name, value in shown.items())]
    if tensors:
        longest = max(len(entry.name) for entry in entries)
        lines += [""]
        lines += [f"  {e.name:<{longest}}  {e.dtype:<9} {list(e.shape)}" for e in entries]
    return [*lines, ""]
