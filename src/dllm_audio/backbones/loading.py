"""Strict loading of backbones: our own reader by default, transformers' where it must place.

By default every tensor is checked, converted and moved as it is read, so that the weights exist
once.  Spreading over several devices and quantizing is transformers' work; the folder is checked
by the same rules before and what it reports after.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import torch
from torch import Tensor

from ..errors import CheckpointError, InvalidArgumentError
from ..weights import (
    current_folder,
    iter_weights,
    load_weights,
    read_json,
    resolve_directory,
    shorten,
    weight_shapes,
)
from .config import TransformerConfig

if TYPE_CHECKING:
    from .transformer import DiffusionTransformer

Model = TypeVar("Model", bound="DiffusionTransformer")
Device = str | int | torch.device
DeviceMap = Device | Mapping[str, Device] | None
_SPREADING = ("auto", "balanced", "balanced_low_0", "sequential")


def load_backbone(
    cls: type[Model],
    dir_or_id: str | Path,
    place: Callable[..., Any],
    *,
    dtype: torch.dtype | str | None = None,
    device_map: DeviceMap = None,
    quantization_config: Any = None,
    revision: str | None = None,
    config: TransformerConfig | None = None,
) -> Model:
    """A backbone from a folder or the hub; see ``from_pretrained`` of the class.

    Args:
        cls: the class.
        dir_or_id: where its files are.
        place: transformers' own ``from_pretrained``, for what has to be spread or quantized.
        dtype: as in ``from_pretrained``, like all that follow.
        device_map: a device, a strategy or a mapping.
        quantization_config: of transformers.
        revision: of the hub.
        config: instead of the folder's.
    """
    directory = current_folder(resolve_directory(dir_or_id, revision))
    if config is None:
        fields = read_json(directory / "config.json")
        if quantization_config is None:
            quantization_config = fields.get("quantization_config")
        config = cls.config_class.from_dict(fields)
    wanted = _checked_dtype(dtype)
    device = _single_device(device_map)
    if device is not None and quantization_config is None:
        return _load_strictly(cls, directory, config, wanted, device)
    return _load_placed(cls, place, directory, config, wanted, device_map, quantization_config)


def _checked_dtype(dtype: torch.dtype | str | None) -> torch.dtype | None:
    if isinstance(dtype, str) and dtype != "auto":
        dtype = getattr(torch, dtype, dtype)
    if dtype in (None, "auto"):
        return None
    if not isinstance(dtype, torch.dtype) or not dtype.is_floating_point:
        raise InvalidArgumentError("dtype", "a floating-point dtype, 'auto' or None", dtype)
    return dtype


def _single_device(device_map: DeviceMap) -> torch.device | None:
    """The device that everything goes to; None where the layers are spread."""
    if isinstance(device_map, Mapping):
        if set(device_map) != {""}:
            return None
        device_map = device_map[""]
    if device_map is None:
        return torch.device("cpu")
    if device_map in _SPREADING or device_map == "disk":
        return None
    try:
        return torch.device(device_map)
    except (RuntimeError, TypeError) as error:
        expected = f"a device, a mapping of modules to devices, or one of {_SPREADING}"
        raise InvalidArgumentError("device_map", expected, repr(device_map)) from error


def _load_strictly(
    cls: type[Model],
    directory: Path,
    config: TransformerConfig,
    dtype: torch.dtype | None,
    device: torch.device,
) -> Model:
    with torch.device("meta"):
        model = cls(config)

    def renamed() -> Iterator[tuple[str, Tensor]]:
        own = set(model.state_dict())
        for name, tensor in iter_weights(directory, device=device):
            native = own_name(model, name, own)
            if native is not None:
                yield native, tensor

    load_weights(model, renamed(), source=str(directory), dtype=dtype, device=device)
    return model.eval()


def own_name(model: DiffusionTransformer, stored: str, own: Iterable[str]) -> str | None:
    """What the model calls a stored tensor; None for a head that the embedding stands in for.

    Raises:
        CheckpointError: neither a published name nor one of the library's.
    """
    native = stored if stored in own else model.names.native(stored)
    return None if model.config.weight_tying and native == "ff_out.weight" else native


def _load_placed(
    cls: type[Model],
    place: Callable[..., Any],
    directory: Path,
    config: TransformerConfig,
    dtype: torch.dtype | None,
    device_map: DeviceMap,
    quantization_config: Any,
) -> Model:
    with torch.device("meta"):
        empty = cls(config)
    _check_shapes(empty, directory)
    if (directory / "adapter_config.json").exists():
        raise CheckpointError(f"{directory}: holds an adapter beside the weights; merge it first")
    if isinstance(device_map, str) and device_map in _SPREADING and quantization_config is None:
        device_map = _spread(empty, dtype, device_map)
    model, report = place(
        str(directory),
        config=config,
        dtype="auto" if dtype is None else dtype,
        device_map=device_map,
        quantization_config=quantization_config,
        key_mapping=cls.names.as_patterns(),
        output_loading_info=True,
        use_safetensors=True,
        local_files_only=True,
    )
    for kind in ("missing_keys", "unexpected_keys", "mismatched_keys"):
        wrong = sorted(map(str, report.get(kind, ())))
        if wrong and not (config.weight_tying and wrong == ["ff_out.weight"]):
            raise CheckpointError(f"{directory}: {kind.replace('_', ' ')}: {shorten(wrong)}")
    return model.eval()


def _spread(
    empty: DiffusionTransformer, dtype: torch.dtype | None, strategy: str
) -> dict[str, Device]:
    """Which module goes where, whole blocks at a time."""
    from accelerate import infer_auto_device_map
    from accelerate.utils import get_balanced_memory

    whole = ["TransformerBlock"]
    memory = get_balanced_memory(
        empty, dtype=dtype, no_split_module_classes=whole, low_zero=strategy == "balanced_low_0"
    )
    return infer_auto_device_map(
        empty, max_memory=memory, dtype=dtype, no_split_module_classes=whole
    )


def _check_shapes(empty: DiffusionTransformer, directory: Path) -> None:
    slots = {name: list(tensor.shape) for name, tensor in empty.state_dict().items()}
    missing = dict.fromkeys(slots)
    for stored, shape in weight_shapes(directory):
        name = own_name(empty, stored, slots)
        if name is None:
            continue
        if name not in slots:
            raise CheckpointError(f"{directory}: the model has no tensor named {name}")
        if name not in missing:
            raise CheckpointError(f"{directory}: {name} comes twice")
        if shape != slots[name]:
            raise CheckpointError(f"{directory}: {name}: expected {slots[name]}, got {shape}")
        del missing[name]
    if missing:
        raise CheckpointError(
            f"{directory}: {len(missing)} tensors are missing: {shorten(missing)}"
        )
