"""N-best rescoring: which of several hypotheses a masked-diffusion model finds most likely.

Shape letters: B batch, N samples, R response tokens.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from ..errors import InvalidArgumentError
from ..losses import draw_masks, estimate_elbo
from ..protocols import CacheablePredictor, MaskPredictor

Generators = torch.Generator | Sequence[torch.Generator] | None


def rescore(
    predictor: MaskPredictor,
    candidates: Sequence[Sequence[Sequence[int]]],
    *,
    gen_length: int,
    end_token_ids: Sequence[int],
    num_samples: int = 16,
    generator: Generators = None,
) -> list[list[float]]:
    """The ELBO of every candidate as the whole response, in nats (arXiv 2505.19223, equation 5).

    A response is scored with its end and all that fills it up, as the model writes it, so that
    candidates of different lengths can be compared.  All candidates of a row are scored with the
    same masks, which cancels most of the noise of their difference.

    Args:
        predictor: prompts and recordings, B rows.
        candidates: token ids of every row's hypotheses, without ends; a row may have none.
        gen_length: R, as the model is decoded with.
        end_token_ids: what follows a text; the last one fills the response up.
        num_samples: masks a candidate.
        generator: of the masks, on the CPU: one a row, or one for all.

    Returns:
        One estimate a candidate, one list a row.

    Raises:
        InvalidArgumentError: another number of rows than the predictor's, no end, or a candidate
            that with its end does not fit into ``gen_length``.

    Example:
        A predictor that expects token 5 and then the end:

        >>> class Always:
        ...     batch_size, mask_token_id, eos_token_id = 1, 7, 6
        ...     device = torch.device("cpu")
        ...     def __call__(self, x_t):
        ...         expected = torch.tensor([5, 6, 6, 6])
        ...         return 9 * torch.eye(8)[expected].expand(*x_t.shape, 8)
        >>> scores = rescore(Always(), [[[4], [5]]], gen_length=4, end_token_ids=[6],
        ...                  generator=torch.Generator().manual_seed(0))
        >>> scores[0][1] > scores[0][0]
        True
    """
    if len(candidates) != predictor.batch_size:
        expected = f"{predictor.batch_size} rows of them"
        raise InvalidArgumentError("candidates", expected, len(candidates))
    if not end_token_ids:
        raise InvalidArgumentError("end_token_ids", "at least one id", list(end_token_ids))
    if isinstance(generator, Sequence) and len(generator) != len(candidates):
        expected = f"one a row ({len(candidates)}), or one for all"
        raise InvalidArgumentError("generator", expected, len(generator))
    scores: list[list[float]] = [[] for _ in candidates]
    everything = torch.ones(1, gen_length, dtype=torch.bool)
    rounds = max(map(len, candidates), default=0)
    drawn = [
        draw_masks(everything, num_samples, _stream(generator, row)) for row in range(len(scores))
    ]
    for number in range(rounds):
        rows = [row for row, several in enumerate(candidates) if number < len(several)]
        x_0 = torch.stack(
            [
                _response(candidates[row][number], gen_length, end_token_ids, (row, number))
                for row in rows
            ]
        )
        found = _elbo(
            predictor,
            rows,
            x_0,
            torch.cat([drawn[row][0] for row in rows], dim=1),
            torch.cat([drawn[row][1] for row in rows], dim=1),
        )
        for row, value in zip(rows, found.tolist(), strict=True):
            scores[row].append(value)
    return scores


def _stream(generator: Generators, row: int) -> torch.Generator | None:
    return generator[row] if isinstance(generator, Sequence) else generator


def _response(
    ids: Sequence[int], gen_length: int, ends: Sequence[int], place: tuple[int, int]
) -> Tensor:
    if len(ids) >= gen_length:
        name = f"candidates[{place[0]}][{place[1]}]"
        expected = f"at most gen_length ({gen_length}) tokens with the end"
        raise InvalidArgumentError(name, expected, len(ids) + 1)
    filled = [*ids, *ends][:gen_length]
    return torch.tensor(filled + [ends[-1]] * (gen_length - len(filled)))


def _elbo(
    predictor: MaskPredictor, rows: Sequence[int], x_0: Tensor, masks: Tensor, ratios: Tensor
) -> Tensor:
    device = predictor.device
    x_0, masks, ratios = x_0.to(device), masks.to(device), ratios.to(device)
    with torch.no_grad():
        if isinstance(predictor, CacheablePredictor):
            chosen = predictor.select(torch.tensor(rows, device=device))
            return estimate_elbo(chosen, x_0, masks, ratios)
        # A plain function of the whole batch: rows without a candidate repeat another one's.
        index = torch.zeros(predictor.batch_size, dtype=torch.long)
        index[list(rows)] = torch.arange(len(rows))
        index = index.to(device)
        return estimate_elbo(predictor, x_0[index], masks[:, index], ratios[:, index])[list(rows)]
