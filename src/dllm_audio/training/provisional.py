"""Stands in for what other branches bring: parts of ours under their names, and ``from_parts``."""

from __future__ import annotations

import json
from typing import Any

from ..adapters import AcousticAdapter, DualAdapter, PromptedSemanticAdapter
from ..backbones import LLaDA, LLaDAConfig
from ..encoders import WhisperEncoder
from ..model import AudioDiffusionLM
from ..parts import build, describe, register, registered


def _acoustic(self: AcousticAdapter) -> dict[str, Any]:
    names = ("encoder_dim", "lm_dim", "num_heads", "num_queries", "num_layers")
    found = {name: getattr(self, name) for name in (*names, "intermediate_size", "dropout")}
    return {**found, "taps": list(self.taps)}


def _dual(self: DualAdapter) -> dict[str, Any]:
    parts = {n: describe("adapter", getattr(self, n)) for n in ("semantic", "acoustic")}
    return {**parts, "mask_frames": self.mask_frames}


def _dual_from(cls: Any, values: dict[str, Any]) -> DualAdapter:
    parts = (build("adapter", values[name]) for name in ("semantic", "acoustic"))
    return cls(*parts, values.get("mask_frames", False))


def _prompted(self: PromptedSemanticAdapter) -> dict[str, Any]:
    return {"semantic": describe("adapter", self.semantic), "num_prompts": self.num_prompts}


def _prompted_from(cls: Any, values: dict[str, Any]) -> PromptedSemanticAdapter:
    return cls(build("adapter", values["semantic"]), values["num_prompts"])


def _whisper(self: WhisperEncoder) -> dict[str, Any]:
    return json.loads(self.config.to_json_string(use_diff=False))


def _whisper_from(cls: Any, values: dict[str, Any]) -> WhisperEncoder:
    from transformers import WhisperConfig

    return cls(WhisperConfig.from_dict(values))


def _register() -> None:
    for kind, name, cls, to_config, from_config in (
        ("adapter", "acoustic", AcousticAdapter, _acoustic, None),
        ("adapter", "dual", DualAdapter, _dual, _dual_from),
        ("adapter", "prompted", PromptedSemanticAdapter, _prompted, _prompted_from),
        ("encoder", "whisper", WhisperEncoder, _whisper, _whisper_from),
        (
            *("backbone", "llada", LLaDA, lambda b: b.config.to_dict()),
            lambda cls, values: cls(LLaDAConfig.from_dict(values)),
        ),
    ):
        if cls in registered(kind).values():
            continue
        cls.to_config = to_config  # type: ignore[attr-defined]
        if from_config is not None:
            cls.from_config = classmethod(from_config)  # type: ignore[attr-defined]
        register(kind, name)(cls)


def from_parts(
    encoder: Any, adapter: Any, backbone: Any, tokenizer: Any = None, *, sampler: Any = None
) -> AudioDiffusionLM:
    """The model of these parts."""
    if hasattr(AudioDiffusionLM, "from_parts"):
        return AudioDiffusionLM.from_parts(encoder, adapter, backbone, tokenizer, sampler=sampler)
    return AudioDiffusionLM(encoder, adapter, backbone, tokenizer, generation=sampler)


def model_sampler(model: AudioDiffusionLM) -> Any:
    """What a model decodes with unless it is told, as :func:`from_parts` takes it."""
    return getattr(model, "generation", None)


_register()
