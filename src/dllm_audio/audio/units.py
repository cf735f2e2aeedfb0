"""Units of the log-mel front end: 16000 Hz samples -> 100 Hz mel frames."""

from __future__ import annotations

from typing import Final

SAMPLING_RATE: Final = 16_000  # samples per second
N_FFT: Final = 400  # samples of one analysis window (25 ms)
HOP_LENGTH: Final = 160  # samples between two frames (10 ms)
FRAMES_PER_SECOND: Final = SAMPLING_RATE // HOP_LENGTH
CHUNK_LENGTH: Final = 30.0  # seconds that a published Whisper encoder hears at once

# Rates in Hz that a sound may have: below are mistakes (16 for 16 kHz) and damaged headers, which
# would be resampled to something that fills the memory.
MIN_RATE: Final = 1_000
MAX_RATE: Final = 1_000_000
