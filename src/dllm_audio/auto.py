"""``import dllm_audio.auto`` makes the models known to transformers' auto classes.

Afterwards ``AutoConfig``, ``AutoModel`` and ``AutoProcessor`` load a saved model by its folder.
"""

from __future__ import annotations

from transformers import AutoConfig, AutoModel, AutoProcessor

from .backbones import LLaDA, LLaDAConfig
from .model import AudioDiffusionLM
from .model_config import AudioDiffusionConfig
from .processor import AudioDiffusionProcessor

AutoConfig.register(AudioDiffusionConfig.model_type, AudioDiffusionConfig, exist_ok=True)
AutoModel.register(AudioDiffusionConfig, AudioDiffusionLM, exist_ok=True)
AutoProcessor.register(AudioDiffusionConfig, AudioDiffusionProcessor, exist_ok=True)
AutoConfig.register(LLaDAConfig.model_type, LLaDAConfig, exist_ok=True)
AutoModel.register(LLaDAConfig, LLaDA, exist_ok=True)
