"""The forward process: how clean text becomes masked text."""

from .masking import mask_tokens, sample_times
from .schedules import CosineSchedule, LinearSchedule, NoiseSchedule, PolynomialSchedule

__all__ = [
    "CosineSchedule",
    "LinearSchedule",
    "NoiseSchedule",
    "PolynomialSchedule",
    "mask_tokens",
    "sample_times",
]
