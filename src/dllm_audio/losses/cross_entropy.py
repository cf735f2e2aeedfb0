"""Cross-entropy of the masked response tokens only, without ever holding ``[B, R, V]`` logits.

Masked positions are the only ones that enter a masked-diffusion loss or an ELBO, so only their
rows need the output head.  With a vocabulary of 126464 even those rows are large; they are worked
off in chunks, and no chunk's logits survive it.

Shape letters: B batch, R response tokens, M masked tokens of the batch, D width, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol, runtime_checkable

import torch
from torch import Tensor
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

from ..errors import InvalidArgumentError, ShapeError
from ..protocols import MaskPredictor

# 128 rows of a 126464 wide float32 head are 65 MB.
DEFAULT_CHUNK_ROWS = 128

Head = Callable[[Tensor], Tensor]


@runtime_checkable
class HiddenPredictor(Protocol):
    """A predictor whose output head can be run apart, on some of the rows."""

    def hidden(self, x_t: Tensor) -> Tensor:
        """Final hidden states ``[B, R, D]`` of the response positions of ``x_t [B, R]``."""
        ...

    def head(self, hidden: Tensor) -> Tensor:
        """Logits ``[..., V]`` of hidden states ``[..., D]``."""
        ...


def masked_cross_entropy(
    predictor: MaskPredictor,
    x_t: Tensor,
    x_0: Tensor,
    mask: Tensor,
    *,
    chunk_rows: int = DEFAULT_CHUNK_ROWS,
) -> Tensor:
    """Cross-entropy of the clean token at every masked position, zero elsewhere.

    Args:
        predictor: anything that gives logits ``[B, R, V]``; one that also has ``hidden`` and
            ``head`` gets its head run on the masked rows alone.
        x_t: ``[B, R]`` int64 partly masked response.
        x_0: ``[B, R]`` int64 clean response.
        mask: ``[B, R]`` bool, the positions that count.
        chunk_rows: rows of logits held at a time.

    Returns:
        ``[B, R]`` cross-entropy in nats, float32 (float64 where the predictor computes in it).

    Raises:
        ShapeError: the three tensors do not have one shape ``[B, R]``.
        InvalidArgumentError: ``chunk_rows`` is not positive.

    Example:
        >>> def predictor(x_t):  # 8 tokens, all as likely: log 8 = 2.0794 nats
        ...     return torch.zeros(*x_t.shape, 8)
        >>> x_t, x_0 = torch.tensor([[1, 7, 3]]), torch.tensor([[1, 2, 3]])
        >>> masked_cross_entropy(predictor, x_t, x_0, x_t == 7)
        tensor([[0.0000, 2.0794, 0.0000]])
    """
    if x_t.ndim != 2 or not x_t.shape == x_0.shape == mask.shape:
        raise ShapeError(
            "x_t, x_0, mask",
            "one shape [B, R]",
            f"{list(x_t.shape)}, {list(x_0.shape)}, {list(mask.shape)}",
        )
    if chunk_rows < 1:
        raise InvalidArgumentError("chunk_rows", "an integer >= 1", chunk_rows)
    targets = x_0[mask]
    if isinstance(predictor, HiddenPredictor):
        rows = _chunked_cross_entropy(
            _states(predictor, x_t, x_0)[mask], targets, predictor.head, chunk_rows
        )
    else:
        rows = _cross_entropy(predictor(x_t)[mask], targets)
    return rows.new_zeros(mask.shape).masked_scatter(mask, rows)


def _states(predictor: HiddenPredictor, x_t: Tensor, x_0: Tensor) -> Tensor:
    """States of ``x_t``; where blocks see nothing behind them, each beside clean earlier ones."""
    given_clean = getattr(predictor, "hidden_given_clean", None)
    return predictor.hidden(x_t) if given_clean is None else given_clean(x_t, x_0)


def _cross_entropy(logits: Tensor, targets: Tensor) -> Tensor:
    # The log-sum-exp over the vocabulary is taken in float32 at least, whatever the model computes
    # in; autocast would leave it there too.
    if logits.dtype != torch.float64:
        logits = logits.float()
    return F.cross_entropy(logits, targets, reduction="none")


def _chunked_cross_entropy(hidden: Tensor, targets: Tensor, head: Head, chunk_rows: int) -> Tensor:
    def rows_of_head(hidden: Tensor, targets: Tensor) -> Tensor:
        return _cross_entropy(head(hidden), targets)

    chunks = list(zip(hidden.split(chunk_rows), targets.split(chunk_rows), strict=True))
    if not torch.is_grad_enabled():
        parts = [rows_of_head(h, t) for h, t in chunks]
    elif _is_trainable(head, hidden):
        # The head's own gradient needs its logits again: recompute them chunk by chunk.
        parts = [checkpoint(rows_of_head, h, t, use_reentrant=False) for h, t in chunks]
    elif hidden.requires_grad:
        parts = [_FrozenHeadRows.apply(h, t, rows_of_head) for h, t in chunks]
    else:
        parts = [rows_of_head(h, t) for h, t in chunks]
    return torch.cat(parts)


def _is_trainable(head: Head, hidden: Tensor) -> bool:
    # Zero rows cost nothing and tell whether anything behind the head wants a gradient.
    return head(hidden[:0].detach()).requires_grad


class _FrozenHeadRows(torch.autograd.Function):
    """Loss of some rows behind a frozen head, with the gradient taken on the way forward.

    A row's loss depends on that row's hidden state alone, so its gradient ``[D]`` can be computed
    while the logits are at hand and merely be scaled later.  Backward then needs neither the
    logits nor a second pass through the head.
    """

    @staticmethod
    def forward(
        ctx: Any, hidden: Tensor, targets: Tensor, rows_of_head: Callable[[Tensor, Tensor], Tensor]
    ) -> Tensor:
        with torch.enable_grad():
            leaf = hidden.detach().requires_grad_()
            rows = rows_of_head(leaf, targets)
            (gradient,) = torch.autograd.grad(rows.sum(), leaf)
        ctx.save_for_backward(gradient)
        return rows.detach()

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, *grad_outputs: Tensor) -> tuple[Tensor, None, None]:
        (gradient,) = ctx.saved_tensors
        return (grad_outputs[0].unsqueeze(-1) * gradient).to(gradient.dtype), None, None
