"""Settings of a sampler that do not depend on where and how fast it commits."""

from __future__ import annotations

import math
from dataclasses import dataclass

from ..errors import InvalidArgumentError
from .confidence import CONFIDENCES
from .credit import TraceCredit
from .guidance import ClassifierFreeGuidance

EOS_POLICIES = ("allow", "forbid", "delay")


@dataclass(frozen=True)
class SamplingOptions:
    """How tokens are chosen and how confidence is measured.

    Args:
        temperature: 0 is greedy; T > 0 samples from ``softmax(logits / T)``.
        guidance: classifier-free guidance, or None.
        confidence: ``"max_probability"`` of the chosen token, ``"margin"`` over the second
            token, ``"entropy"`` (negative), or ``"random"`` order.
        eos: ``"allow"``; ``"forbid"`` takes end tokens out of the distribution; ``"delay"``
            commits predicted end tokens after everything else.
        end_token_ids: what counts as an end token for ``eos``; None: the predictor's EOS.
        eos_stop: end a row as soon as every position before its first EOS is committed, and fill
            the rest with EOS.
        credit: make tokens surer that stay the best guess (:class:`.TraceCredit`); None: do not.
        trace: record when and how surely each position was committed.

    Raises:
        InvalidArgumentError: a value that is none of these.

    Example:
        The named samplers take these fields as keywords:

        >>> from dllm_audio import LowConfidenceSampler
        >>> sampler = LowConfidenceSampler(8, 16, confidence="margin", eos="delay")
        >>> sampler.options == SamplingOptions(confidence="margin", eos="delay")
        True
    """

    temperature: float = 0.0
    guidance: ClassifierFreeGuidance | None = None
    confidence: str = "max_probability"
    eos: str = "allow"
    end_token_ids: tuple[int, ...] | None = None
    eos_stop: bool = False
    credit: TraceCredit | None = None
    trace: bool = False

    def __post_init__(self) -> None:
        if not (self.temperature >= 0 and math.isfinite(self.temperature)):
            raise InvalidArgumentError("temperature", "a finite number >= 0", self.temperature)
        if self.confidence not in CONFIDENCES:
            raise InvalidArgumentError("confidence", f"one of {CONFIDENCES}", self.confidence)
        if self.eos not in EOS_POLICIES:
            raise InvalidArgumentError("eos", f"one of {EOS_POLICIES}", self.eos)
        if self.guidance is not None and not isinstance(self.guidance, ClassifierFreeGuidance):
            expected = "a ClassifierFreeGuidance or None"
            raise InvalidArgumentError("guidance", expected, type(self.guidance).__name__)
        if self.credit is not None and not isinstance(self.credit, TraceCredit):
            expected = "a TraceCredit or None"
            raise InvalidArgumentError("credit", expected, type(self.credit).__name__)
