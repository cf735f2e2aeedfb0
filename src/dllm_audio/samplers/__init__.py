"""Decoding: which positions, how sure, what is committed, what is reused."""

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
from .guidance import ClassifierFreeGuidance
from .named import BlockSampler, CachedParallelSampler, LowConfidenceSampler
from .options import SamplingOptions
from .sampler import DecodingStep, Sampler

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
    "LocalLeap",
    "LowConfidenceSampler",
    "Sampler",
    "SamplingOptions",
    "Threshold",
]
