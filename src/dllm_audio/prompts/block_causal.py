"""The conditioned predictor of a backbone whose blocks see nothing behind them.

The prompt attends to itself; a block of the response to the prompt, to the blocks before it and to
itself.  Keys and values of what is finished never change any more, so a cache of them is exact
(block diffusion, arXiv 2503.09573).

Shape letters: B batch, L prompt columns (audio included), R response tokens, M positions whose
output is wanted, Q recomputed columns, D width, V vocabulary.
"""

from __future__ import annotations

import torch
from torch import Tensor

from ..protocols import KVCache, hidden_states
from .predictor import ConditionedPredictor


class BlockCausalPredictor(ConditionedPredictor):
    """Logits over response positions whose blocks see nothing behind them.

    On the CPU, outside of training, every pass is taken prompt first and block by block, whether
    there is a cache or not: a block is computed by the same operations either way, and its logits
    are the same to the last bit.  Elsewhere one pass covers all blocks.
    """

    @property
    def causal_block_length(self) -> int:  # type: ignore[override]
        """Response positions of a block."""
        length: int = self.backbone.config.causal_block_length
        return length

    def __call__(
        self,
        x_t: Tensor,
        positions: Tensor | None = None,
        *,
        cache: KVCache | None = None,
        window: Tensor | None = None,
        with_prompt: bool = False,
    ) -> Tensor:
        """Logits ``[B, M, V]``; arguments are those of :meth:`hidden`."""
        hidden = self.hidden(x_t, positions, cache=cache, window=window, with_prompt=with_prompt)
        if positions is not None or not self._goes_by_block():
            return self.head(hidden)
        # Beside the rows of other blocks, a product might round those of a block in another way.
        first = 0 if window is None else int(window[0])
        blocks = self._blocks(first, first + hidden.shape[1], x_t.shape[1])
        states = hidden.split([end - begin for begin, end in blocks], dim=1)
        return torch.cat([self.head(block) for block in states], dim=1)

    def hidden(
        self,
        x_t: Tensor,
        positions: Tensor | None = None,
        *,
        cache: KVCache | None = None,
        window: Tensor | None = None,
        with_prompt: bool = False,
    ) -> Tensor:
        """Final hidden states ``[B, M, D]``.

        Args:
            x_t: ``[B, R]`` int64, the whole response as it stands.
            positions: ``[B, M]`` or ``[M]`` response positions whose states are wanted; None: all
                that are computed.
            cache: where keys and values are kept.
            window: ``[Q]`` consecutive response positions to compute, whole blocks (the last one
                may end with the response); what is before them is taken from the cache. None:
                prompt and response, as far as ``positions`` need them.
            with_prompt: compute the prompt before the window, as the first pass on a cache does.

        Raises:
            InvalidArgumentError: a window without a cache.
        """
        self._check(x_t, cache, window)
        computed = torch.arange(x_t.shape[1], device=self.device) if window is None else window
        wanted = computed if positions is None else positions
        from_prompt = with_prompt or window is None
        if self._goes_by_block():
            return self._block_by_block(x_t, wanted, int(computed[0]), cache, from_prompt)
        return self._at_once(x_t, wanted, computed, cache, from_prompt)

    @property
    def can_shadow(self) -> bool:
        """No: a shadow would have to see the blocks behind its own."""
        return False

    def hidden_given_clean(self, x_t: Tensor, x_0: Tensor) -> Tensor:
        """States ``[B, R, D]`` of ``x_t`` where each block sees the clean blocks before it.

        What decoding computes block after block, in one pass over prompt, clean response and noisy
        response (arXiv 2503.09573, section 3.2); losses and likelihood bounds rest on it.

        Args:
            x_t: ``[B, R]`` int64 partly masked response.
            x_0: ``[B, R]`` int64 clean response.
        """
        self._check(x_t)
        position_ids, mask = self._layout_of(x_t.shape[1])
        levels, start = self._levels(x_t.shape[1]), self.prompt_length
        keys = torch.cat((levels, levels[start:]))
        noisy = torch.arange(len(keys), device=self.device) >= len(levels)
        # Clean queries see clean keys up to their block, noisy ones those before it and itself.
        highest = keys - noisy.long()
        visible = (keys <= highest[:, None]) & ~noisy
        visible |= (keys == keys[:, None]) & noisy & noisy[:, None]
        embeds = (self.prompt.embeds, self.backbone.embed(x_0), self.backbone.embed(x_t))
        return hidden_states(
            self.backbone,
            torch.cat(embeds, dim=1),
            position_ids=torch.cat((position_ids, position_ids[:, start:]), dim=1),
            attention_mask=None if mask is None else torch.cat((mask, mask[:, start:]), dim=1),
            output_positions=self._rows(noisy.nonzero()[:, 0]),
            visible=visible,
        )

    def _goes_by_block(self) -> bool:
        return self.device.type == "cpu" and not torch.is_grad_enabled()

    def _blocks(self, first: int, last: int, length: int) -> list[tuple[int, int]]:
        """The blocks ``[begin, end)`` that cover ``[first, last)`` of a response."""
        size = self.causal_block_length
        cuts = [first, *range((first // size + 1) * size, last, size)]
        ends = [*cuts[1:], min(-(-last // size) * size, length)]
        return list(zip(cuts, ends, strict=True))

    def _levels(self, length: int) -> Tensor:
        """``[L + R]`` int64: 0 for the prompt, k + 1 for block k; none sees what is above it."""
        columns = torch.arange(-self.prompt_length, length, device=self.device)
        return columns.div(self.causal_block_length, rounding_mode="floor").clamp(min=-1) + 1

    def _block_by_block(
        self, x_t: Tensor, wanted: Tensor, first: int, cache: KVCache | None, from_prompt: bool
    ) -> Tensor:
        """States ``[B, M, D]``; what no wanted position sees is not computed."""
        length, start = x_t.shape[1], self.prompt_length
        position_ids, mask = self._layout_of(length)
        columns = torch.arange(start + length)
        store = self.new_cache(length) if cache is None else cache

        def states(embeds: Tensor, begin: int, end: int) -> Tensor:
            seen = (columns < end).expand(self.batch_size, -1)
            return hidden_states(
                self.backbone,
                embeds,
                position_ids=position_ids[:, begin:end],
                attention_mask=seen if mask is None else seen & mask,
                cache=store,
                slots=columns[begin:end],
            )

        if from_prompt and start:
            states(self.prompt.embeds, 0, start)
        found = torch.cat(
            [
                states(self.backbone.embed(x_t[:, begin:end]), start + begin, start + end)
                for begin, end in self._blocks(first, int(wanted.max()) + 1, length)
            ],
            dim=1,
        )
        rows = self._rows(wanted) - first
        return found.gather(1, rows[..., None].expand(-1, -1, found.shape[-1]))

    def _at_once(
        self,
        x_t: Tensor,
        wanted: Tensor,
        computed: Tensor,
        cache: KVCache | None,
        from_prompt: bool,
    ) -> Tensor:
        """States ``[B, M, D]`` in one pass, without a host synchronization."""
        position_ids, mask = self._layout_of(x_t.shape[1])
        levels = self._levels(x_t.shape[1])
        embeds, slots = self.backbone.embed(x_t[:, computed]), self.prompt_length + computed
        rows = self._rows(wanted) - computed[0]
        visible: dict[str, Tensor] = {}
        if from_prompt:
            embeds = torch.cat((self.prompt.embeds, embeds), dim=1)
            slots = torch.cat((torch.arange(self.prompt_length, device=self.device), slots))
            rows = rows + self.prompt_length
        if from_prompt or len(computed) > self.causal_block_length:
            visible["visible"] = levels <= levels[slots][:, None]
        else:  # one block: all of its positions see the same, which a recorded pass can take
            seen = (levels <= levels[slots[:1]]).expand(self.batch_size, -1)
            mask = seen if mask is None else mask & seen
        return hidden_states(
            self.backbone,
            embeds,
            position_ids=position_ids[:, slots],
            attention_mask=mask,
            cache=cache,
            slots=None if cache is None else slots,
            output_positions=rows,
            **visible,
        )
