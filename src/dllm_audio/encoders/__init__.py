"""Audio encoders: waveforms through their own front ends to frames."""

from __future__ import annotations

from .transformers_audio import TransformersEncoder
from .whisper import WhisperEncoder

__all__ = ["TransformersEncoder", "WhisperEncoder"]
