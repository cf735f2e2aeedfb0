"""Commit rules: which masked positions of a block become final in a step."""

from .base import CommitRule, CommitState
from .entropy_bound import EntropyBound
from .factor import Factor
from .hierarchical import Hierarchical
from .local_leap import LocalLeap
from .quota import FixedQuota
from .threshold import Threshold

__all__ = [
    "CommitRule",
    "CommitState",
    "EntropyBound",
    "Factor",
    "FixedQuota",
    "Hierarchical",
    "LocalLeap",
    "Threshold",
]
