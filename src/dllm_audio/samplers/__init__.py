"""Decoding: which positions, how sure, what is committed, what is reused."""

from . import presets
from .adaptive import AdaptiveSampler
from .cache import CachePolicy
from .choices import Chosen, choose_among
from .choosing import SamplingOptions
from .commit import (
    CommitRule,
    CommitState,
    EntropyBound,
    Factor,
    FixedQuota,
    Hierarchical,
    LocalLeap,
    Threshold,
    TimestepQuota,
)
from .confidence import TraceCredit
from .guidance import ClassifierFreeGuidance
from .length_policies import DAEDAL, LengthPolicy, RhoEOS
from .lengths import LengthRule, response_mask
from .loop import Sampler
from .named import (
    BlockSampler,
    CachedParallelSampler,
    EditingSampler,
    LowConfidenceSampler,
    RemaskingSampler,
    WINOSampler,
    from_dict,
)
from .presets import PRESETS, preset
from .revising import Draft, RevisingRule, Revision
from .revisions import WINO, Editing, Remasking
from .starting import deliberate, infilling_start, remask, token_confidence
from .state import DecodingStep
from .streaming import decided, partial_text, stream_to
from .watching import KLASS, Prophet

__all__ = [
    "DAEDAL",
    "KLASS",
    "PRESETS",
    "WINO",
    "AdaptiveSampler",
    "BlockSampler",
    "CachePolicy",
    "CachedParallelSampler",
    "Chosen",
    "ClassifierFreeGuidance",
    "CommitRule",
    "CommitState",
    "DecodingStep",
    "Draft",
    "Editing",
    "EditingSampler",
    "EntropyBound",
    "Factor",
    "FixedQuota",
    "Hierarchical",
    "LengthPolicy",
    "LengthRule",
    "LocalLeap",
    "LowConfidenceSampler",
    "Prophet",
    "Remasking",
    "RemaskingSampler",
    "RevisingRule",
    "Revision",
    "RhoEOS",
    "Sampler",
    "SamplingOptions",
    "Threshold",
    "TimestepQuota",
    "TraceCredit",
    "WINOSampler",
    "choose_among",
    "decided",
    "deliberate",
    "from_dict",
    "infilling_start",
    "partial_text",
    "preset",
    "presets",
    "remask",
    "response_mask",
    "stream_to",
    "token_confidence",
]
