"""From sound to log-mel features: loading, resampling, windows, the log-mel front end."""

from __future__ import annotations

from .loading import load_audio, load_waveform
from .log_mel import LogMel
from .streaming import HeardWindow, WindowStream, stream_windows
from .windows import AudioWindow, cut_at_pauses

__all__ = [
    "AudioWindow",
    "HeardWindow",
    "LogMel",
    "WindowStream",
    "cut_at_pauses",
    "load_audio",
    "load_waveform",
    "stream_windows",
]
