"""Audio encoders: log-mel features to frames."""

from __future__ import annotations

from .whisper import WhisperEncoder

__all__ = ["WhisperEncoder"]
