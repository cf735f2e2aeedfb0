"""A block and its shadow in one pass: what stands at a position, judged by who does not see it.

Behind the response come as many masks as the block has positions.  Each has the position of its
twin in the block and sees everything but that twin; nobody else sees it (WINO, arXiv 2507.18578,
section 4).

Shape letters: B batch, L prompt columns, R response tokens, C positions of the block, D width.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from ..protocols import KVCache, hidden_states

if TYPE_CHECKING:
    from .predictor import ConditionedPredictor


def states_with_shadow(
    predictor: ConditionedPredictor,
    x_t: Tensor,
    layout: tuple[Tensor, Tensor | None],
    block: tuple[int, int],
    cache: KVCache | None,
    window: Tensor | None,
) -> Tensor:
    """Final hidden states ``[B, 2 C, D]``: of the block, then of its shadow.

    Args:
        predictor: its prompt and backbone.
        x_t: ``[B, R]`` int64, the whole response as it stands.
        layout: RoPE positions ``[B, L + R]`` and attention mask of prompt and response.
        block: response positions ``[start, end)``.
        cache: of ``L + R`` slots and some for the shadow behind them; None: without.
        window: response positions to compute, the block among them; None: prompt and response.
    """
    (start, end), device = block, x_t.device
    position_ids, mask = layout
    before, main = predictor.prompt_length, predictor.prompt_length + x_t.shape[1]
    masks = torch.full_like(x_t[:, start:end], predictor.mask_token_id)
    if window is None:
        computed = torch.arange(main, device=device)
        response = predictor.backbone.embed(torch.cat((x_t, masks), dim=1))
        embeds = torch.cat((predictor.prompt.embeds, response), dim=1)
    else:
        computed = before + window
        embeds = predictor.backbone.embed(torch.cat((x_t[:, window], masks), dim=1))
    twins = torch.arange(before + start, before + end, device=device)
    shadow = torch.arange(main, main + end - start, device=device)
    length = main + end - start if cache is None else cache.length
    keys = torch.arange(length, device=device)
    sees_main = (keys < main).expand(len(computed), -1)
    sees_rest = (keys < main + end - start) & (keys != twins[:, None])
    if mask is not None:
        mask = torch.cat((mask, mask.new_ones(len(mask), length - main)), dim=1)
    places = torch.cat((twins - computed[0], len(computed) + shadow - main))
    return hidden_states(
        predictor.backbone,
        embeds,
        position_ids=position_ids[:, torch.cat((computed, twins))],
        attention_mask=mask,
        cache=cache,
        slots=None if cache is None else torch.cat((computed, shadow)),
        output_positions=places.expand(len(x_t), -1),
        visible=torch.cat((sees_main, sees_rest)),
    )
