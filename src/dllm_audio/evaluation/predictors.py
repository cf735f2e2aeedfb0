"""What the runner needs of a model: a batch of sounds and prompts in, texts out."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import torch
from torch import Tensor

from ..errors import InvalidArgumentError

TEXTS = ("answer", "whole")


@dataclass(frozen=True, slots=True)
class Predictions:
    """Answers of one batch.

    Attributes:
        texts: one answer a row.
        nfe: forward passes of the backbone that each row took part in.
        tokens: of each row's answer, without what is filled in behind its end.
    """

    texts: list[str]
    nfe: list[int]
    tokens: list[int]


class Predictor(Protocol):
    """Answers batches; anything that looks like this can be evaluated."""

    @property
    def max_seconds(self) -> float | None:
        """Longest audio it hears, None without a limit; the runner cuts longer recordings."""
        ...

    @property
    def description(self) -> Mapping[str, Any]:
        """What it is, for the report (model, sampler, dtype, seed ...)."""
        ...

    def __call__(
        self, audio: Sequence[Tensor], prompts: Sequence[str], seeds: Sequence[int]
    ) -> Predictions:
        """Answer a batch.

        Args:
            audio: mono 16 kHz waveforms ``[T]``.
            prompts: one a row.
            seeds: one a row, for whoever samples; fixed by the run's seed and the row's id, so
                that a row's answer depends neither on its batch nor on interruptions.
        """
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
        >>> always_a([torch.zeros(16000)], ["Which?"], [0]).texts
        ['A']
    """

    function: Callable[[Tensor, str], str]
    description: Mapping[str, Any] = field(default_factory=dict)
    max_seconds: float | None = None

    def __call__(
        self, audio: Sequence[Tensor], prompts: Sequence[str], seeds: Sequence[int]
    ) -> Predictions:
        """Answer one row after another; no forward passes are known."""
        texts = [self.function(a, p) for a, p in zip(audio, prompts, strict=True)]
        return Predictions(texts, [0] * len(texts), [0] * len(texts))


@dataclass(frozen=True)
class ModelPredictor:
    """An ``AudioDiffusionLM`` with a sampler.

    Attributes:
        model: the model.
        sampler: how a response is decoded; None: the model's own default.
        description: what it is; ``text`` is added to it where it is not the default.
        device: where it computes.
        text: ``"answer"``: up to its first end token; ``"whole"``: the whole response without
            special tokens, as the published scripts decode it.
    """

    model: Any
    sampler: Any = None
    description: Mapping[str, Any] = field(default_factory=dict)
    device: torch.device | str = "cpu"
    text: str = "answer"

    def __post_init__(self) -> None:
        if self.text not in TEXTS:
            raise InvalidArgumentError("text", '"answer" or "whole"', repr(self.text))
        if self.text != TEXTS[0]:
            object.__setattr__(self, "description", {**self.description, "text": self.text})

    @property
    def max_seconds(self) -> float | None:
        """The encoder's window; None: no limit."""
        window: float | None = self.model.encoder.window_seconds
        return window

    def __call__(
        self, audio: Sequence[Tensor], prompts: Sequence[str], seeds: Sequence[int]
    ) -> Predictions:
        """Answer a batch; see ``Predictor``."""
        streams = [torch.Generator().manual_seed(seed) for seed in seeds]
        generation = self.model.generate(
            audio=list(audio), prompts=list(prompts), sampler=self.sampler, generator=streams
        )
        output = generation.output
        texts = list(generation.texts)
        if self.text == "whole":
            decode = self.model.tokenizer.decode
            texts = [decode(row, skip_special_tokens=True) for row in output.tokens.tolist()]
        return Predictions(texts, output.row_nfe.tolist(), output.lengths.tolist())
