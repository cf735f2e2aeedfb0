"""``condition``: the seam between a backbone and everything that decodes or scores."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any, TypeAlias

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from ..errors import InvalidArgumentError, ShapeError
from ..outputs import AudioEmbeddings
from ..protocols import Backbone, causal_block_length
from .block_causal import BlockCausalPredictor
from .predictor import ConditionedPredictor, check_ids
from .splice import PlacedAudio, SplicedPrompt, splice

ClipLists: TypeAlias = Sequence[Sequence[Tensor]]


def condition(
    backbone: Backbone,
    prompt_ids: Tensor,
    *,
    prompt_mask: Tensor | None = None,
    response_mask: Tensor | None = None,
    audio: AudioEmbeddings | ClipLists | None = None,
    audio_start: Tensor | int | Sequence[Sequence[int]] | None = None,
    audio_rows: Tensor | None = None,
    mask_token_id: int | None = None,
    eos_token_id: int | None = None,
) -> ConditionedPredictor:
    """Condition a backbone on prompts and audio.

    The prompt is embedded and spliced once. Left padding, attention masks, positions and cache
    ranges stay behind the result: a row's predictions do not depend on its batch.

    Args:
        backbone: for example :class:`dllm_audio.LLaDA`.
        prompt_ids: ``[B, P]`` int64, left-padded; the ids at padding do not matter.
        prompt_mask: ``[B, P]`` bool, True = real; None: no padding.
        response_mask: ``[B, R]`` bool, True = real, right-padded, for training and scoring;
            padded positions are never attended to.
        audio: embeddings in the backbone's space, one clip a row; or N clips with ``audio_rows``;
            or, per row, a list of clips ``[A, D]``, each of its own length, perhaps none.
        audio_start: ``[B]`` int64 (or one int for all rows): the audio goes before the prompt
            token with this index, counted from the row's first real token; ``[N]`` for N clips,
            lists like those of ``audio``; not read without ``audio``.
        audio_rows: ``[N]`` int64, the row of every clip; None: clip i belongs to row i.
        mask_token_id: None takes the backbone's ``config.mask_token_id``.
        eos_token_id: None takes the backbone's ``config.eos_token_id``.

    Returns:
        A predictor: ``predictor(x_t [B, R])`` gives logits ``[B, R, V]``.

    Raises:
        ShapeError, InvalidArgumentError: arguments that do not fit each other.

    Example:
        >>> import torch
        >>> from dllm_audio import LLaDA, LLaDAConfig, condition
        >>> backbone = LLaDA(LLaDAConfig(d_model=32, n_layers=1, n_heads=2, mlp_hidden_size=64,
        ...                              vocab_size=50, mask_token_id=49, eos_token_id=48))
        >>> predictor = condition(backbone, torch.tensor([[1, 2, 3]]))
        >>> predictor(torch.full((1, 8), 49)).shape
        torch.Size([1, 8, 50])
    """
    if prompt_ids.dim() != 2:
        raise ShapeError("prompt_ids", "[B, P]", list(prompt_ids.shape))
    if prompt_mask is None:
        prompt_mask = torch.ones_like(prompt_ids, dtype=torch.bool)
    elif prompt_mask.shape != prompt_ids.shape:
        raise ShapeError("prompt_mask", f"{list(prompt_ids.shape)}", list(prompt_mask.shape))
    prompt_mask = prompt_mask.to(device=prompt_ids.device, dtype=torch.bool)
    if response_mask is not None:
        response_mask = _checked_response_mask(response_mask, prompt_ids)
    placed = _placed(prompt_ids, audio, audio_start, audio_rows)
    mask_token_id = _id("mask_token_id", mask_token_id, backbone)
    if mask_token_id is None:
        raise InvalidArgumentError("mask_token_id", "an id (the backbone's config has none)", None)
    eos_token_id = _id("eos_token_id", eos_token_id, backbone)

    prompt_ids = prompt_ids.masked_fill(~prompt_mask, mask_token_id)
    check_ids("prompt_ids", prompt_ids, backbone)
    embeds = backbone.embed(prompt_ids)
    prompt = splice(embeds, prompt_mask, placed)
    length = prompt.mask.shape[1]

    masks = torch.full_like(prompt_ids, mask_token_id)
    variants = {"text": partial(_embedded, backbone, masks, prompt_mask, placed, length)}
    if audio is not None:
        variants["audio"] = partial(splice, embeds, prompt_mask, length=length)
    causal = causal_block_length(backbone) is not None
    made = BlockCausalPredictor if causal else ConditionedPredictor
    return made(backbone, prompt, response_mask, mask_token_id, eos_token_id, variants)


def _embedded(backbone: Backbone, ids: Tensor, *places: Any) -> SplicedPrompt:
    return splice(backbone.embed(ids), *places)


def _placed(
    prompt_ids: Tensor,
    audio: AudioEmbeddings | ClipLists | None,
    start: Tensor | int | Sequence[Sequence[int]] | None,
    rows: Tensor | None,
) -> PlacedAudio | None:
    """The clips of all rows with their places."""
    if audio is None:
        return None
    if start is None:
        raise InvalidArgumentError("audio_start", "a place for every clip of audio", None)
    batch = prompt_ids.shape[0]
    if not isinstance(audio, AudioEmbeddings):
        return _from_lists(batch, audio, start)
    if rows is None:
        rows = torch.arange(batch)
        if audio.lengths.shape != (batch,):
            raise ShapeError("audio.lengths", f"[{batch}]", list(audio.lengths.shape))
    if isinstance(start, int):
        start = torch.full((len(rows),), start)
    if not isinstance(start, Tensor):
        start = torch.as_tensor(start)
    return PlacedAudio(audio, start, rows)


def _from_lists(batch: int, audio: ClipLists, start: object) -> PlacedAudio | None:
    for name, lists in (("audio", audio), ("audio_start", start)):
        if isinstance(lists, str | Tensor) or not isinstance(lists, Sequence):
            raise InvalidArgumentError(name, "a list of clips (or places) a row", type(lists))
        if len(lists) != batch:
            raise ShapeError(name, f"{batch} rows", len(lists))
    clips, starts, rows = [], [], []
    for row, (found, places) in enumerate(zip(audio, start, strict=True)):  # type: ignore[call-overload]
        if len(found) != len(places):
            raise ShapeError(f"audio_start[{row}]", f"{len(found)} places", len(places))
        for clip in found:
            if not isinstance(clip, Tensor) or clip.dim() != 2:
                raise ShapeError(f"audio[{row}]", "clips [A, D]", getattr(clip, "shape", clip))
        clips += found
        starts += places
        rows += [row] * len(found)
    if not clips:
        return None
    lengths = torch.tensor([len(clip) for clip in clips])
    embeds = AudioEmbeddings(pad_sequence(clips, batch_first=True), lengths)
    return PlacedAudio(embeds, torch.tensor(starts), torch.tensor(rows))


def _id(name: str, given: int | None, backbone: Backbone) -> int | None:
    return given if given is not None else getattr(backbone.config, name, None)


def _checked_response_mask(mask: Tensor, prompt_ids: Tensor) -> Tensor:
    if mask.dim() != 2 or mask.shape[0] != prompt_ids.shape[0]:
        raise ShapeError("response_mask", f"[{prompt_ids.shape[0]}, R]", list(mask.shape))
    mask = mask.to(device=prompt_ids.device, dtype=torch.bool)
    if bool((~mask[:, :-1] & mask[:, 1:]).any()):
        raise InvalidArgumentError("response_mask", "right padding (True before False)", "a gap")
    return mask
