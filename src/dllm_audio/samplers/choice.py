"""From logits at some positions to tokens and confidences over the whole block.

Shape letters: N rows still decoding, C positions of the active block, M positions whose logits
were computed, V vocabulary.
"""

from __future__ import annotations

import torch
from torch import Tensor

from .canvas import ActiveRows, Canvas
from .options import SamplingOptions
from .prediction import Prediction, gumbel_noise, predict
from .randomness import Generators, RowStreams

# Puts delayed end tokens below every real confidence, in order among themselves.
_DELAY = 1e4


class Choice:
    """Applies temperature, EOS options and the chosen confidence.

    Args:
        options: the sampler's settings.
        canvas: gives ids, device and batch size.
        needs_entropy: whether the commit rule wants entropies.
        generator: see :class:`RowStreams`.
    """

    def __init__(
        self,
        options: SamplingOptions,
        canvas: Canvas,
        needs_entropy: bool,
        generator: Generators,
    ) -> None:
        self.options = options
        self.needs_entropy = needs_entropy
        self.device = canvas.device
        self._mask_id = torch.tensor([canvas.mask_id], device=self.device)
        ends = options.end_token_ids
        if ends is None:
            ends = () if canvas.eos_id is None else (canvas.eos_id,)
        self._end_ids = torch.tensor(ends, dtype=torch.long, device=self.device)
        random = options.temperature > 0 or options.confidence == "random"
        self._streams = RowStreams(canvas.tokens.shape[0], generator) if random else None

    def __call__(
        self, logits: Tensor, where: Tensor | None, width: int, rows: ActiveRows
    ) -> Prediction:
        """Tokens, confidences and entropies ``[N, C]``.

        Args:
            logits: ``[N, M, V]``.
            where: ``[N, M]`` block positions of the logits; None: all C in order.
            width: positions C of the block.
            rows: which rows these are.
        """
        options = self.options
        guess = predict(
            logits,
            mask_id=self._mask_id,
            forbidden=self._end_ids if options.eos == "forbid" and len(self._end_ids) else None,
            confidence=options.confidence,
            with_entropy=self.needs_entropy,
            gumbel=self._gumbel(logits, where, width, rows),
        )
        confidence = guess.confidence
        if options.eos == "delay":
            confidence = confidence - _DELAY * torch.isin(guess.tokens, self._end_ids)
        confidence = _spread(confidence, where, width)
        if options.confidence == "random" and self._streams is not None:
            drawn = self._streams.uniform(rows.deciding(), (width,), self.device, torch.float32)
            confidence = torch.where(confidence < -1, drawn - _DELAY, drawn)
        entropy = None if guess.entropy is None else _spread(guess.entropy, where, width)
        return Prediction(_spread(guess.tokens, where, width), confidence, entropy)

    def _gumbel(
        self, logits: Tensor, where: Tensor | None, width: int, rows: ActiveRows
    ) -> Tensor | None:
        if self.options.temperature == 0 or self._streams is None:
            return None
        # Numbers for the whole block, so that what a row draws depends on that row alone.
        shape = (width, logits.shape[-1])
        uniform = self._streams.uniform(rows.deciding(), shape, self.device, torch.float64)
        if where is not None:
            uniform = uniform.gather(1, where[..., None].expand(-1, -1, shape[1]))
        return gumbel_noise(uniform, self.options.temperature)


def _spread(values: Tensor, where: Tensor | None, width: int) -> Tensor:
    """Put values ``[N, M]`` at block positions ``where``; zero elsewhere."""
    if where is None:
        return values
    return values.new_zeros(values.shape[0], width).scatter(1, where, values)
