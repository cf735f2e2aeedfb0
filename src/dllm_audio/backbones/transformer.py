"""A bidirectional transformer over token embeddings: what LLaDA and Dream have in common."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar, TypeVar

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint
from transformers import PreTrainedModel
from transformers.utils.quantization_config import QuantizationConfigMixin

from ..errors import InvalidArgumentError, ShapeError
from ..outputs import BackboneOutput
from ..protocols import KVCache
from ..weights import check_hub_options
from .attention import row_layout
from .block import TransformerBlock
from .cache import StaticKVCache
from .config import TransformerConfig
from .head import OutputHead, vocabulary_product
from .loading import DeviceMap, load_backbone
from .names import Names
from .rope import rope_tables
from .saving import save_backbone

Model = TypeVar("Model", bound="DiffusionTransformer")


class DiffusionTransformer(PreTrainedModel):
    """Predicts the token behind every position, without a causal mask.

    A family is a subclass that names its config and how its checkpoints name their tensors.

    Args:
        config: sizes and token ids.
    """

    config_class = TransformerConfig
    supports_gradient_checkpointing = True
    logit_shift: ClassVar[int] = 0
    takes_visible: ClassVar[bool] = True
    # Keys and values go through the cache's own methods alone, so that it may be several in one.
    joins_caches: ClassVar[bool] = True
    names: ClassVar[Names]
    config: TransformerConfig

    def __init__(self, config: TransformerConfig) -> None:
        if not isinstance(config, type(self).config_class):
            expected = f"a {type(self).config_class.__name__}"
            raise InvalidArgumentError("config", expected, type(config).__name__)
        config.check()
        super().__init__(config)
        self.gradient_checkpointing = False
        self.wte = nn.Embedding(config.num_embeddings, config.d_model)
        self.blocks = nn.ModuleList(TransformerBlock(config, i) for i in range(config.n_layers))
        self.ln_f = nn.RMSNorm(config.d_model, eps=config.rms_norm_eps)
        if not config.weight_tying:
            self.ff_out = OutputHead(config.d_model, config.num_embeddings)
        self.post_init()  # initial weights, by config.init_std

    @classmethod
    def from_pretrained(  # type: ignore[override]
        cls: type[Model],
        dir_or_id: str | Path,
        *,
        dtype: torch.dtype | str | None = None,
        device_map: DeviceMap = None,
        quantization_config: QuantizationConfigMixin | Mapping[str, Any] | None = None,
        revision: str | None = None,
        config: TransformerConfig | None = None,
        **hub_options: object,
    ) -> Model:
        """Load published weights (safetensors, sharded or not) straight to their place.

        Args:
            dir_or_id: a local directory, or a hub id such as ``GSAI-ML/LLaDA-8B-Instruct``.
            dtype: floating-point type of the parameters; None or ``"auto"`` keeps the stored one.
            device_map: a device for everything (None: the CPU), ``"auto"`` or ``"balanced"`` to
                spread the layers over what there is, or a mapping of module names to devices.
            quantization_config: one of transformers' quantization configs.
            revision: hub revision.
            config: None reads the folder's ``config.json``.
            hub_options: what transformers' auto classes pass on; code of a checkpoint is never run.

        Raises:
            InvalidArgumentError: an option that is not known.
            CheckpointError: files or tensors missing, unexpected or of the wrong shape.
        """
        check_hub_options(hub_options)
        return load_backbone(
            cls,
            dir_or_id,
            super().from_pretrained,
            dtype=dtype,
            device_map=device_map,
            quantization_config=quantization_config,
            revision=revision,
            config=config,
        )

    def save_pretrained(  # type: ignore[override]
        self, save_directory: str | Path, *, max_shard_size: int | str = "5GB"
    ) -> None:
        """Write config and weights under the published names; whole or not at all.

        Args:
            save_directory: made when it does not exist; weights of an earlier save are replaced.
            max_shard_size: of one file.

        Raises:
            InvalidArgumentError: weights that would not come back as they are: quantized, tied by
                hand, or with LoRA beside them.
            CheckpointError: the folder cannot be written to; what it held is unchanged.
        """
        save_backbone(self, save_directory, max_shard_size)

    @classmethod
    def from_config(cls: type[Model], values: Mapping[str, Any]) -> Model:
        """A model with new weights from what :meth:`to_config` gave."""
        return cls(cls.config_class.from_dict(values))

    def to_config(self) -> dict[str, Any]:
        """The config as plain JSON values."""
        return self.config.to_dict()

    @property
    def device(self) -> torch.device:
        """Where the embeddings are."""
        return self.wte.weight.device

    @property
    def dtype(self) -> torch.dtype:
        """Floating-point type of the embeddings."""
        return self.wte.weight.dtype

    def get_input_embeddings(self) -> nn.Module:
        """The embedding of tokens, as transformers and peft ask for it."""
        return self.wte

    def set_input_embeddings(self, value: nn.Module) -> None:
        """Put another embedding in its place."""
        self.wte = value  # type: ignore[assignment]

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
        cache: KVCache | None = None,
        slots: Tensor | None = None,
        output_positions: Tensor | None = None,
        visible: Tensor | None = None,
        return_hidden: bool = False,
    ) -> BackboneOutput:
        """Logits, or final hidden states, at every position or at some.

        Args:
            input_ids: ``[B, L]`` int64; give these or ``inputs_embeds``.
            inputs_embeds: ``[B, L, D]``.
            attention_mask: ``[B, L]`` bool (or integer 0/1), True = a real position. Padding, on
                either side, is never attended to and does not shift positions.
            position_ids: ``[B, L]`` RoPE positions; counted over real positions when None.
            cache: see :meth:`dllm_audio.protocols.Backbone.hidden`, as for the next two.
            slots: ``[L]`` columns of the cache that the given positions occupy.
            output_positions: ``[B, M]`` indices of the positions whose output is wanted.
            visible: ``[Q, L]`` bool, the keys that each query may attend to; None: all, or with
                ``config.causal_block_length`` and without ``slots`` blocks from the first column.
            return_hidden: give the normalized hidden states instead of logits.

        Returns:
            ``.logits [B, L, V]`` or ``.last_hidden_state [B, L, D]`` (those at padding have no
            meaning), M instead of L where positions are chosen; the other one is None.
        """
        if input_ids is not None and inputs_embeds is None:
            inputs_embeds = self.embed(input_ids)
        elif inputs_embeds is None or input_ids is not None:
            got = "neither" if input_ids is None else "both"
            raise InvalidArgumentError("input_ids", "either it or inputs_embeds", got)
        hidden = self.hidden(
            inputs_embeds,
            position_ids=position_ids,
            attention_mask=attention_mask,
            cache=cache,
            slots=slots,
            output_positions=output_positions,
            visible=visible,
        )
        if return_hidden:
            return BackboneOutput(last_hidden_state=hidden)
        return BackboneOutput(logits=self.head(hidden))

    def hidden(
        self,
        inputs_embeds: Tensor,
        *,
        position_ids: Tensor | None = None,
        attention_mask: Tensor | None = None,
        cache: KVCache | None = None,
        slots: Tensor | None = None,
        output_positions: Tensor | None = None,
        visible: Tensor | None = None,
    ) -> Tensor:
        """Final normalized hidden states; see :class:`dllm_audio.protocols.Backbone`.

        ``visible`` is as in :meth:`forward`.
        """
        config = self.config
        if inputs_embeds.dim() != 3 or inputs_embeds.shape[-1] != config.d_model:
            expected = f"[B, L, {config.d_model}]"
            raise ShapeError("inputs_embeds", expected, list(inputs_embeds.shape))
        batch, length, _ = inputs_embeds.shape
        mask = _checked_mask(attention_mask, batch, None if slots is not None else length)
        if position_ids is None:
            if slots is not None:
                raise InvalidArgumentError("position_ids", "positions for the given slots", None)
            if mask is not None:
                position_ids = mask.long().cumsum(-1).sub(1).clamp(min=0)
            else:
                position_ids = torch.arange(length, device=inputs_embeds.device)[None]
        block_length = getattr(config, "causal_block_length", None)
        if visible is None and slots is None and block_length is not None:
            blocks = torch.arange(length, device=inputs_embeds.device) // block_length
            visible = blocks[:, None] >= blocks
        layout = row_layout(inputs_embeds, mask, slots is not None, visible)
        spans = layout.queries if len(position_ids) == batch else None
        rope = rope_tables(position_ids, config.head_dim, config.rope_theta, spans)
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
        self, gradient_checkpointing_kwargs: dict[str, Any] | None = None, **options: Any
    ) -> None:
        """Recompute each block in the backward pass instead of keeping its activations.

        Args:
            gradient_checkpointing_kwargs: as transformers passes it; only ``use_reentrant=False``
                is possible.
            options: further ones of transformers, each with its default.
        """
        if (gradient_checkpointing_kwargs or {}).get("use_reentrant"):
            raise InvalidArgumentError("use_reentrant", "False", True)
        for name, default in (("every_n_layers", 1), ("offload", False)):
            if options.pop(name, default) != default:
                raise InvalidArgumentError(name, repr(default), "another value")
        if options:
            raise InvalidArgumentError(min(options), "no such option", options[min(options)])
        self.gradient_checkpointing = True

    @property
    def is_gradient_checkpointing(self) -> bool:
        """Whether activations are recomputed."""
        return self.gradient_checkpointing

    def gradient_checkpointing_disable(self) -> None:
        """Keep activations again."""
        self.gradient_checkpointing = False


def _checked_mask(mask: Tensor | None, batch: int, length: int | None) -> Tensor | None:
    if mask is None:
        return None
    if mask.dim() != 2 or mask.shape[0] != batch or length not in (None, mask.shape[1]):
        raise ShapeError("attention_mask", f"[{batch}, {length or 'L'}]", list(mask.shape))
    if mask.is_floating_point():
        raise InvalidArgumentError("attention_mask", "bool, True = attend", mask.dtype)
    return mask.bool()
