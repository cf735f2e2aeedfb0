"""Building blocks for audio-conditioned masked-diffusion language models.

Public names resolve on first use, so that ``import dllm_audio`` stays light: it loads neither
transformers nor openai-whisper nor soundfile.
"""

from __future__ import annotations

import importlib
from typing import Any

__version__ = "0.1.0"

# Public name -> module that defines it.
_EXPORTS: dict[str, str] = {
    "load_audio": "audio",
    "LogMel": "audio",
    "WhisperEncoder": "encoders",
    "SemanticAdapter": "adapters",
    "AcousticAdapter": "adapters",
    "DualAdapter": "adapters",
    "PromptedSemanticAdapter": "adapters",
    "LLaDA": "backbones",
    "LLaDAConfig": "backbones",
    "condition": "prompts",
    "ChatTemplate": "prompts",
    "LinearSchedule": "diffusion",
    "CosineSchedule": "diffusion",
    "PolynomialSchedule": "diffusion",
    "NoiseSchedule": "diffusion",
    "mask_tokens": "diffusion",
    "sample_times": "diffusion",
    "MaskedDiffusionLoss": "losses",
    "draw_masks": "losses",
    "estimate_elbo": "losses",
    "VRPOLoss": "losses",
    "LowConfidenceSampler": "samplers",
    "BlockSampler": "samplers",
    "CachedParallelSampler": "samplers",
    "FixedQuota": "samplers",
    "Threshold": "samplers",
    "Factor": "samplers",
    "EntropyBound": "samplers",
    "LocalLeap": "samplers",
    "ClassifierFreeGuidance": "samplers",
    "AudioDiffusionLM": "model",
    "load_diffa": "checkpoints",
    "EncoderOutput": "outputs",
    "AudioEmbeddings": "outputs",
    "SamplerOutput": "outputs",
    "MaskPredictor": "protocols",
}

__all__ = ["__version__", *_EXPORTS]  # noqa: PLE0604


def __getattr__(name: str) -> Any:
    module = _EXPORTS.get(name)
    if module is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(importlib.import_module(f".{module}", __name__), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *_EXPORTS})
