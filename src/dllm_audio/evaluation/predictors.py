"""What the runner needs of a model: a batch of sounds and prompts in, texts out."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from torch import Tensor


@dataclass(frozen=True, slots=True)
class Predictions:
    """Answers of one batch.

    Attributes:
        texts: one answer a row.
        nfe: forward passes of the backbone that each row took part in.
        tokens: response tokens that were decoded for each row.
    """

    texts: list[str]
    nfe: list[int]
    tokens: list[int]


class Predictor(Protocol):
    """Answers batches; anything that looks like this can be evaluated."""

    @property
    def max_seconds(self) -> float | None:
        """Longest audio it hears; the runner cuts longer recordings.  None: no limit."""
        ...

    @property
    def description(self) -> Mapping[str, Any]:
        """What it is, for the report: model, sampler, dtype, seed ..."""
        ...

    def __call__(self, audio: list[Tensor], prompts: list[str]) -> Predictions:
        """Answer a batch of mono 16 kHz waveforms ``[T]`` and prompts."""
        ...


@dataclass(frozen=True)
class FunctionPredictor:
    """Wrap any function of audio and prompt as a predictor: another system, an API, a baseline.

    Attributes:
        function: waveform ``[T]`` at 16 kHz and prompt to answer.
        description: what it is.
        max_seconds: longest audio it hears; None: no limit.

    Example:
        >>> import torch
        >>> always_a = FunctionPredictor(lambda audio, prompt: "A", {"model": "always A"})
        >>> always_a([torch.zeros(16000)], ["Which?"]).texts
        ['A']
    """

    function: Callable[[Tensor, str], str]
    description: Mapping[str, Any] = field(default_factory=dict)
    max_seconds: float | None = None

    def __call__(self, audio: list[Tensor], prompts: list[str]) -> Predictions:
        """Answer one row after another; no forward passes are known."""
        texts = [self.function(a, p) for a, p in zip(audio, prompts, strict=True)]
        return Predictions(texts, [0] * len(texts), [0] * len(texts))


@dataclass(frozen=True)
class ModelPredictor:
    """An ``AudioDiffusionLM`` with a sampler.

    Attributes:
        model: the model.
        sampler: how a response is decoded.
        description: what it is.
        max_seconds: the encoder's window.
    """

    model: Any
    sampler: Any
    description: Mapping[str, Any]
    max_seconds: float | None

    def __call__(self, audio: list[Tensor], prompts: list[str]) -> Predictions:
        """Answer a batch; see ``Predictor``."""
        output = self.model.generate(audio=audio, prompts=prompts, sampler=self.sampler)
        rows, length = output.sampler_output.tokens.shape
        return Predictions(
            list(output.texts), output.sampler_output.row_nfe.tolist(), [length] * rows
        )
