"""LLaDA (arXiv 2502.09992): a bidirectional masked-diffusion language model, native PyTorch."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from ..errors import InvalidArgumentError, ShapeError
from ..outputs import BackboneOutput
from ..protocols import KVCache
from .attention import row_layout
from .block import LLaDABlock
from .cache import StaticKVCache
from .config import LLaDAConfig
from .head import OutputHead, vocabulary_product
from .rope import rope_tables


class LLaDA(nn.Module):
    """The backbone of DIFFA: predicts the token behind every position, without a causal mask.

    Args:
        config: sizes and token ids.

    Example:
        >>> config = LLaDAConfig(d_model=32, n_layers=1, n_heads=2, mlp_hidden_size=64,
        ...                      vocab_size=50, mask_token_id=49, eos_token_id=48)
        >>> LLaDA(config)(torch.zeros(2, 7, dtype=torch.long)).logits.shape
        torch.Size([2, 7, 50])
    """

    def __init__(self, config: LLaDAConfig) -> None:
        super().__init__()
        self.config = config
        self.gradient_checkpointing = False
        self.wte = nn.Embedding(config.num_embeddings, config.d_model)
        self.blocks = nn.ModuleList(LLaDABlock(config, i) for i in range(config.n_layers))
        self.ln_f = nn.RMSNorm(config.d_model, eps=config.rms_norm_eps)
        if not config.weight_tying:
            self.ff_out = OutputHead(config.d_model, config.num_embeddings)
        self.apply(self._initialize)

    def _initialize(self, module: nn.Module) -> None:
        if isinstance(module, nn.Linear | nn.Embedding):
            nn.init.normal_(module.weight, std=self.config.init_std)

    @classmethod
    def from_pretrained(
        cls,
        dir_or_id: str | Path,
        *,
        dtype: torch.dtype | None = None,
        device: torch.device | str = "cpu",
        revision: str | None = None,
    ) -> LLaDA:
        """Load published weights (safetensors, sharded or not) straight to their place.

        Args:
            dir_or_id: a local directory, or a hub id such as ``GSAI-ML/LLaDA-8B-Instruct``.
            dtype: floating-point type of the parameters; None keeps the stored one.
            device: where the parameters go, one tensor at a time.
            revision: hub revision.

        Raises:
            CheckpointError: files or tensors missing, unexpected or of the wrong shape.
        """
        from .loading import load_llada

        return load_llada(cls, dir_or_id, dtype=dtype, device=device, revision=revision)

    @property
    def device(self) -> torch.device:
        """Where the parameters are."""
        return self.wte.weight.device

    @property
    def dtype(self) -> torch.dtype:
        """Floating-point type of the embeddings."""
        return self.wte.weight.dtype

    def embed(self, input_ids: Tensor) -> Tensor:
        """Embeddings ``[..., D]`` of token ids ``[...]``."""
        return self.wte(input_ids)

    def head(self, hidden: Tensor) -> Tensor:
        """Logits ``[..., V]`` of final hidden states ``[..., D]``."""
        if self.config.weight_tying:
            return vocabulary_product(hidden, self.wte.weight)
        return self.ff_out(hidden)

    def new_cache(self, batch_size: int, length: int) -> StaticKVCache:
        """An empty cache for ``length`` slots, in the model's dtype, on its device."""
        return StaticKVCache(self.config, batch_size, length, dtype=self.dtype, device=self.device)

    def forward(
        self,
        input_ids: Tensor | None = None,
        inputs_embeds: Tensor | None = None,
        attention_mask: Tensor | None = None,
        position_ids: Tensor | None = None,
    ) -> BackboneOutput:
        """Logits at every position.

        Args:
            input_ids: ``[B, L]`` int64; give these or ``inputs_embeds``.
            inputs_embeds: ``[B, L, D]``.
            attention_mask: ``[B, L]`` bool (or 0/1), True = a real position. Padding, on
                either side, is never attended to and does not shift positions.
            position_ids: ``[B, L]`` RoPE positions; counted over real positions when None.

        Returns:
            ``.logits [B, L, V]`` (those at padding have no meaning).
        """
        if input_ids is not None and inputs_embeds is None:
            embeds = self.embed(input_ids)
        elif inputs_embeds is not None and input_ids is None:
            embeds = inputs_embeds
        else:
            got = "neither" if input_ids is None else "both"
            raise InvalidArgumentError("input_ids", "either it or inputs_embeds", got)
        hidden = self.hidden(embeds, position_ids=position_ids, attention_mask=attention_mask)
        return BackboneOutput(self.head(hidden))

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
        """Final normalized hidden states; see :class:`dllm_audio.protocols.Backbone`."""
        if inputs_embeds.dim() != 3 or inputs_embeds.shape[-1] != self.config.d_model:
            expected = f"[B, L, {self.config.d_model}]"
            raise ShapeError("inputs_embeds", expected, list(inputs_embeds.shape))
        batch, length, _ = inputs_embeds.shape
        mask = self._checked_mask(attention_mask, batch, None if slots is not None else length)
        if position_ids is None:
            if slots is not None:
                raise InvalidArgumentError("position_ids", "positions for the given slots", None)
            if mask is not None:
                position_ids = mask.long().cumsum(-1).sub(1).clamp(min=0)
            else:
                position_ids = torch.arange(length, device=inputs_embeds.device)[None]
        layout = row_layout(inputs_embeds, mask, windowed=slots is not None)
        head_dim, theta = self.config.head_dim, self.config.rope_theta
        spans = layout.queries if len(position_ids) == batch else None
        rope = rope_tables(position_ids, head_dim, theta, spans)
        x, last = inputs_embeds, len(self.blocks) - 1
        recompute = self.gradient_checkpointing and self.training and torch.is_grad_enabled()
        for i, block in enumerate(self.blocks):
            chosen = output_positions if i == last else None
            if recompute:
                x = checkpoint(block, x, rope, layout, cache, slots, chosen, use_reentrant=False)
            else:
                x = block(x, rope, layout, cache, slots, chosen)
        return self.ln_f(x)

    def gradient_checkpointing_enable(
        self, gradient_checkpointing_kwargs: dict[str, Any] | None = None
    ) -> None:
        """Recompute each block in the backward pass instead of keeping its activations.

        Args:
            gradient_checkpointing_kwargs: accepted for transformers' Trainer; only
                ``use_reentrant=False`` is possible.
        """
        if (gradient_checkpointing_kwargs or {}).get("use_reentrant"):
            raise InvalidArgumentError("use_reentrant", "False", True)
        self.gradient_checkpointing = True

    def gradient_checkpointing_disable(self) -> None:
        """Keep activations again."""
        self.gradient_checkpointing = False

    @staticmethod
    def _checked_mask(mask: Tensor | None, batch: int, length: int | None) -> Tensor | None:
        if mask is None:
            return None
        if mask.dim() != 2 or mask.shape[0] != batch or length not in (None, mask.shape[1]):
            raise ShapeError("attention_mask", f"[{batch}, {length or 'L'}]", list(mask.shape))
        if mask.is_floating_point():
            raise InvalidArgumentError("attention_mask", "bool, True = attend", mask.dtype)
        return mask.bool()
