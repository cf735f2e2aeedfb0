"""From logits at some positions to tokens and confidences over the whole block.

Shape letters: N rows still decoding, C positions of the active block, M positions whose logits
were computed, V vocabulary.
"""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from ..errors import InvalidArgumentError
from .canvas import ActiveRows, Canvas
from .credit import CreditAccount
from .options import SamplingOptions
from .prediction import Prediction, gumbel_noise, predict
from .randomness import Generators, RowStreams

# Puts delayed end tokens behind everything else, in order among themselves: more than any
# confidence or entropy (log V).
_DELAY = 16.0


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
        self._mask_id = canvas.mask_id
        ends = options.end_token_ids
        if ends is None:
            ends = () if canvas.eos_id is None else (canvas.eos_id,)
        if options.eos != "allow" and not ends:
            expected = "'allow' (the predictor has no EOS id, and end_token_ids names none)"
            raise InvalidArgumentError("eos", expected, options.eos)
        self._end_ids = torch.tensor(ends, dtype=torch.long, device=self.device)
        self._streams: RowStreams | None = None
        if options.temperature > 0 or options.confidence == "random":
            self._streams = RowStreams(canvas.tokens.shape[0], generator, self.device)
        self._account: CreditAccount | None = None
        if options.credit is not None:
            rows = canvas.tokens.shape[0]
            self._account = CreditAccount(options.credit, rows, canvas.mask_id)

    def begin_block(self) -> None:
        """Forget what belongs to the block before."""
        if self._account is not None:
            self._account.clear()

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
        if self._account is not None:
            logits = self._account(logits, where, width, rows)
        guess = predict(
            logits,
            mask_id=self._mask_id,
            forbidden=self._end_ids if options.eos == "forbid" else None,
            confidence=options.confidence,
            with_entropy=self.needs_entropy,
            gumbel=self._gumbel(logits, where, width, rows),
        )
        penalty = None
        if options.eos == "delay":
            penalty = _DELAY * torch.isin(guess.tokens, self._end_ids).to(guess.confidence.dtype)
        guess = Prediction(
            _spread(guess.tokens, where, width),
            _spread(guess.confidence, where, width),
            None if guess.entropy is None else _spread(guess.entropy, where, width),
            None if penalty is None else _spread(penalty, where, width),
        )
        if options.confidence != "random" or self._streams is None:
            return guess
        drawn = self._streams.uniform(rows.deciding(), (width,), torch.float32)
        # Adding nothing but NaN, so that broken logits still show.
        return replace(guess, confidence=drawn + 0 * guess.confidence)

    def _gumbel(
        self, logits: Tensor, where: Tensor | None, width: int, rows: ActiveRows
    ) -> Tensor | None:
        if self.options.temperature == 0 or self._streams is None:
            return None
        # Numbers for the whole block, so that what a row draws depends on that row alone.
        shape = (width, logits.shape[-1])
        uniform = self._streams.uniform(rows.deciding(), shape, torch.float64)
        if where is not None:
            uniform = uniform.gather(1, where[..., None].expand(-1, -1, shape[1]))
        return gumbel_noise(uniform, self.options.temperature)


def _spread(values: Tensor, where: Tensor | None, width: int) -> Tensor:
    """Put values ``[N, M]`` at block positions ``where``; zero elsewhere."""
    if where is None:
        return values
    return values.new_zeros(values.shape[0], width).scatter(1, where, values)
