"""From sound to log-mel features: loading, resampling, windows, the log-mel front end."""

from __future__ import annotations

from .loading import load_audio, load_waveform
from .log_mel import LogMel
from .windows import AudioWindow, cut_at_pauses

__all__ = ["AudioWindow", "LogMel", "cut_at_pauses", "load_audio", "load_waveform"]
