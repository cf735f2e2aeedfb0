"""Scoring given answers instead of generating one.

Scores are comparable among themselves only; they are not what a benchmark that asks for generated
answers measures, and reports must say which of the two was done.

Shape letters: B batch, R response tokens, O options, N samples.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from ..errors import InvalidArgumentError, ShapeError
from ..losses import draw_masks, estimate_elbo
from ..protocols import MaskPredictor


def label_log_probabilities(
    predictor: MaskPredictor,
    labels: Sequence[Sequence[int]],
    *,
    prefix: Sequence[int] = (),
    response_length: int | None = None,
) -> Tensor:
    """Log-probability of every label as the beginning of the answer, in one forward pass.

    The response is ``prefix`` and masks. A label of several tokens gets the sum over its
    positions, each predicted without the others.

    Args:
        predictor: the question; B rows.
        labels: token ids of each option's label, for example of ``A``, ``B``, ``C``, ``D``.
        prefix: token ids that answers begin with, for example of ``(``.
        response_length: positions R that the model sees; None: prefix and longest label.

    Returns:
        ``[B, O]`` float32; the softmax over O is the model's choice among the options.

    Raises:
        InvalidArgumentError: no labels, an empty one, or a ``response_length`` that is too short.

    Example:
        >>> class Always:  # expects token 5
        ...     batch_size, mask_token_id, eos_token_id = 1, 7, 6
        ...     device = torch.device("cpu")
        ...     def __call__(self, x_t):
        ...         return torch.eye(8)[5].expand(*x_t.shape, 8)
        >>> label_log_probabilities(Always(), [[4], [5]]).argmax(-1)
        tensor([1])
    """
    if not labels or any(len(label) == 0 for label in labels):
        raise InvalidArgumentError("labels", "at least one, none empty", list(labels))
    needed = len(prefix) + max(len(label) for label in labels)
    length = needed if response_length is None else response_length
    if length < needed:
        raise InvalidArgumentError("response_length", f"at least {needed}", length)
    response = torch.full((predictor.batch_size, length), predictor.mask_token_id)
    response[:, : len(prefix)] = torch.tensor(list(prefix), dtype=torch.long)
    with torch.inference_mode():
        logits = predictor(response.to(predictor.device))[:, len(prefix) : needed]
        log_probs = logits.float().log_softmax(-1)
        scores = [
            log_probs[:, range(len(label)), list(label)].sum(-1, keepdim=True) for label in labels
        ]
        return torch.cat(scores, dim=-1)


def option_elbos(
    conditioned: Callable[[Tensor], MaskPredictor],
    options: Sequence[Sequence[Sequence[int]]],
    *,
    num_samples: int = 32,
    generator: torch.Generator | None = None,
    per_token: bool = False,
) -> Tensor:
    """Evidence lower bound of the log-likelihood of whole answers.

    Args:
        conditioned: makes the predictor of the B questions for a ``response_mask [B, R]``, for
            example ``lambda mask: model.condition(prompt_ids, audio, start, response_mask=mask)``.
        options: for every row its options, for every option its token ids (append the end token
            to score where answers end).
        num_samples: N forward passes per option.
        generator: draws the masks.
        per_token: divide by the option's length, so that long options are not at a disadvantage.

    Returns:
        ``[B, O]`` float32 nats, ``-inf`` where a row has fewer options.

    Raises:
        InvalidArgumentError: no options, or an empty one.
        ShapeError: another number of rows than the predictor has.

    Source: arXiv 2502.09992, equation 6 (the estimate with an exact number of masks).

    Example:
        >>> class Uniform:  # finds each of 8 tokens as likely as the others
        ...     batch_size, mask_token_id, eos_token_id = 1, 7, 6
        ...     device = torch.device("cpu")
        ...     def __call__(self, x_t):
        ...         return torch.zeros(*x_t.shape, 8)
        >>> option_elbos(lambda mask: Uniform(), [[[1, 6], [1, 2, 6]]], num_samples=2)
        tensor([[-4.1589, -6.2383]])
    """
    most = max((len(row) for row in options), default=0)
    if most == 0 or any(len(option) == 0 for row in options for option in row):
        raise InvalidArgumentError("options", "at least one, none empty", list(options))
    scores = torch.full((len(options), most), float("-inf"))
    for number in range(most):
        # A row without this option scores its first one, whose result is dropped.
        chosen = [row[number] if number < len(row) else row[0] for row in options]
        lengths = torch.tensor([len(ids) for ids in chosen])
        real = torch.arange(int(lengths.max())) < lengths[:, None]
        predictor = conditioned(real)
        if predictor.batch_size != len(options):
            raise ShapeError("options", f"{predictor.batch_size} rows", len(options))
        x_0 = torch.zeros(real.shape, dtype=torch.long)
        for row, ids in enumerate(chosen):
            x_0[row, : len(ids)] = torch.tensor(ids)
        with torch.inference_mode():
            masks, ratios = draw_masks(real, num_samples, generator)
            device = predictor.device
            elbo = estimate_elbo(predictor, x_0.to(device), masks.to(device), ratios.to(device))
        elbo = elbo.float().cpu()
        if per_token:
            elbo = elbo / lengths
        has = torch.tensor([number < len(row) for row in options])
        scores[:, number] = torch.where(has, elbo, scores[:, number])
    return scores
