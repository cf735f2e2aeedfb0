"""The conditioned predictor: a backbone that sees a prompt, as a function of the response.

Shape letters: B batch, L prompt columns (audio included), R response tokens, M positions whose
output is wanted, Q recomputed positions, V vocabulary.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from typing import cast

import torch
from torch import Tensor

from ..errors import InvalidArgumentError, ShapeError
from ..protocols import Backbone, CachingBackbone, KVCache, hidden_states
from .shadow import states_with_shadow
from .splice import SplicedPrompt


class ConditionedPredictor:
    """Logits over response positions only; made by :func:`dllm_audio.condition`.

    Args:
        backbone: predicts tokens.
        prompt: spliced prompt embeddings, computed once.
        response_mask: ``[B, R]`` bool, right-padded; padded positions are never attended to.
        mask_token_id: stands for "not yet known".
        eos_token_id: ends a response, or None.
        variants: how to build the unconditional prompts of guidance, of the same length L:
            ``"text"`` with every text token replaced by the mask, ``"audio"`` without the audio.

    Attributes:
        causal_block_length: response positions of a block that sees nothing behind it; None:
            attention is full.
    """

    causal_block_length: int | None = None

    def __init__(
        self,
        backbone: Backbone,
        prompt: SplicedPrompt,
        response_mask: Tensor | None,
        mask_token_id: int,
        eos_token_id: int | None,
        variants: Mapping[str, Callable[[], SplicedPrompt]] | None = None,
    ) -> None:
        self.backbone = backbone
        self.prompt = prompt
        self.response_mask = response_mask
        self.mask_token_id = mask_token_id
        self.eos_token_id = eos_token_id
        self.variants = dict(variants or {})
        self.batch_size, self.prompt_length = prompt.mask.shape
        self.device = prompt.embeds.device
        self.logit_shift = _logit_shift(backbone)
        self._offsets = prompt.mask.sum(-1, keepdim=True)
        unpadded = bool(prompt.mask.all()) and (response_mask is None or bool(response_mask.all()))
        self._padded = not unpadded
        self._chosen: Tensor | None = None  # rows of the variants that this predictor has
        self._layout: tuple[Tensor, Tensor | None] | None = None

    def __call__(
        self,
        x_t: Tensor,
        positions: Tensor | None = None,
        *,
        cache: KVCache | None = None,
        window: Tensor | None = None,
    ) -> Tensor:
        """Logits ``[B, M, V]``; see :class:`dllm_audio.protocols.CacheablePredictor`."""
        return self.head(self.hidden(x_t, positions, cache=cache, window=window))

    def hidden(
        self,
        x_t: Tensor,
        positions: Tensor | None = None,
        *,
        cache: KVCache | None = None,
        window: Tensor | None = None,
    ) -> Tensor:
        """Final hidden states ``[B, M, D]`` of the same positions, before the output head."""
        self._check(x_t, cache, window)
        position_ids, attention_mask = self._layout_of(x_t.shape[1])
        if window is None:
            if positions is None:
                positions = torch.arange(x_t.shape[1], device=self.device)
            return hidden_states(
                self.backbone,
                torch.cat((self.prompt.embeds, self.backbone.embed(x_t)), dim=1),
                position_ids=position_ids,
                attention_mask=attention_mask,
                cache=cache,
                output_positions=self._sources(positions) + self.prompt_length,
            )
        computed = window
        if self.logit_shift:
            if positions is None:
                positions = window
            computed = torch.cat((window[:1] - 1, window))
        wanted = None if positions is None else self._sources(positions) - computed[0]
        return hidden_states(
            self.backbone,
            self._embedded(x_t, computed),
            position_ids=(self._offsets + computed).clamp(min=0),
            attention_mask=attention_mask,
            cache=cache,
            slots=(self.prompt_length + computed).clamp(min=0),
            output_positions=wanted,
        )

    def _sources(self, positions: Tensor) -> Tensor:
        """The response positions ``[B, M]`` whose states predict those at ``positions``.

        With shifted logits that is the one before; -1 is the prompt's last column. Where a row
        has no prompt, its first position is predicted from its own state.
        """
        rows = self._rows(positions)
        if not self.logit_shift:
            return rows
        alone = (rows == 0) & (self._offsets == 0)
        return torch.where(alone, rows, rows - 1)

    def _embedded(self, x_t: Tensor, columns: Tensor) -> Tensor:
        """Embeddings of consecutive response columns; -1 is the prompt's last one."""
        if not self.logit_shift:
            return self.backbone.embed(x_t[:, columns])
        embeds = self.backbone.embed(x_t[:, columns.clamp(min=0)])
        if self.prompt_length == 0:
            return embeds  # column 0 comes twice, which changes nothing
        before = (columns < 0)[None, :, None]
        return torch.where(before, self.prompt.embeds[:, -1:].to(embeds.dtype), embeds)

    @property
    def can_shadow(self) -> bool:
        """Whether single positions can be hidden from others, as :meth:`shadowed` needs it."""
        return getattr(self.backbone, "takes_visible", False) and self.logit_shift == 0

    def shadowed(
        self,
        x_t: Tensor,
        block: tuple[int, int],
        *,
        cache: KVCache | None = None,
        window: Tensor | None = None,
    ) -> tuple[Tensor, Tensor]:
        """Logits of a block and of its shadow, ``[B, C, V]`` each, in one pass.

        A position's shadow sees everything but what stands at that position.

        Args:
            x_t: ``[B, R]`` int64, the whole response as it stands.
            block: response positions ``[start, end)``, C of them.
            cache: from :meth:`new_cache` with ``shadow_slots``.
            window: as for a call; the block must lie inside it.
        """
        self._check(x_t, cache, window)
        layout = self._layout_of(x_t.shape[1])
        states = states_with_shadow(self, x_t, layout, block, cache, window)
        logits, shadow = self.head(states).chunk(2, dim=1)
        return logits, shadow

    def head(self, hidden: Tensor) -> Tensor:
        """Logits ``[..., V]`` of hidden states."""
        return self.backbone.head(hidden)

    @property
    def can_cache(self) -> bool:
        """Whether the backbone keeps keys and values."""
        return hasattr(self.backbone, "new_cache")

    def check_start(
        self, response_length: int, token_ids: Tensor | None = None, argument: str = "start"
    ) -> None:
        """Refuse what cannot be decoded, before anything of its size is allocated.

        Args:
            response_length: R of the response to come.
            token_ids: what will stand in it.
            argument: named in errors about them.

        Raises:
            InvalidArgumentError: more positions than the backbone knows, or ids that are none.
        """
        self._check_length("gen_length", response_length)
        if token_ids is not None:
            check_ids(argument, token_ids, self.backbone)

    def new_cache(self, response_length: int, shadow_slots: int = 0) -> KVCache:
        """A cache for the prompt and a response of that length; see :attr:`can_cache`.

        Args:
            response_length: R.
            shadow_slots: for :meth:`shadowed`, as many as the longest block has positions.
        """
        self._check_length("response_length", response_length)
        backbone = cast(CachingBackbone, self.backbone)
        length = self.prompt_length + response_length + shadow_slots
        return backbone.new_cache(self.batch_size, length)

    def select(self, rows: Tensor) -> ConditionedPredictor:
        """The predictor of the chosen batch rows ``[B']`` int64, without a host synchronization."""
        # Not through the constructor: it would ask the device whether there is padding.
        chosen = copy.copy(self)
        chosen.prompt = self.prompt.select(rows)
        chosen.response_mask = None if self.response_mask is None else self.response_mask[rows]
        chosen.batch_size = len(rows)
        chosen._offsets = self._offsets[rows]
        chosen._chosen = rows if self._chosen is None else self._chosen[rows]
        chosen._layout = None
        return chosen

    def within(self, response_mask: Tensor) -> ConditionedPredictor:
        """The predictor of responses of other lengths, without a host synchronization.

        Args:
            response_mask: ``[B, R]`` bool, True = real, right-padded.
        """
        other = copy.copy(self)
        other.response_mask, other._padded, other._layout = response_mask, True, None
        return other

    def cache_rows(self, rows: Tensor) -> Tensor:
        """Rows of the cache that belong to batch rows: the same."""
        return rows

    def paired(self, unconditional: str) -> ConditionedPredictor:
        """``2 B`` rows for guidance: all conditional rows, then all unconditional ones.

        Args:
            unconditional: ``"text"`` hides the prompt's text behind masks and keeps the audio
                (DIFFA's guidance); ``"audio"`` takes the audio away and keeps the text.
        """
        if unconditional not in self.variants:
            expected = f"one of {sorted(self.variants)} ('audio' needs a prompt with audio)"
            raise InvalidArgumentError("unconditional", expected, unconditional)
        other, mask = self.variants[unconditional](), self.response_mask
        if self._chosen is not None:
            other = other.select(self._chosen)
        return type(self)(
            self.backbone,
            SplicedPrompt(
                torch.cat((self.prompt.embeds, other.embeds)),
                torch.cat((self.prompt.mask, other.mask)),
            ),
            None if mask is None else torch.cat((mask, mask)),
            self.mask_token_id,
            self.eos_token_id,
        )

    def _rows(self, positions: Tensor) -> Tensor:
        return positions if positions.dim() == 2 else positions.expand(self.batch_size, -1)

    def _layout_of(self, response_length: int) -> tuple[Tensor, Tensor | None]:
        """RoPE positions and attention mask ``[B, L + R]``, made once for all steps."""
        columns = self.prompt_length + response_length
        if self._layout is None or self._layout[0].shape[1] != columns:
            prompt, response = self.prompt.mask, self.response_mask
            before = prompt.long().cumsum(-1).sub(1).clamp(min=0)
            after = self._offsets + torch.arange(response_length, device=self.device)
            mask = None
            if self._padded:
                if response is None:
                    response = prompt.new_ones(self.batch_size, response_length)
                mask = torch.cat((prompt, response), dim=1)
            self._layout = torch.cat((before, after), dim=1), mask
        return self._layout

    def _check(
        self, x_t: Tensor, cache: KVCache | None = None, window: Tensor | None = None
    ) -> None:
        if window is not None and cache is None:
            raise InvalidArgumentError("cache", "a filled cache, because window is given", None)
        response = "R" if self.response_mask is None else self.response_mask.shape[1]
        if x_t.dim() != 2 or x_t.shape[0] != self.batch_size or x_t.shape[1] == 0:
            raise ShapeError("x_t", f"[{self.batch_size}, {response}]", list(x_t.shape))
        if self.response_mask is not None and x_t.shape[1] != response:
            raise ShapeError("x_t", f"[{self.batch_size}, {response}]", list(x_t.shape))
        if x_t.dtype not in (torch.int64, torch.int32):
            raise InvalidArgumentError("x_t", "int64 token ids", x_t.dtype)
        self._check_length("x_t", x_t.shape[1])

    def _check_length(self, argument: str, response_length: int) -> None:
        limit = getattr(self.backbone.config, "max_sequence_length", None)
        if limit is None or self.prompt_length + response_length <= limit:
            return
        # Padding has no position of its own: what counts is the longest row.
        prompts = self.prompt.mask.sum(-1)
        responses = torch.full_like(prompts, response_length)
        if self.response_mask is not None:
            responses = self.response_mask.sum(-1)
        row = int((prompts + responses).argmax())
        if int(prompts[row] + responses[row]) > limit:
            expected = f"prompt, audio and response within {limit} positions"
            got = f"{int(prompts[row])} + {int(responses[row])} in row {row}"
            raise InvalidArgumentError(argument, expected, got)


def check_ids(argument: str, token_ids: Tensor, backbone: Backbone) -> None:
    """Token ids that the backbone has embeddings for.

    Raises:
        InvalidArgumentError: they are none.
    """
    if token_ids.dtype not in (torch.int64, torch.int32):
        raise InvalidArgumentError(argument, "int64 token ids", token_ids.dtype)
    count = getattr(backbone.config, "num_embeddings", None)
    if count is not None and bool(((token_ids < 0) | (token_ids >= count)).any()):
        got = f"{int(token_ids.min())} to {int(token_ids.max())}"
        raise InvalidArgumentError(argument, f"ids in [0, {count})", got)


def _logit_shift(backbone: Backbone) -> int:
    shift = getattr(backbone, "logit_shift", 0)
    if shift not in (0, 1):
        raise InvalidArgumentError("backbone.logit_shift", "0 or 1", shift)
    return int(shift)
