"""From logits to tokens, and how sure the model is of them: the step "choose" of the loop.

Shape letters: B rows of the batch, N rows in work, C positions of the active block, M positions
whose logits were computed, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ..errors import InvalidArgumentError
from .checks import check_choice, check_flag, check_integer, check_number, shown
from .commit import CommitRule
from .confidence import (
    CONFIDENCES,
    CreditAccount,
    DriftAccount,
    TraceCredit,
    best_token,
    entropy,
    fine_probability,
    gap,
    margin,
    widen,
)
from .guidance import ClassifierFreeGuidance

CONTEXTS = ("full", "prefix")
EOS_POLICIES = ("allow", "forbid", "delay", "exclude")
Generators = torch.Generator | Sequence[torch.Generator] | None
# Puts delayed end tokens behind everything else, in order among themselves: more than any
# confidence or entropy (log V).
_DELAY = 16.0


@dataclass(frozen=True)
class SamplingOptions:
    """How tokens are chosen and how confidence is measured.

    Args:
        temperature: 0 is greedy; T > 0 samples from ``softmax(logits / T)``.
        guidance: classifier-free guidance, or None.
        confidence: ``"max_probability"`` of the chosen token, ``"margin"`` over the second
            token, ``"entropy"`` (negative), or ``"random"`` order.
        eos: ``"allow"``; ``"forbid"`` takes end tokens out of the distribution; ``"delay"``
            commits predicted end tokens after everything else; ``"exclude"`` does that too and
            measures how sure the other tokens are in a distribution without end tokens (LLaDA's
            ``confidence_eos_eot_inf``, with the ids of EOS and end of turn in ``end_token_ids``).
        end_token_ids: what counts as an end token for ``eos``; None: the predictor's EOS.
        eos_stop: end a row as soon as every position before its first EOS is committed, and fill
            the rest with EOS.
        credit: make tokens surer that stay the best guess (:class:`.TraceCredit`); None: do not.
        trace: record when and how surely each position was committed.
        context: ``"full"``: the model sees the whole response, with the masks of blocks to come;
            ``"prefix"``: what is before the block's end, as a server that decodes block by block
            computes it.

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
    context: str = "full"

    def __post_init__(self) -> None:
        check_number("temperature", self.temperature, 0)
        check_choice("confidence", self.confidence, CONFIDENCES)
        check_choice("eos", self.eos, EOS_POLICIES)
        check_choice("context", self.context, CONTEXTS)
        if self.end_token_ids is not None:
            if not isinstance(self.end_token_ids, tuple | list):
                got = type(self.end_token_ids).__name__
                raise InvalidArgumentError("end_token_ids", "token ids or None", got)
            for token in self.end_token_ids:
                check_integer("end_token_ids", token, 0, 2**31)
            object.__setattr__(self, "end_token_ids", tuple(self.end_token_ids))
        for name in ("eos_stop", "trace"):
            check_flag(name, getattr(self, name))
        for name, kind in (("guidance", ClassifierFreeGuidance), ("credit", TraceCredit)):
            value = getattr(self, name)
            if value is not None and not isinstance(value, kind):
                expected = f"a {kind.__name__} or None"
                raise InvalidArgumentError(name, expected, type(value).__name__)


@dataclass(frozen=True, slots=True)
class Guess:
    """What the model would commit at each position of the block.

    Attributes:
        tokens: ``[N, C]`` int64; never the mask id.
        sureness: ``[N, C]`` the confidence as measured; ``-inf`` where nothing is masked.
        confidence: ``[N, C]`` as commit rules see it, delayed tokens last.
        entropy: ``[N, C]`` in nats, ``inf`` where nothing is masked; None where nobody asked.
        gap: ``[N, C]`` largest logit minus the second; None where nobody asked.
        divergence: ``[H, N, C]`` see :class:`.DriftAccount`; None where nobody asked.
    """

    tokens: Tensor
    sureness: Tensor
    confidence: Tensor
    entropy: Tensor | None
    gap: Tensor | None = None
    divergence: Tensor | None = None


class Chooser:
    """Applies credit, temperature, EOS options and the confidence that was asked for.

    Args:
        options: the sampler's settings.
        tokens: ``[B, R]`` of the batch, for its size and device.
        mask_id: never chosen.
        eos_id: the predictor's.
        rule: what it wants to know beside confidences; None: nothing.
        generator: see :class:`RowStreams`.

    Raises:
        InvalidArgumentError: an EOS option without an end token, or a wrong number of generators.
    """

    def __init__(
        self,
        options: SamplingOptions,
        tokens: Tensor,
        mask_id: int,
        eos_id: int | None,
        rule: CommitRule | None = None,
        generator: Generators = None,
    ) -> None:
        self.options = options
        self._mask_id = mask_id
        self._needs_entropy = rule is not None and rule.needs_entropy
        self._needs_gap = rule is not None and rule.needs_gap
        ends = options.end_token_ids
        if ends is None:
            ends = () if eos_id is None else (eos_id,)
        if options.eos != "allow" and not ends:
            expected = "'allow' (the predictor has no EOS id, and end_token_ids names none)"
            raise InvalidArgumentError("eos", expected, options.eos)
        self._end_ids = torch.tensor(ends, dtype=torch.long, device=tokens.device)
        self._streams: RowStreams | None = None
        if options.temperature > 0 or options.confidence == "random":
            self._streams = RowStreams(tokens.shape[0], generator, tokens.device)
        self._account: CreditAccount | None = None
        if options.credit is not None:
            self._account = CreditAccount(options.credit, tokens.shape[0], mask_id)
        self._drift: DriftAccount | None = None
        if rule is not None and rule.history:
            self._drift = DriftAccount(rule.history, tokens.shape[0])

    def begin_block(self, low: int, high: int) -> None:
        """Forget what belongs to the block before; ``[low, high)`` will be predicted now."""
        if self._account is not None:
            self._account.clear()
        if self._drift is not None:
            self._drift.begin_block(low, high)

    @property
    def needs_all(self) -> bool:
        """Whether the logits of all watched positions are needed, in order, masked or not."""
        return self._needs_gap or self._drift is not None

    def __call__(
        self,
        logits: Tensor,
        where: Tensor | None,
        candidates: Tensor,
        rows: Tensor | None,
        deciding: Sequence[int | None],
    ) -> Guess:
        """Tokens, confidences and entropies.

        Args:
            logits: ``[N, M, V]``; not changed.
            where: ``[N, M]`` block positions of the logits, all candidates among them; None: all
                C in order.
            candidates: ``[N, C]`` bool, True = still masked.
            rows: ``[N]`` which rows of the batch these are; None: all.
            deciding: the same on the host, with None for rows that wait for others.
        """
        options, width = self.options, candidates.shape[1]
        logits = widen(logits)
        distance = gap(logits) if self._needs_gap else None
        moved = None if self._drift is None else self._drift(logits, rows, deciding)
        if self._account is not None:
            logits = self._account(logits, where, width, rows)
        if options.eos == "forbid":
            logits = logits.index_fill(-1, self._end_ids, float("-inf"))
        tokens, sureness, spread = self._measure(
            logits, self._noise(logits, where, deciding, width)
        )
        tokens, sureness = _spread(tokens, where, width), _spread(sureness, where, width)
        if options.confidence == "random" and self._streams is not None:
            drawn = self._streams.uniform(deciding, (width,), torch.float32)
            # Adding nothing but NaN, so that broken logits still show.
            sureness = drawn + 0 * sureness
        sureness = sureness.masked_fill(~candidates, float("-inf"))
        if spread is not None:
            spread = _spread(spread, where, width).masked_fill(~candidates, float("inf"))
        confidence = sureness
        if options.eos in ("delay", "exclude"):
            ends = torch.isin(tokens, self._end_ids)
            # In order among themselves, or (without them in the distribution) from left to right.
            scale = float(options.eos == "delay")
            confidence = torch.where(ends & candidates, scale * sureness - _DELAY, sureness)
            if spread is not None:
                spread = torch.where(ends & candidates, scale * spread + _DELAY, spread)
        return Guess(tokens, sureness, confidence, spread, distance, moved)

    def _measure(
        self, logits: Tensor, noise: Tensor | None
    ) -> tuple[Tensor, Tensor, Tensor | None]:
        """Tokens, their confidence and, where needed, the entropy, each ``[N, M]``.

        In float32 (float64 stays float64), but for probabilities, which :func:`.fine_probability`
        tells apart. The mask id stays in the normalization, as in the reference implementation,
        but is never chosen.
        """
        if noise is None:
            chosen, tokens = best_token(logits, self._mask_id)
        else:
            _, tokens = best_token(logits.double() + noise, self._mask_id)
            chosen = logits.gather(-1, tokens)
        sureness, spread = self._sureness(logits, chosen, tokens)
        if self.options.eos == "exclude":
            words = logits.index_fill(-1, self._end_ids, float("-inf"))
            ends = torch.isin(tokens, self._end_ids)
            # An end token is as sure as among all tokens; it comes last whatever that is.
            among, around = self._sureness(words, chosen.masked_fill(ends, 0.0), tokens)
            sureness = torch.where(ends[..., 0], sureness, among)
            if spread is not None and around is not None:
                spread = torch.where(ends[..., 0], spread, around)
        return tokens[..., 0], sureness, spread if self._needs_entropy else None

    def _sureness(
        self, logits: Tensor, chosen: Tensor, tokens: Tensor
    ) -> tuple[Tensor, Tensor | None]:
        """Confidence and, where needed, entropy of the distribution, each ``[N, M]``."""
        measure = self.options.confidence
        spread = entropy(logits) if self._needs_entropy or measure == "entropy" else None
        if measure == "margin":
            return margin(logits, self._mask_id), spread
        if measure == "entropy" and spread is not None:
            return -spread, spread
        return fine_probability(logits, chosen, tokens), spread

    def _noise(
        self, logits: Tensor, where: Tensor | None, deciding: Sequence[int | None], width: int
    ) -> Tensor | None:
        if self.options.temperature == 0 or self._streams is None:
            return None
        # Numbers for the whole block, so that what a row draws depends on that row alone.
        shape = (width, logits.shape[-1])
        uniform = self._streams.uniform(deciding, shape, torch.float64)
        if where is not None:
            uniform = uniform.gather(1, where[..., None].expand(-1, -1, shape[1]))
        return gumbel_noise(uniform, self.options.temperature)


class RowStreams:
    """One stream of random numbers a row, so that its samples do not depend on its batch.

    Args:
        batch_size: rows B.
        generator: one generator a row; or one for all, from which every row's own stream is
            seeded; or None, which seeds from torch's global generator.
        device: where the numbers are needed; streams that are made here live there.

    Raises:
        InvalidArgumentError: a number of generators other than B.
    """

    def __init__(
        self, batch_size: int, generator: Generators = None, device: torch.device | str = "cpu"
    ) -> None:
        self.device = torch.device(device)
        if generator is None or isinstance(generator, torch.Generator):
            source = "cpu" if generator is None else generator.device
            seeds = torch.randint(2**62, (batch_size,), generator=generator, device=source)
            self._generators = [torch.Generator(device).manual_seed(s) for s in seeds.tolist()]
        else:
            self._generators = list(generator) if isinstance(generator, Sequence) else []
        expected = f"one generator a row ({batch_size}), one for all, or None"
        if not all(isinstance(each, torch.Generator) for each in self._generators):
            raise InvalidArgumentError("generator", expected, shown(generator))
        if len(self._generators) != batch_size:
            raise InvalidArgumentError("generator", expected, len(self._generators))

    def uniform(
        self, rows: Sequence[int | None], shape: tuple[int, ...], dtype: torch.dtype
    ) -> Tensor:
        """Uniform numbers in [0, 1), ``[len(rows), *shape]``, each row from its own stream.

        A row given as None draws nothing and gets zeros, so that a row that waits for others
        does not advance.
        """
        drawn = torch.zeros(len(rows), *shape, dtype=dtype, device=self.device)
        for place, row in enumerate(rows):
            if row is None:
                continue
            stream = self._generators[row]
            if stream.device == self.device:
                torch.rand(shape, generator=stream, dtype=dtype, out=drawn[place])
            else:
                numbers = torch.rand(shape, generator=stream, device=stream.device, dtype=dtype)
                drawn[place].copy_(numbers)
        return drawn


def gumbel_noise(uniform: Tensor, temperature: float) -> Tensor:
    """Noise that turns an arg-max into a sample of ``softmax(logits / temperature)``.

    ``arg max exp(l) / (-log u)^T`` is ``arg max l - T log(-log u)``; in float64, because float32
    noise makes likely tokens likelier (arXiv 2409.02908).

    Args:
        uniform: float64 in [0, 1).
        temperature: T > 0.
    """
    tiny = torch.finfo(uniform.dtype).tiny
    return -temperature * (-uniform.clamp(min=tiny).log()).clamp(min=tiny).log()


def _spread(values: Tensor, where: Tensor | None, width: int) -> Tensor:
    """Put values ``[N, M]`` at block positions ``where``; zero elsewhere."""
    if where is None:
        return values
    return values.new_zeros(values.shape[0], width).scatter(1, where, values)
