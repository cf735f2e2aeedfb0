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


@dataclass(frozen=True, slots=True)
class PlacedAudio:
    """Clips and where they go.

    Attributes:
        audio: right-padded embeddings ``[N, A, D]`` of the clips and their valid lengths ``[N]``.
        start: ``[N]`` int64, the prompt token that a clip goes in front of, counted from the first
            real token of its row; of clips at one place the first in the list comes first.
        rows: ``[N]`` int64, the row of every clip.
    """

    audio: AudioEmbeddings
    start: Tensor
    rows: Tensor


def splice(
    prompt_embeds: Tensor,
    prompt_mask: Tensor,
    placed: PlacedAudio | None = None,
    length: int | None = None,
) -> SplicedPrompt:
    """Insert each clip's valid embeddings into its row.

    Args:
        prompt_embeds: ``[B, P, D]`` left-padded.
        prompt_mask: ``[B, P]`` bool, True = real.
        placed: the clips; None: there are none.
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
    total = tokens
    # A token's index within its row's text, and within the row once the clips are in.
    text = torch.arange(columns, device=device) - (columns - tokens)[:, None]
    place = text
    if placed is not None:
        placed = _checked(placed, prompt_embeds, tokens)
        start, rows, frames = placed.start, placed.rows, placed.audio.lengths
        total = tokens.index_add(0, rows, frames)
        before = frames[:, None] * (start[:, None] <= text[rows])
        place = text + torch.zeros_like(text).index_add(0, rows, before)
    longest = int(total.max()) if batch else 0
    if length is None:
        length = longest
    elif length < longest:
        raise InvalidArgumentError("length", f">= the longest row ({longest})", length)
    shift = (length - total)[:, None]
    # Padding goes to a column of its own, which is cut off.
    spliced = prompt_embeds.new_zeros(batch, length + 1, width)
    numbers = torch.arange(batch, device=device)[:, None]
    place = (place + shift).masked_fill(~prompt_mask, length)
    spliced = spliced.index_put((numbers, place), prompt_embeds)
    if placed is not None:
        order = torch.arange(len(rows), device=device)
        earlier = (start < start[:, None]) | ((start == start[:, None]) & (order < order[:, None]))
        ahead = (frames * (earlier & (rows == rows[:, None]))).sum(-1)
        frame = torch.arange(placed.audio.embeds.shape[1], device=device)
        place = (start + ahead)[:, None] + frame + shift[rows]
        place = place.masked_fill(frame >= frames[:, None], length)
        embeds = placed.audio.embeds.to(device=device, dtype=prompt_embeds.dtype)
        spliced = spliced.index_put((rows[:, None], place), embeds)
    mask = torch.arange(length, device=device) >= shift
    return SplicedPrompt(spliced[:, :length], mask)


def _checked(placed: PlacedAudio, prompt_embeds: Tensor, tokens: Tensor) -> PlacedAudio:
    """The clips on the prompt's device, once all fits."""
    audio, (batch, _, width) = placed.audio, prompt_embeds.shape
    if not isinstance(audio, AudioEmbeddings):
        raise InvalidArgumentError("audio", "AudioEmbeddings or None", type(audio).__name__)
    clips = len(placed.rows)
    if audio.embeds.dim() != 3 or audio.embeds.shape[::2] != (clips, width):
        raise ShapeError("audio.embeds", f"[{clips}, A, {width}]", list(audio.embeds.shape))
    named = {"audio.lengths": audio.lengths, "audio_start": placed.start, "audio_rows": placed.rows}
    for name, values in named.items():
        if values.shape != (clips,):
            raise ShapeError(name, f"[{clips}]", list(values.shape))
        if values.dtype not in _INTEGERS:
            raise InvalidArgumentError(name, "integers", values.dtype)
    frames, start, rows = (v.to(tokens.device, torch.int64) for v in named.values())
    if bool(((frames < 0) | (frames > audio.embeds.shape[1])).any()):
        expected = f"values in [0, {audio.embeds.shape[1]}]"
        raise InvalidArgumentError("audio.lengths", expected, frames.tolist())
    if bool(((rows < 0) | (rows >= batch)).any()):
        raise InvalidArgumentError("audio_rows", f"values in [0, {batch})", rows.tolist())
    if bool(((start < 0) | (start > tokens[rows])).any()):
        expected = f"values in [0, prompt tokens of the row] ({tokens.tolist()})"
        raise InvalidArgumentError("audio_start", expected, start.tolist())
    return PlacedAudio(AudioEmbeddings(audio.embeds, frames), start, rows)
