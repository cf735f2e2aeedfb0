"""The plain loop of the original systems: the yardstick that every strategy is compared with.

Nothing here is tuned on purpose: a full forward pass a step, the audio put into the prompt again
each time, the output head on every position, softmax over the vocabulary in float64, no cache.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from dllm_audio import LLaDA


@torch.inference_mode()
def plain_decode(
    llada: LLaDA,
    prompt_ids: Tensor,
    audio: Tensor,
    audio_start: int,
    *,
    steps: int,
    gen_length: int,
    block_length: int,
) -> Tensor:
    """Low-confidence decoding in blocks, greedy.

    Args:
        llada: the backbone.
        prompt_ids: ``[B, P]`` int64, without padding.
        audio: ``[B, A, D]`` embeddings.
        audio_start: prompt token in front of which they go.
        steps: forward passes over all blocks.
        gen_length: new tokens.
        block_length: tokens of a block, a divisor of ``gen_length``.

    Returns:
        ``[B, gen_length]`` int64.
    """
    mask_id = llada.config.mask_token_id
    batch, prompt_length = prompt_ids.shape
    response = torch.full((batch, gen_length), mask_id, device=prompt_ids.device)
    x = torch.cat([prompt_ids, response], dim=1)
    blocks = gen_length // block_length
    steps_per_block = steps // blocks
    for block in range(blocks):
        end = prompt_length + (block + 1) * block_length
        masked = int((x[0, end - block_length : end] == mask_id).sum())
        for step in range(steps_per_block):
            quota = masked // steps_per_block + (step < masked % steps_per_block)
            embeds = llada.embed(x)
            embeds = torch.cat([embeds[:, :audio_start], audio, embeds[:, audio_start:]], dim=1)
            logits = llada(inputs_embeds=embeds).logits
            split = audio_start + audio.shape[1]
            logits = torch.cat([logits[:, :audio_start], logits[:, split:]], dim=1)
            best = logits.argmax(dim=-1)
            probability = F.softmax(logits.to(torch.float64), dim=-1)
            confidence = probability.gather(-1, best[..., None])[..., 0]
            confidence[:, end:] = -torch.inf
            confidence[x != mask_id] = -torch.inf
            for row in range(batch):
                chosen = confidence[row].topk(quota).indices
                x[row, chosen] = best[row, chosen]
    return x[:, prompt_length:]
