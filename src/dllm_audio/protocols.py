"""The seams between the parts, as structural types.

A part depends on these, never on another part's class, so that anyone can bring their own
encoder, backbone or predictor.  Shape letters: B batch, R response tokens, P prompt tokens,
Q query positions of one forward pass, M positions whose output is wanted, L sequence slots,
D width, V vocabulary.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Any, BinaryIO, Protocol, TypeAlias, runtime_checkable

import torch
from torch import Tensor, nn

from .outputs import AudioEmbeddings, EncoderOutput


class Array(Protocol):
    """A NumPy array, or whatever becomes one."""

    def __array__(self, dtype: Any = ..., copy: Any = ...) -> Any:
        """The NumPy array."""
        ...


# Where a sound may come from: a file (its path, its bytes, or an open one), or samples: (array,
# rate), {"array": ..., "sampling_rate": ...}, or a waveform at the encoder's own rate.
AudioSource: TypeAlias = (
    str
    | os.PathLike[str]
    | bytes
    | BinaryIO
    | tuple[object, float]
    | Mapping[str, object]
    | Tensor
    | Array
)


@runtime_checkable
class AudioEncoder(Protocol):
    """Turns waveforms into frames; it owns its front end."""

    @property
    def hidden_size(self) -> int:
        """Width E of the frames."""
        ...

    @property
    def num_layers(self) -> int:
        """Layers; there is one hidden state more."""
        ...

    @property
    def sampling_rate(self) -> int:
        """Samples per second that the front end expects."""
        ...

    @property
    def window_seconds(self) -> float | None:
        """Longest clip, or None for any length."""
        ...

    def features(self, waveforms: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
        """Front end: waveforms ``[T]`` to features ``[B, ...]`` and their lengths ``[B]`` int64.

        What a feature is only the encoder knows: log-mel frames ``[B, n_mels, F]`` or samples
        ``[B, T]`` fit alike.
        """
        ...

    def __call__(self, features: Tensor, lengths: Tensor) -> EncoderOutput:
        """Encode features with ``lengths [B]`` valid steps each."""
        ...


class AudioAdapter(Protocol):
    """Turns an encoder's output into embeddings in the backbone's space."""

    def __call__(self, encoder_output: EncoderOutput) -> AudioEmbeddings:
        """Embed a batch."""
        ...


@runtime_checkable
class Tokenizer(Protocol):
    """The two methods of a transformers tokenizer that the library uses."""

    def encode(self, text: str, add_special_tokens: bool = ...) -> list[int]:
        """Token ids of ``text``."""
        ...

    def decode(self, token_ids: Any, skip_special_tokens: bool = ...) -> str:
        """Text of ``token_ids``."""
        ...


@runtime_checkable
class KVCache(Protocol):
    """Preallocated keys and values of every layer for ``L`` sequence slots.

    Keys are stored after RoPE.  Slots are columns of the padded sequence: the prompt first
    (left-padded), then the response.
    """

    @property
    def length(self) -> int:
        """Slots L."""
        ...

    def write(self, layer: int, slots: Tensor | None, keys: Tensor, values: Tensor) -> None:
        """Store ``[B, H_kv, Q, d]`` keys and values at ``slots [Q]`` (None: at all slots)."""
        ...

    def layer(self, layer: int) -> tuple[Tensor, Tensor]:
        """Keys and values ``[B, H_kv, L, d]`` of one layer."""
        ...

    def keep(self, rows: Tensor) -> KVCache:
        """Move the chosen batch rows to the front, in place; a view of them."""
        ...

    def first_rows(self, batch_size: int) -> KVCache:
        """A view of the first rows, for a refresh with fewer rows."""
        ...


@runtime_checkable
class Backbone(Protocol):
    """A bidirectional transformer that predicts tokens.

    Where it is an ``nn.Module`` with a ``forward``, the library calls that (with the arguments of
    :meth:`hidden` and ``return_hidden=True``, which makes it return an object with
    ``last_hidden_state``), so that hooks and ``torch.compile`` work; otherwise :meth:`hidden`.
    A ``new_cache(batch_size, length)`` is optional: without it everything is computed anew.

    Attributes:
        config: has ``mask_token_id`` and ``eos_token_id``, perhaps ``max_sequence_length``.
        logit_shift: optional; 0 (the default) where position i is predicted from the state at i,
            1 where from the state at i - 1.
    """

    config: Any

    def embed(self, input_ids: Tensor) -> Tensor:
        """Embeddings ``[..., D]`` of token ids ``[...]``."""
        ...

    def hidden(
        self,
        inputs_embeds: Tensor,
        *,
        position_ids: Tensor | None = None,
        attention_mask: Tensor | None = None,
        cache: KVCache | None = None,
        slots: Tensor | None = None,
        output_positions: Tensor | None = None,
    ) -> Tensor:
        """Final normalized hidden states.

        Args:
            inputs_embeds: ``[B, Q, D]`` the positions that are computed.
            position_ids: ``[B, Q]`` RoPE positions; ``0..Q-1`` when None.
            attention_mask: ``[B, L]`` bool over the keys, True = attend; None: all.
            cache: where keys and values are kept; None computes without one.
            slots: ``[Q]`` columns of the cache that the queries occupy; None: all of them, in
                order (a full forward pass, which refreshes the whole cache).
            output_positions: ``[B, M]`` indices into Q whose states are wanted; None: all.

        Returns:
            ``[B, M, D]``, or ``[B, Q, D]`` without ``output_positions``.
        """
        ...

    def head(self, hidden: Tensor) -> Tensor:
        """Logits ``[..., V]`` of hidden states ``[..., D]``."""
        ...


def hidden_states(
    backbone: Backbone, inputs_embeds: Tensor, **arguments: Tensor | KVCache | None
) -> Tensor:
    """Final hidden states of a backbone, by the call that :class:`Backbone` describes.

    Args:
        backbone: called as a module where it has a ``forward``, so that hooks run and
            ``torch.compile`` sees it.
        inputs_embeds: ``[B, Q, D]``.
        arguments: further ones of :meth:`Backbone.hidden`.

    Returns:
        ``[B, M, D]``.
    """
    if isinstance(backbone, nn.Module) and _has_forward(backbone):
        output = backbone(inputs_embeds=inputs_embeds, return_hidden=True, **arguments)
        states: Tensor = output.last_hidden_state
        return states
    return backbone.hidden(inputs_embeds, **arguments)  # type: ignore[arg-type]


def _has_forward(module: nn.Module) -> bool:
    return getattr(module.forward, "__func__", module.forward) is not nn.Module.forward


def causal_block_length(backbone: Backbone) -> int | None:
    """Response positions of a block that sees nothing behind it; None: attention is full."""
    length: int | None = getattr(backbone.config, "causal_block_length", None)
    return length


@runtime_checkable
class CachingBackbone(Backbone, Protocol):
    """A backbone that keeps keys and values."""

    def new_cache(self, batch_size: int, length: int) -> KVCache:
        """An empty cache for ``length`` slots."""
        ...


@runtime_checkable
class MaskPredictor(Protocol):
    """Predicts the clean tokens of a response from a partly masked one.

    This is all that samplers, losses and ELBO estimates need: the prompt, the audio, padding and
    positions are hidden behind it.  A plain predictor takes ``x_t`` only; one that can do less
    work per call is a ``CacheablePredictor``.

    Attributes:
        batch_size: rows B that it was made for.
        mask_token_id: the id that stands for "not yet known" in ``x_t``.
        eos_token_id: the id that ends a response, or None.
        device: where it computes.

    Example:
        Any function of the response becomes a predictor, without a base class; this one always
        expects token 5, and a sampler decodes it:

        >>> from dllm_audio import LowConfidenceSampler
        >>> class Always:
        ...     batch_size, mask_token_id, eos_token_id = 1, 7, 6
        ...     device = torch.device("cpu")
        ...     def __call__(self, x_t):
        ...         return torch.eye(8)[5].expand(*x_t.shape, 8)
        >>> isinstance(Always(), MaskPredictor)
        True
        >>> LowConfidenceSampler(steps=2, gen_length=4)(Always()).tokens
        tensor([[5, 5, 5, 5]])
    """

    batch_size: int
    mask_token_id: int
    eos_token_id: int | None
    device: torch.device

    def __call__(self, x_t: Tensor) -> Tensor:
        """Logits ``[B, R, V]`` for ``x_t [B, R]`` int64."""
        ...


@runtime_checkable
class CacheablePredictor(MaskPredictor, Protocol):
    """A predictor that can restrict its output, reuse keys and values, and drop rows."""

    def __call__(
        self,
        x_t: Tensor,
        positions: Tensor | None = None,
        *,
        cache: KVCache | None = None,
        window: Tensor | None = None,
    ) -> Tensor:
        """Logits at some response positions.

        Args:
            x_t: ``[B, R]`` int64, the whole response as it stands.
            positions: ``[B, M]`` response positions whose logits are wanted; None: all.
            cache: keys and values to use.  With ``window`` None it is refreshed: the pass runs
                over the whole sequence and stores everything.
            window: ``[Q]`` consecutive response positions to recompute against the cache;
                ``positions`` must lie inside it.

        Returns:
            ``[B, M, V]``, or ``[B, R, V]`` without ``positions``.
        """
        ...

    def new_cache(self, response_length: int) -> KVCache:
        """A cache that fits this predictor's prompt and a response of that length."""
        ...

    def select(self, rows: Tensor) -> CacheablePredictor:
        """The predictor of the chosen batch rows (``[B']`` int64)."""
        ...

    def cache_rows(self, rows: Tensor) -> Tensor:
        """Rows of this predictor's cache that belong to its batch rows ``rows``."""
        ...


@runtime_checkable
class ExactlyCacheablePredictor(CacheablePredictor, Protocol):
    """A cacheable predictor whose blocks see nothing behind them, so that a cache can be exact.

    Attributes:
        causal_block_length: response positions of a block.
    """

    @property
    def causal_block_length(self) -> int:
        """See the class."""
        ...

    def __call__(
        self,
        x_t: Tensor,
        positions: Tensor | None = None,
        *,
        cache: KVCache | None = None,
        window: Tensor | None = None,
        with_prompt: bool = False,
    ) -> Tensor:
        """As of any cacheable predictor, with whole blocks as windows.

        Args:
            x_t: see there, as for the next three.
            positions: see there.
            cache: see there.
            window: see there.
            with_prompt: compute the prompt before the window, as the first pass on a cache does.
        """
        ...


@runtime_checkable
class ShadowingPredictor(CacheablePredictor, Protocol):
    """A cacheable predictor that can judge what stands at a position without seeing it."""

    def shadowed(
        self,
        x_t: Tensor,
        block: tuple[int, int],
        *,
        cache: KVCache | None = None,
        window: Tensor | None = None,
    ) -> tuple[Tensor, Tensor]:
        """Logits ``[B, C, V]`` of a block, and of the shadow of each of its positions.

        Args:
            x_t: ``[B, R]`` int64, the whole response as it stands.
            block: response positions ``[start, end)``, C of them.
            cache: from ``new_cache(R, shadow_slots)``.
            window: ``[Q]`` consecutive response positions to compute; None: everything.
        """
        ...

    def new_cache(self, response_length: int, shadow_slots: int = 0) -> KVCache:
        """A cache with room for the shadow of the longest block."""
        ...


@runtime_checkable
class ConfinablePredictor(CacheablePredictor, Protocol):
    """A cacheable predictor whose responses may get other lengths while they are decoded.

    Attributes:
        response_mask: ``[B, R]`` bool, True = real, right-padded; None: all is real.
    """

    @property
    def response_mask(self) -> Tensor | None:
        """See the class."""
        ...

    def within(self, response_mask: Tensor) -> ConfinablePredictor:
        """The predictor of responses with ``response_mask [B, R]``; never changes this one."""
        ...
