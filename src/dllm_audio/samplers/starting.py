"""Starting from a text: fill in its gaps, or doubt its least certain words and decode them again.

A masked-diffusion model fills any set of positions, so both are ordinary decoding from a given
``start``: samplers keep every token that is not the mask.

Shape letters: B batch, R response tokens.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from ..errors import InvalidArgumentError, ShapeError
from ..outputs import SamplerOutput
from ..protocols import MaskPredictor
from .checks import check_integer, check_number
from .confidence import widen


def first_tokens(predictor: MaskPredictor, gen_length: int, start: Tensor | None) -> Tensor:
    """What a sampler begins from.

    Args:
        predictor: gives batch size, device, token ids, and perhaps a ``response_mask [B, R]``,
            whose padded positions hold EOS.
        gen_length: R.
        start: ``[B, R]`` int64 given tokens; None: all masks.

    Returns:
        ``[B, R]`` int64 of their own.

    Raises:
        ShapeError, InvalidArgumentError: what does not fit.
    """
    device = torch.device(getattr(predictor, "device", "cpu"))
    mask_id = int(_attribute(predictor, "mask_token_id"))
    if start is not None and not isinstance(start, Tensor):
        raise InvalidArgumentError("start", "a tensor of token ids, or None", type(start).__name__)
    check_start(predictor, gen_length, start)
    if start is None:
        size = (int(_attribute(predictor, "batch_size")), gen_length)
        tokens = torch.full(size, mask_id, device=device)
    else:
        batch = getattr(predictor, "batch_size", start.shape[0])
        if start.shape != (batch, gen_length) or start.is_floating_point():
            expected = f"int64 [{batch}, {gen_length}]"
            raise ShapeError("start", expected, f"{start.dtype} {list(start.shape)}")
        tokens = start.to(device=device, dtype=torch.long, copy=True)
        if bool((tokens < 0).any()):
            raise InvalidArgumentError("start", "token ids >= 0", int(tokens.min()))
    real: Tensor | None = getattr(predictor, "response_mask", None)
    if real is None:
        return tokens
    if real.shape != tokens.shape:
        raise ShapeError("response_mask", f"{list(tokens.shape)}", list(real.shape))
    eos_id = getattr(predictor, "eos_token_id", None)
    if eos_id is None:
        raise InvalidArgumentError("eos_token_id", "an id, to fill padded positions", None)
    return torch.where(real, tokens, eos_id)


def check_start(
    predictor: MaskPredictor, gen_length: int, start: Tensor | None, argument: str = "start"
) -> None:
    """What a predictor itself refuses, before anything of that size is allocated.

    Raises:
        InvalidArgumentError: more positions than it knows, or tokens that it does not.
    """
    check = getattr(predictor, "check_start", None)
    if check is not None:
        check(gen_length, start, argument)


def _attribute(predictor: MaskPredictor, name: str) -> int:
    value: int | None = getattr(predictor, name, None)
    if value is None:
        expected = f"a MaskPredictor with the attribute {name}"
        raise InvalidArgumentError("predictor", expected, type(predictor).__name__)
    return value


def infilling_start(
    rows: Sequence[Sequence[int | None]],
    gen_length: int,
    *,
    mask_token_id: int,
    end_token_id: int | None = None,
) -> Tensor:
    """A ``start`` for samplers from texts with gaps.

    Args:
        rows: a row's token ids, with None for every position to fill in.
        gen_length: R.
        mask_token_id: the predictor's.
        end_token_id: what follows a row's text: an end token closes it; None leaves the rest of
            the response to be filled in as well.

    Returns:
        ``[B, R]`` int64.

    Raises:
        InvalidArgumentError: a row longer than ``gen_length``.

    Example:
        >>> infilling_start([[5, None, None, 8]], 6, mask_token_id=99, end_token_id=0)
        tensor([[ 5, 99, 99,  8,  0,  0]])
    """
    check_integer("gen_length", gen_length)
    rest = mask_token_id if end_token_id is None else end_token_id
    start = torch.full((len(rows), gen_length), rest)
    for number, row in enumerate(rows):
        if len(row) > gen_length:
            raise InvalidArgumentError("rows", f"at most gen_length ({gen_length}) ids", len(row))
        ids = [mask_token_id if token is None else token for token in row]
        start[number, : len(row)] = torch.tensor(ids, dtype=torch.long)
    return start


def token_confidence(predictor: MaskPredictor, tokens: Tensor, passes: int = 1) -> Tensor:
    """How probable the model finds every token of a text, given the rest of it.

    Args:
        predictor: a ``MaskPredictor``.
        tokens: ``[B, R]`` int64 without masks.
        passes: 1 shows the model the whole text at once: cheap, but it also sees the token that
            it judges. ``n > 1`` hides every n-th position in each of n passes, so that no token
            is judged by itself.

    Returns:
        ``[B, R]`` probabilities, float32.

    Raises:
        ShapeError: ``tokens`` is not ``[B, R]`` with the predictor's B.
        InvalidArgumentError: ``passes`` below 1.

    Example:
        >>> class Uniform:
        ...     batch_size, mask_token_id, eos_token_id = 1, 7, 6
        ...     device = torch.device("cpu")
        ...     def __call__(self, x_t):
        ...         return torch.zeros(*x_t.shape, 8)
        >>> token_confidence(Uniform(), torch.tensor([[1, 2, 6]]), passes=2)
        tensor([[0.1250, 0.1250, 0.1250]])
    """
    if tokens.dim() != 2 or tokens.shape[0] != predictor.batch_size:
        raise ShapeError("tokens", f"[{predictor.batch_size}, R]", list(tokens.shape))
    check_integer("passes", passes)
    columns = torch.arange(tokens.shape[1], device=tokens.device)
    sure = torch.zeros(tokens.shape, device=tokens.device)
    for number in range(min(passes, tokens.shape[1])):
        judged = columns % passes == number
        seen = tokens
        if passes > 1:
            seen = torch.where(judged, predictor.mask_token_id, tokens)
        logits = widen(predictor(seen))
        chosen = logits.gather(-1, tokens[..., None])[..., 0]
        sure = torch.where(judged, (chosen - logits.logsumexp(-1)).exp().float(), sure)
    return sure


def remask(
    tokens: Tensor,
    confidence: Tensor,
    fraction: float,
    *,
    mask_token_id: int,
    lengths: Tensor | None = None,
) -> Tensor:
    """Mask the least confident tokens of each row again.

    Args:
        tokens: ``[B, R]`` int64.
        confidence: ``[B, R]``; NaN where a token must stay (as in a trace, where it was given).
        fraction: share of a row's tokens, in [0, 1]; rounded up.
        mask_token_id: the predictor's.
        lengths: ``[B]`` tokens of each row that count; later ones stay. None: all.

    Returns:
        ``[B, R]`` int64: a ``start`` for samplers.

    Raises:
        ShapeError: ``confidence`` has another shape than ``tokens``.
        InvalidArgumentError: a fraction outside [0, 1].

    Example:
        >>> remask(torch.tensor([[5, 6, 7]]), torch.tensor([[0.9, 0.2, 0.8]]), 0.3, mask_token_id=0)
        tensor([[5, 0, 7]])
    """
    check_number("fraction", fraction, 0, "a number in [0, 1]", high=1)
    if confidence.shape != tokens.shape:
        raise ShapeError("confidence", f"{list(tokens.shape)}", list(confidence.shape))
    movable = ~confidence.isnan()
    if lengths is not None:
        movable &= torch.arange(tokens.shape[1], device=tokens.device) < lengths[:, None]
    # A hair below the ceiling: 0.3 of 10 tokens are 3, not 4.
    count = (fraction * movable.sum(-1, dtype=torch.float64) - 1e-9).ceil().long()
    order = confidence.masked_fill(~movable, float("inf")).argsort(dim=-1, stable=True)
    rank = torch.empty_like(order)
    rank.scatter_(-1, order, torch.arange(order.shape[1], device=order.device).expand_as(order))
    return tokens.masked_fill(movable & (rank < count[:, None]), mask_token_id)


def deliberate(
    sampler: Any,
    predictor: MaskPredictor,
    hypothesis: SamplerOutput,
    *,
    fraction: float = 0.3,
    passes: int = 1,
    **options: Any,
) -> SamplerOutput:
    """Decode the least confident part of a hypothesis again.

    The confidence is the hypothesis' own where it was traced; otherwise the model judges the text
    in ``passes`` forward passes (see :func:`token_confidence`), which count.

    Args:
        sampler: decodes the masked positions; its ``gen_length`` is the hypothesis' length.
        predictor: the same prompt and audio.
        hypothesis: a first answer; tokens from its first EOS on stay.
        fraction: share of each row's tokens that is decoded again (arXiv 2509.16622 uses 0.3).
        passes: see :func:`token_confidence`.
        options: passed to the sampler (``generator=``).

    Returns:
        The sampler's output; ``nfe`` and ``row_nfe`` count the judging passes too, but not those
        of the hypothesis.

    Raises:
        ShapeError, InvalidArgumentError: a hypothesis that does not fit sampler and predictor, or
            a fraction outside [0, 1].

    Example:
        >>> from dllm_audio import LLaDA, LLaDAConfig, LowConfidenceSampler, condition
        >>> backbone = LLaDA(LLaDAConfig(d_model=32, n_layers=1, n_heads=2, mlp_hidden_size=64,
        ...                              vocab_size=50, mask_token_id=49, eos_token_id=48))
        >>> predictor = condition(backbone, torch.tensor([[1, 2, 3]]))
        >>> sampler = LowConfidenceSampler(steps=4, gen_length=10, eos="forbid", trace=True)
        >>> hypothesis = sampler(predictor)
        >>> output = deliberate(sampler, predictor, hypothesis)
        >>> int((output.trace.step >= 0).sum())  # 3 of 10 were decoded again
        3
    """
    trace, spent = hypothesis.trace, 0
    if trace is not None:
        confidence = trace.confidence
    else:
        with torch.inference_mode():
            confidence = token_confidence(predictor, hypothesis.tokens, passes)
        spent = min(passes, hypothesis.tokens.shape[1])
    start = remask(
        hypothesis.tokens,
        confidence,
        fraction,
        mask_token_id=predictor.mask_token_id,
        lengths=hypothesis.lengths,
    )
    output = sampler(predictor, start=start, **options)
    return replace(output, nfe=output.nfe + spent, row_nfe=output.row_nfe + spent)
