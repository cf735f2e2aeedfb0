"""Put audio embeddings into embedded prompts, for a whole batch at once.

Shape letters: B batch, P prompt columns, A audio embeddings, L spliced columns, D width.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from ..errors import InvalidArgumentError, ShapeError
from ..outputs import AudioEmbeddings

_INTEGERS = (torch.int64, torch.int32)


@dataclass(frozen=True, slots=True)
class SplicedPrompt:
    """Embedded prompts, left-padded.

    Attributes:
        embeds: ``[B, L, D]``, zero at padding.
        mask: ``[B, L]`` bool, True = real; the real columns of a row are its last ones.
    """

    embeds: Tensor
    mask: Tensor

    def select(self, rows: Tensor) -> SplicedPrompt:
        """The chosen batch rows."""
        return SplicedPrompt(self.embeds[rows], self.mask[rows])


def splice(
    prompt_embeds: Tensor,
    prompt_mask: Tensor,
    audio: AudioEmbeddings | None = None,
    audio_start: Tensor | None = None,
    length: int | None = None,
) -> SplicedPrompt:
    """Insert each row's valid audio embeddings before its prompt token ``audio_start``.

    Args:
        prompt_embeds: ``[B, P, D]`` left-padded.
        prompt_mask: ``[B, P]`` bool, True = real.
        audio: right-padded embeddings and their valid lengths; a row of length 0 gets none.
        audio_start: ``[B]`` int64, counted from the row's first real prompt token.
        length: columns L of the result; None takes the longest row's.

    Raises:
        ShapeError: sizes that disagree.
        InvalidArgumentError: a prompt that is not left-padded, or a start outside the prompt.
    """
    if prompt_embeds.dim() != 3:
        raise ShapeError("prompt_embeds", "[B, P, D]", list(prompt_embeds.shape))
    batch, columns, width = prompt_embeds.shape
    if prompt_mask.shape != (batch, columns):
        raise ShapeError("prompt_mask", f"[{batch}, {columns}]", list(prompt_mask.shape))
    prompt_mask = prompt_mask.bool()
    if bool((prompt_mask[:, :-1] & ~prompt_mask[:, 1:]).any()):
        raise InvalidArgumentError("prompt_mask", "left padding (False before True)", "a gap")
    device = prompt_embeds.device
    tokens = prompt_mask.sum(-1)
    if audio is None:
        source, frames, start = prompt_embeds, torch.zeros_like(tokens), tokens
    else:
        frames, start = _checked_audio(audio, audio_start, prompt_embeds, tokens)
        embeds = audio.embeds.to(device=device, dtype=prompt_embeds.dtype)
        source = torch.cat((prompt_embeds, embeds), dim=1)
    total = tokens + frames
    longest = int(total.max()) if batch else 0
    if length is None:
        length = longest
    elif length < longest:
        raise InvalidArgumentError("length", f">= the longest row ({longest})", length)
    # Where each output column comes from: its index within the row, then within the source.
    within = torch.arange(length, device=device) - (length - total)[:, None]
    first_token = (columns - tokens)[:, None]
    is_audio = (within >= start[:, None]) & (within < (start + frames)[:, None])
    before = within < start[:, None]
    text_index = first_token + within - frames[:, None].masked_fill(before, 0)
    index = torch.where(is_audio, columns + within - start[:, None], text_index)
    mask = within >= 0
    index = index.masked_fill(~mask, 0)[..., None].expand(-1, -1, width)
    if not source.shape[1]:  # neither text nor audio: nothing to gather from
        return SplicedPrompt(source.new_zeros(batch, length, width), mask)
    spliced = source.gather(1, index)
    return SplicedPrompt(spliced.masked_fill(~mask[..., None], 0.0), mask)


def _checked_audio(
    audio: AudioEmbeddings, audio_start: Tensor | None, prompt_embeds: Tensor, tokens: Tensor
) -> tuple[Tensor, Tensor]:
    batch, _, width = prompt_embeds.shape
    if not isinstance(audio, AudioEmbeddings):
        raise InvalidArgumentError("audio", "AudioEmbeddings or None", type(audio).__name__)
    if audio.embeds.dim() != 3 or audio.embeds.shape[::2] != (batch, width):
        raise ShapeError("audio.embeds", f"[{batch}, A, {width}]", list(audio.embeds.shape))
    if audio.lengths.shape != (batch,):
        raise ShapeError("audio.lengths", f"[{batch}]", list(audio.lengths.shape))
    if audio_start is None:
        raise InvalidArgumentError("audio_start", "a [B] tensor, because audio is given", None)
    if audio_start.shape != (batch,):
        raise ShapeError("audio_start", f"[{batch}]", list(audio_start.shape))
    for name, values in (("audio.lengths", audio.lengths), ("audio_start", audio_start)):
        if values.dtype not in _INTEGERS:
            raise InvalidArgumentError(name, "integers", values.dtype)
    frames = audio.lengths.to(tokens.device)
    if bool(((frames < 0) | (frames > audio.embeds.shape[1])).any()):
        expected = f"values in [0, {audio.embeds.shape[1]}]"
        raise InvalidArgumentError("audio.lengths", expected, frames.tolist())
    start = audio_start.to(tokens.device)
    if bool(((start < 0) | (start > tokens)).any()):
        expected = f"values in [0, prompt tokens of the row] ({tokens.tolist()})"
        raise InvalidArgumentError("audio_start", expected, start.tolist())
    return frames, start
