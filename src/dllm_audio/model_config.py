"""``AudioDiffusionConfig``: a whole model described by its parts."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from transformers import PretrainedConfig

from .errors import CheckpointError
from .files import read_json
from .parts import Description

CONFIG = "config.json"
PARTS = ("encoder", "adapter", "backbone")
_OWN = (*PARTS, "sampler", "part_dtypes", "training", "license")
_TEXTS = ("training", "license")
_READ = (*_OWN, "architectures", "quantization_config")


class AudioDiffusionConfig(PretrainedConfig):
    """Parts by their registered names, and how the model answers by default.

    Args:
        encoder: description of the encoder: ``{"name": ..., "settings": ...}``.
        adapter: description of the adapter.
        backbone: description of the backbone.
        sampler: the default sampler, as its ``to_dict`` gives it.
        part_dtypes: floating-point type of each part's weights, such as ``"float32"``; None keeps
            what the files hold.
        training: how the model was trained, for its card; a text or None.
        license: of the weights, for its card; a text or None.
        options: of transformers' configs.

    Example:
        >>> from dllm_audio.toy import small_model
        >>> small_model().config.adapter["name"]
        'dual'
    """

    model_type = "dllm-audio"

    def __init__(
        self,
        encoder: Description | None = None,
        adapter: Description | None = None,
        backbone: Description | None = None,
        sampler: Mapping[str, Any] | None = None,
        part_dtypes: Mapping[str, str | None] | None = None,
        training: str | None = None,
        license: str | None = None,
        **options: Any,
    ) -> None:
        super().__init__(**options)
        self.encoder, self.adapter, self.backbone = encoder, adapter, backbone
        self.sampler = None if sampler is None else dict(sampler)
        self.part_dtypes = dict(part_dtypes or {})
        self.training, self.license = training, license

    def description(self, kind: str) -> Description:
        """Of one part.

        Raises:
            CheckpointError: there is none.
        """
        found = getattr(self, kind)
        if not isinstance(found, dict):
            raise CheckpointError(f"{self.name_or_path or CONFIG}: lacks a description of {kind!r}")
        return found

    def dtype_of(self, part: str) -> torch.dtype | None:
        """Floating-point type of a part's weights, or None where nothing is said.

        Raises:
            CheckpointError: no such type.
        """
        name = self.part_dtypes.get(part)
        dtype = None if name is None else getattr(torch, str(name), None)
        if name is not None and not (isinstance(dtype, torch.dtype) and dtype.is_floating_point):
            source = self.name_or_path or CONFIG
            raise CheckpointError(f"{source}: {part}: unknown floating-point dtype {name!r}")
        return dtype

    @classmethod
    def from_folder(cls, folder: Path) -> AudioDiffusionConfig:
        """Read a model's ``config.json`` within bounds; only fields that are known here count.

        Raises:
            CheckpointError: missing, damaged, or of another kind of model.
        """
        path = folder / CONFIG
        fields = read_json(path)
        if fields.get("model_type") != cls.model_type:
            raise CheckpointError(
                f"{path}: model_type: expected {cls.model_type!r}, got "
                f"{fields.get('model_type')!r}; a published DIFFA checkpoint is loaded by "
                "load_diffa(path, whisper=..., llada=...)"
            )
        for name in _OWN:
            value = fields.get(name)
            if value is not None and not isinstance(value, str if name in _TEXTS else dict):
                raise CheckpointError(f"{path}: {name}: expected an object, got {value!r:.80}")
        known = {name: fields[name] for name in _READ if name in fields}
        return cls(**known, name_or_path=str(path))
