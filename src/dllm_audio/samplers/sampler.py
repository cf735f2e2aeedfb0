"""The sampler: roles in, one short loop, tokens out."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ..errors import InvalidArgumentError
from ..outputs import SamplerOutput
from .cache_policy import CachePolicy
from .canvas import Canvas
from .choice import Choice
from .commit import CommitRule, FixedQuota
from .options import SamplingOptions
from .randomness import Generators
from .run import DecodingRun


@dataclass(frozen=True, slots=True)
class DecodingStep:
    """The responses after one forward pass.

    Attributes:
        nfe: forward passes so far.
        tokens: ``[B, R]`` int64; the mask id where nothing is committed yet.
        output: the result, in the last step only.

    Example:
        >>> from dllm_audio import LLaDA, LLaDAConfig, LowConfidenceSampler, condition
        >>> backbone = LLaDA(LLaDAConfig(d_model=32, n_layers=1, n_heads=2, mlp_hidden_size=64,
        ...                              vocab_size=50, mask_token_id=49, eos_token_id=48))
        >>> predictor = condition(backbone, torch.tensor([[1, 2, 3]]))
        >>> sampler = LowConfidenceSampler(steps=2, gen_length=8)
        >>> [(step.nfe, int((step.tokens == 49).sum())) for step in sampler.stream(predictor)]
        [(1, 4), (2, 0), (2, 0)]
    """

    nfe: int
    tokens: Tensor
    output: SamplerOutput | None = None


class Sampler:
    """Decodes block after block with injected roles.

    The named samplers are thin settings of this class.

    Args:
        gen_length: response positions R; with ``eos_stop`` an upper bound.
        block_length: positions of a block; the last block may be shorter.
        commit: what becomes final in a step.
        cache: what is recomputed in a step.
        options: temperature, guidance, confidence, EOS handling, trace.
        steps: most forward passes for the whole response: the last one of a block's share
            commits all that is left of it; None sets no bound.

    Raises:
        InvalidArgumentError: a length or ``steps`` below 1, fewer steps than blocks, or a
            ``commit`` that is no :class:`.CommitRule`.

    Example:
        A predictor that is sure of token 5 everywhere, so that every block takes one pass:

        >>> from dllm_audio import Threshold
        >>> class Sure:
        ...     batch_size, mask_token_id, eos_token_id = 1, 7, 6
        ...     device = torch.device("cpu")
        ...     def __call__(self, x_t):
        ...         return 20 * torch.eye(8)[5].expand(*x_t.shape, 8)
        >>> output = Sampler(gen_length=8, block_length=4, commit=Threshold(0.9))(Sure())
        >>> output.tokens, output.nfe
        (tensor([[5, 5, 5, 5, 5, 5, 5, 5]]), 2)
    """

    def __init__(
        self,
        gen_length: int,
        block_length: int,
        commit: CommitRule,
        cache: CachePolicy | None = None,
        options: SamplingOptions | None = None,
        steps: int | None = None,
    ) -> None:
        for name, value in (("gen_length", gen_length), ("block_length", block_length)):
            if isinstance(value, bool) or not isinstance(value, int) or value < 1:
                raise InvalidArgumentError(name, "an integer >= 1", value)
        if not isinstance(commit, CommitRule):
            raise InvalidArgumentError("commit", "a CommitRule", type(commit).__name__)
        self.gen_length = gen_length
        self.block_length = block_length
        self.commit = commit
        self.cache = CachePolicy() if cache is None else cache
        self.options = SamplingOptions() if options is None else options
        self.steps = steps
        self.plan()

    def __repr__(self) -> str:
        fields = ", ".join(f"{name}={value!r}" for name, value in vars(self).items())
        return f"{type(self).__name__}({fields})"

    def bounds(self) -> list[tuple[int, int]]:
        """Blocks ``[start, end)`` of the response, left to right."""
        starts = range(0, self.gen_length, self.block_length)
        return [(start, min(start + self.block_length, self.gen_length)) for start in starts]

    def plan(self) -> list[int | None]:
        """Forward passes that each block may take; None where there is no bound."""
        lengths = [end - start for start, end in self.bounds()]
        bound = self.commit if self.steps is None else FixedQuota(self.steps)
        return bound.plan(lengths)

    def __call__(
        self, predictor: Any, *, start: Tensor | None = None, generator: Generators = None
    ) -> SamplerOutput:
        """Decode a batch.

        Args:
            predictor: a ``MaskPredictor``, for example from :func:`dllm_audio.condition`.
            start: ``[B, R]`` int64 tokens to begin from: positions that hold the mask id are
                filled in, all others stay as they are; None: everything is masked.
            generator: for temperature and random confidence: one a row, or one for all.

        Returns:
            Tokens ``[B, R]`` and lengths ``[B]`` int64 without any mask left, the forward passes
            of the batch and of each row, and the trace where ``options.trace`` is on.

        Raises:
            InvalidArgumentError, ShapeError: arguments that do not fit the predictor.
            NonFiniteLogitsError: the predictor returned NaN.
        """
        run = self._run(predictor, start, generator)
        with torch.inference_mode():
            for _ in run.steps(self.bounds(), self.plan()):
                pass
        return run.output()  # out here, so that the result may take part in training

    def stream(
        self, predictor: Any, *, start: Tensor | None = None, generator: Generators = None
    ) -> Iterator[DecodingStep]:
        """Decode a batch step by step.

        Args:
            predictor: as in a call.
            start: as in a call.
            generator: as in a call.

        Yields:
            The responses after every forward pass; the last step carries the output.

        Raises:
            InvalidArgumentError, ShapeError, NonFiniteLogitsError: as in a call.
        """
        run = self._run(predictor, start, generator)
        steps = run.steps(self.bounds(), self.plan())
        while True:
            with torch.inference_mode():
                nfe = next(steps, None)
            if nfe is None:
                break
            yield DecodingStep(nfe, run.canvas.tokens.clone())
        output = run.output()
        yield DecodingStep(output.nfe, output.tokens, output)

    def _run(self, predictor: Any, start: Tensor | None, generator: Generators) -> DecodingRun:
        options = self.options
        canvas = Canvas(predictor, self.gen_length, start, options.eos_stop)
        choice = Choice(options, canvas, self.commit.needs_entropy, generator)
        if options.guidance is not None:
            predictor = options.guidance.wrap(predictor)
        return DecodingRun(predictor, canvas, choice, self.commit, self.cache, options.trace)
