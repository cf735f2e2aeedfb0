"""The masked-diffusion training objective (arXiv 2502.09992, eq. 3)."""

from __future__ import annotations

import torch
from torch import Tensor

from ..diffusion import LinearSchedule, NoiseSchedule
from ..errors import InvalidArgumentError, ShapeError
from ..outputs import LossOutput
from ..protocols import MaskPredictor
from .cross_entropy import DEFAULT_CHUNK_ROWS, masked_cross_entropy


class MaskedDiffusionLoss:
    """Weighted cross-entropy of the masked response tokens, per response token of the batch.

    ``sum_b weight(t_b) * sum_{i masked} CE_bi / (response tokens of the whole batch)``. Padding
    by EOS after the answer counts as response: the model learns to end.

    Args:
        schedule: where ``weight(t)`` comes from; the masks must have been drawn with the same.
        chunk_rows: rows of logits that exist at once.

    Example:
        A predictor that finds each of 8 tokens as likely as the others, so that every masked
        token costs log 8 = 2.0794 nats:

        >>> class Uniform:
        ...     batch_size, mask_token_id, eos_token_id = 1, 7, 6
        ...     device = torch.device("cpu")
        ...     def __call__(self, x_t):
        ...         return torch.zeros(*x_t.shape, 8)
        >>> x_0 = torch.tensor([[1, 2, 3, 6]])
        >>> mask = torch.tensor([[True, True, False, False]])
        >>> output = MaskedDiffusionLoss()(Uniform(), x_0, mask, t=torch.tensor([0.5]))
        >>> output.loss  # 2 masked tokens, each log 8 / t, over 4 response tokens
        tensor(2.0794)
        >>> int(output.num_masked), int(output.num_tokens)
        (2, 4)
    """

    def __init__(
        self, schedule: NoiseSchedule | None = None, *, chunk_rows: int = DEFAULT_CHUNK_ROWS
    ) -> None:
        self.schedule = LinearSchedule() if schedule is None else schedule
        self.chunk_rows = chunk_rows

    def __call__(
        self,
        predictor: MaskPredictor,
        x_0: Tensor,
        mask: Tensor,
        t: Tensor,
        response_mask: Tensor | None = None,
        num_tokens: Tensor | int | None = None,
    ) -> LossOutput:
        """Compute the loss.

        Args:
            predictor: conditioned on the prompts of the batch.
            x_0: ``[B, R]`` int64 clean responses.
            mask: ``[B, R]`` bool, True = masked.
            t: ``[B]`` times in (0, 1].
            response_mask: ``[B, R]`` bool, True = response (EOS padding included); None takes
                the predictor's, and all positions where it has none.
            num_tokens: divisor; None counts the response tokens of this batch. Give the count
                of the whole step to make accumulation equal one large batch.

        Returns:
            The loss (scalar, nats per response token, differentiable), the number of masked
            tokens that entered it and the divisor.

        Raises:
            ShapeError: sizes that disagree.
            InvalidArgumentError: a time outside (0, 1], or a batch without response tokens.
        """
        if x_0.dim() != 2:
            raise ShapeError("x_0", "[B, R]", list(x_0.shape))
        if mask.shape != x_0.shape or mask.dtype != torch.bool:
            expected = f"bool {list(x_0.shape)}"
            raise ShapeError("mask", expected, f"{mask.dtype} {list(mask.shape)}")
        if t.shape != x_0.shape[:1]:
            raise ShapeError("t", f"[{x_0.shape[0]}]", list(t.shape))
        if not bool(((t > 0) & (t <= 1)).all()):
            raise InvalidArgumentError("t", "times in (0, 1]", t.tolist())
        if response_mask is None:
            response_mask = getattr(predictor, "response_mask", None)
        if response_mask is not None:
            if response_mask.shape != x_0.shape:
                raise ShapeError("response_mask", f"{list(x_0.shape)}", list(response_mask.shape))
            mask = mask & response_mask.bool()
        if num_tokens is None:
            num_tokens = x_0.numel() if response_mask is None else response_mask.sum()
        total = torch.as_tensor(num_tokens, device=x_0.device)
        if not bool(total > 0):
            raise InvalidArgumentError("num_tokens", "at least one response token", int(total))
        x_t = x_0.masked_fill(mask, predictor.mask_token_id)
        entropy = masked_cross_entropy(predictor, x_t, x_0, mask, chunk_rows=self.chunk_rows)
        weight = self.schedule.weight(t.to(entropy.dtype))
        loss = (weight * entropy.sum(-1)).sum() / total
        return LossOutput(loss, mask.sum(), total)
