"""What the runner needs of a model: a batch of sounds and prompts in, texts out.

A ``Predictor`` writes its answers; a ``Chooser`` picks each out of the question's choices.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol, runtime_checkable

import torch
from torch import Tensor

from ..errors import InvalidArgumentError
from ..samplers import CachedParallelSampler

TEXTS = ("answer", "whole")
_DIGITS = 4  # of a probability, as the command prints them


@dataclass(frozen=True, slots=True)
class Predictions:
    """Answers of one batch.

    Attributes:
        texts: one answer a row.
        nfe: forward passes of the backbone that each row took part in.
        tokens: of each row's answer, without what is filled in behind its end.
        probabilities: of each row's choices; None where the answers were not chosen among some.
    """

    texts: list[str]
    nfe: list[int]
    tokens: list[int]
    probabilities: list[dict[str, float]] | None = None


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


@runtime_checkable
class Chooser(Protocol):
    """Chooses among the answers that each question allows; there is nothing to read in them.

    ``max_seconds`` and ``description`` are a ``Predictor``'s.
    """

    @property
    def max_seconds(self) -> float | None:
        """Longest audio it hears, None without a limit."""
        ...

    @property
    def description(self) -> Mapping[str, Any]:
        """What it is, for the report; it must say that answers were chosen."""
        ...

    def choose(
        self, audio: Sequence[Tensor], prompts: Sequence[str], choices: Sequence[Sequence[str]]
    ) -> Predictions:
        """Choose for a batch.

        Args:
            audio: mono 16 kHz waveforms ``[T]``.
            prompts: one a row.
            choices: the texts that may be answers, which differ, of every row.

        Returns:
            One of its choices as each row's text, and the probability of each choice.
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
        return _window(self.model)

    def __call__(
        self,
        audio: Sequence[Tensor | Sequence[Tensor]],
        prompts: Sequence[str],
        seeds: Sequence[int],
    ) -> Predictions:
        """Answer a batch; see ``Predictor``.  A question may be about several clips."""
        streams = [torch.Generator().manual_seed(seed) for seed in seeds]
        generation = self.model.generate(
            **_asked(audio, prompts), sampler=self.sampler, generator=streams
        )
        output = generation.output
        texts = list(generation.texts)
        if self.text == "whole":
            decode = self.model.tokenizer.decode
            texts = [decode(row, skip_special_tokens=True) for row in output.tokens.tolist()]
        return Predictions(texts, output.row_nfe.tolist(), output.lengths.tolist())


@dataclass(frozen=True)
class ModelChooser:
    """An ``AudioDiffusionLM`` that chooses among given answers: ``generate(choices=...)``.

    Choices that do not fit into a response of ``gen_length`` tokens get one of two, three, ...
    times that length, by themselves, so that a row's result depends on no other.

    Attributes:
        model: the model.
        sampler: only its ``gen_length`` and ``guidance`` count; None: the model's own default.
        description: what it is; ``answers`` and ``choose_by`` are added to it.
        device: where it computes.
        choose_by: ``"answer"``: how likely each choice is the whole answer; ``"beginning"``: how
            likely the answer begins with it, for letters.
    """

    model: Any
    sampler: Any = None
    description: Mapping[str, Any] = field(default_factory=dict)
    device: torch.device | str = "cpu"
    choose_by: str = "answer"

    def __post_init__(self) -> None:
        said = {**self.description, "answers": "choices", "choose_by": self.choose_by}
        object.__setattr__(self, "description", said)

    @property
    def max_seconds(self) -> float | None:
        """The encoder's window; None: no limit."""
        return _window(self.model)

    def choose(
        self, audio: Sequence[Tensor], prompts: Sequence[str], choices: Sequence[Sequence[str]]
    ) -> Predictions:
        """Choose for a batch; see ``Chooser``."""
        sampler = self.sampler or self.model.default_sampler()
        lengths = [self._length(each, sampler.gen_length) for each in choices]
        texts, nfe, tokens = [""] * len(prompts), [0] * len(prompts), [0] * len(prompts)
        probabilities: list[dict[str, float]] = [{} for _ in prompts]
        for length in sorted(set(lengths)):
            rows = [row for row, needed in enumerate(lengths) if needed == length]
            found = self.model.generate(
                audio=[audio[row] for row in rows],
                prompts=[prompts[row] for row in rows],
                choices=[choices[row] for row in rows],
                choose_by=self.choose_by,
                sampler=CachedParallelSampler(length, length, guidance=sampler.options.guidance),
            )
            for place, row in enumerate(rows):
                texts[row] = found.texts[place]
                nfe[row] = int(found.output.row_nfe[place])
                tokens[row] = int(found.output.lengths[place])
                chances = [round(chance, _DIGITS) for chance in found.choice_probabilities[place]]
                probabilities[row] = dict(zip(choices[row], chances, strict=True))
        return Predictions(texts, nfe, tokens, probabilities)

    def _length(self, choices: Sequence[str], gen_length: int) -> int:
        """The first multiple of ``gen_length`` that holds every choice and an end."""
        encode = self.model.tokenizer.encode
        longest = max((len(encode(c, add_special_tokens=False)) for c in choices), default=0)
        return gen_length * max(1, -(-(longest + 1) // gen_length))


def _asked(
    audio: Sequence[Tensor | Sequence[Tensor]], prompts: Sequence[str]
) -> dict[str, list[Any]]:
    """Arguments of ``generate``: conversations only where a question has several clips."""
    if all(isinstance(each, Tensor) for each in audio):
        return {"audio": list(audio), "prompts": list(prompts)}
    messages = []
    for clips, prompt in zip(audio, prompts, strict=True):
        heard = [clips] if isinstance(clips, Tensor) else clips
        blocks: list[dict[str, Any]] = [{"type": "audio", "audio": clip} for clip in heard]
        messages.append([{"role": "user", "content": [*blocks, {"type": "text", "text": prompt}]}])
    return {"messages": messages}


def _window(model: Any) -> float | None:
    window: float | None = model.encoder.window_seconds
    return window
