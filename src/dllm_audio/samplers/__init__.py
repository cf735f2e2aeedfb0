"""Decoding: which positions, how sure, what is committed, what is reused."""

from . import presets
from .cache_policy import CachePolicy
from .commit import (
    CommitRule,
    CommitState,
    EntropyBound,
    Factor,
    FixedQuota,
    Hierarchical,
    LocalLeap,
    Threshold,
)
from .credit import TraceCredit
from .guidance import ClassifierFreeGuidance
from .lengths import LengthRule, response_mask
from .named import BlockSampler, CachedParallelSampler, LowConfidenceSampler
from .options import SamplingOptions
from .sampler import DecodingStep, Sampler
from .starting import deliberate, infilling_start, remask, token_confidence
from .streaming import stream_to

__all__ = [
    "BlockSampler",
    "CachePolicy",
    "CachedParallelSampler",
    "ClassifierFreeGuidance",
    "CommitRule",
    "CommitState",
    "DecodingStep",
    "EntropyBound",
    "Factor",
    "FixedQuota",
    "Hierarchical",
    "LengthRule",
    "LocalLeap",
    "LowConfidenceSampler",
    "Sampler",
    "SamplingOptions",
    "Threshold",
    "TraceCredit",
    "deliberate",
    "infilling_start",
    "presets",
    "remask",
    "response_mask",
    "stream_to",
    "token_confidence",
]
