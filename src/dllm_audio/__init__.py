"""Building blocks for audio-conditioned masked-diffusion language models.

Public names resolve on first use, so that ``import dllm_audio`` stays light: it loads neither
transformers nor openai-whisper nor soundfile.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:  # what type checkers and editors see; a test compares it with _EXPORTS
    from .adapters import AcousticAdapter as AcousticAdapter
    from .adapters import DualAdapter as DualAdapter
    from .adapters import PromptedSemanticAdapter as PromptedSemanticAdapter
    from .adapters import SemanticAdapter as SemanticAdapter
    from .audio import LogMel as LogMel
    from .audio import load_audio as load_audio
    from .backbones import Dream as Dream
    from .backbones import DreamConfig as DreamConfig
    from .backbones import LLaDA as LLaDA
    from .backbones import LLaDAConfig as LLaDAConfig
    from .backbones import MaskedLMBackbone as MaskedLMBackbone
    from .checkpoints import load_diffa as load_diffa
    from .diffusion import CosineSchedule as CosineSchedule
    from .diffusion import LinearSchedule as LinearSchedule
    from .diffusion import NoiseSchedule as NoiseSchedule
    from .diffusion import PolynomialSchedule as PolynomialSchedule
    from .diffusion import mask_tokens as mask_tokens
    from .diffusion import sample_times as sample_times
    from .encoders import TransformersEncoder as TransformersEncoder
    from .encoders import WhisperEncoder as WhisperEncoder
    from .losses import MaskedDiffusionLoss as MaskedDiffusionLoss
    from .losses import VRPOLoss as VRPOLoss
    from .losses import draw_masks as draw_masks
    from .losses import estimate_elbo as estimate_elbo
    from .model import AudioDiffusionLM as AudioDiffusionLM
    from .model_config import AudioDiffusionConfig as AudioDiffusionConfig
    from .outputs import AudioEmbeddings as AudioEmbeddings
    from .outputs import EncoderOutput as EncoderOutput
    from .outputs import SamplerOutput as SamplerOutput
    from .parts import register as register
    from .priors import EditRule as EditRule
    from .priors import Hypothesis as Hypothesis
    from .priors import PriorTranscriber as PriorTranscriber
    from .priors import WhisperPrior as WhisperPrior
    from .processor import AudioDiffusionProcessor as AudioDiffusionProcessor
    from .prompts import ChatTemplate as ChatTemplate
    from .prompts import condition as condition
    from .protocols import MaskPredictor as MaskPredictor
    from .samplers import DAEDAL as DAEDAL
    from .samplers import KLASS as KLASS
    from .samplers import WINO as WINO
    from .samplers import AdaptiveSampler as AdaptiveSampler
    from .samplers import BlockSampler as BlockSampler
    from .samplers import CachedParallelSampler as CachedParallelSampler
    from .samplers import ClassifierFreeGuidance as ClassifierFreeGuidance
    from .samplers import Editing as Editing
    from .samplers import EditingSampler as EditingSampler
    from .samplers import EntropyBound as EntropyBound
    from .samplers import Factor as Factor
    from .samplers import FixedQuota as FixedQuota
    from .samplers import LocalLeap as LocalLeap
    from .samplers import LowConfidenceSampler as LowConfidenceSampler
    from .samplers import Prophet as Prophet
    from .samplers import Remasking as Remasking
    from .samplers import RemaskingSampler as RemaskingSampler
    from .samplers import RevisingRule as RevisingRule
    from .samplers import RhoEOS as RhoEOS
    from .samplers import Threshold as Threshold
    from .samplers import TimestepQuota as TimestepQuota
    from .samplers import WINOSampler as WINOSampler

__version__ = "0.2.0"

# Public name -> module that defines it.
_EXPORTS: dict[str, str] = {
    "load_audio": "audio",
    "LogMel": "audio",
    "TransformersEncoder": "encoders",
    "WhisperEncoder": "encoders",
    "SemanticAdapter": "adapters",
    "AcousticAdapter": "adapters",
    "DualAdapter": "adapters",
    "PromptedSemanticAdapter": "adapters",
    "Dream": "backbones",
    "DreamConfig": "backbones",
    "LLaDA": "backbones",
    "LLaDAConfig": "backbones",
    "MaskedLMBackbone": "backbones",
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
    "TimestepQuota": "samplers",
    "Factor": "samplers",
    "EntropyBound": "samplers",
    "LocalLeap": "samplers",
    "KLASS": "samplers",
    "RhoEOS": "samplers",
    "AdaptiveSampler": "samplers",
    "DAEDAL": "samplers",
    "WINO": "samplers",
    "Editing": "samplers",
    "EditingSampler": "samplers",
    "Remasking": "samplers",
    "RemaskingSampler": "samplers",
    "RevisingRule": "samplers",
    "WINOSampler": "samplers",
    "Prophet": "samplers",
    "ClassifierFreeGuidance": "samplers",
    "EditRule": "priors",
    "Hypothesis": "priors",
    "PriorTranscriber": "priors",
    "WhisperPrior": "priors",
    "AudioDiffusionLM": "model",
    "AudioDiffusionConfig": "model_config",
    "AudioDiffusionProcessor": "processor",
    "load_diffa": "checkpoints",
    "register": "parts",
    "EncoderOutput": "outputs",
    "AudioEmbeddings": "outputs",
    "SamplerOutput": "outputs",
    "MaskPredictor": "protocols",
}

__all__ = ["__version__", *_EXPORTS]


def __getattr__(name: str) -> Any:
    module = _EXPORTS.get(name)
    if module is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(importlib.import_module(f".{module}", __name__), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *_EXPORTS})
