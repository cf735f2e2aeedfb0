"""What LLaDA and Dream share: a bidirectional transformer as a model of transformers."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, ClassVar, TypeVar

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint
from transformers import PreTrainedModel

from ..errors import InvalidArgumentError, ShapeError
from ..files import current_folder, read_json, replace_files, write_json
from ..outputs import BackboneOutput
from ..protocols import KVCache
from ..weights import (
    check_rebuilt,
    iter_weights,
    load_through_transformers,
    load_weights,
    resolve_directory,
    single_device,
    stored,
)
from .attention import row_layout
from .block import TransformerBlock
from .cache import StaticKVCache
from .config import TransformerConfig
from .head import OutputHead, vocabulary_product
from .names import Names
from .rope import rope_tables

Self = TypeVar("Self", bound="DiffusionTransformer")
_OUTDATED = re.compile(r"model(-\d{5}-of-\d{5})?\.safetensors|model\.safetensors\.index\.json")


class DiffusionTransformer(PreTrainedModel):
    """Pre-norm blocks of full attention and SwiGLU between an embedding and an output head.

    Args:
        config: sizes and token ids.
    """

    base_model_prefix = ""
    supports_gradient_checkpointing = True
    names: ClassVar[Names]
    logit_shift: ClassVar[int] = 0

    def __init__(self, config: TransformerConfig) -> None:
        super().__init__(config)
        self.gradient_checkpointing = False
        self.wte = nn.Embedding(config.num_embeddings, config.d_model)
        self.blocks = nn.ModuleList(TransformerBlock(config, i) for i in range(config.n_layers))
        self.ln_f = nn.RMSNorm(config.d_model, eps=config.rms_norm_eps)
        if not config.weight_tying:
            self.ff_out = OutputHead(config.d_model, config.num_embeddings)
        for module in self.modules():
            if isinstance(module, nn.Linear | nn.Embedding):
                nn.init.normal_(module.weight, std=config.init_std)
            if isinstance(module, nn.Linear) and module.bias is not None:
                nn.init.zeros_(module.bias)
        self.post_init()

    def init_weights(self) -> None:
        """Nothing: the constructor did it."""

    def to_config(self) -> dict[str, Any]:
        """The config's fields, under the published names."""
        return self.config.to_dict()

    @classmethod
    def from_config(cls: type[Self], values: Mapping[str, Any]) -> Self:
        """Built from :meth:`to_config`'s fields.

        Raises:
            CheckpointError: fields that describe no such model.
        """
        return cls(cls.config_class.from_dict(values))  # type: ignore[union-attr]

    @classmethod
    def from_pretrained(  # type: ignore[override]
        cls: type[Self],
        dir_or_id: str | Path,
        *,
        dtype: torch.dtype | None = None,
        device_map: Any = None,
        quantization_config: Any = None,
        revision: str | None = None,
        config: TransformerConfig | None = None,
        **hub_options: Any,
    ) -> Self:
        """Load published weights (safetensors, sharded or not) straight to their place.

        Args:
            dir_or_id: a local directory, or a hub id such as ``GSAI-ML/LLaDA-8B-Instruct``.
            dtype: floating-point type of the parameters; None keeps the stored one.
            device_map: a device, or what accelerate takes (``"auto"``, a dict).
            quantization_config: of transformers (bitsandbytes, torchao, ...).
            revision: hub revision.
            config: instead of the directory's.
            hub_options: of transformers' auto classes; code of a checkpoint is never run.

        Raises:
            CheckpointError: files or tensors missing, unexpected or of the wrong shape.
        """
        if hub_options.pop("trust_remote_code", None):
            raise InvalidArgumentError("trust_remote_code", "False", True)
        folder = current_folder(resolve_directory(dir_or_id, revision))
        if config is None:
            config = cls.config_class.from_dict(read_json(folder / "config.json"))  # type: ignore[union-attr]
        if quantization_config is not None or not single_device(device_map):
            model: Self = load_through_transformers(
                super().from_pretrained,
                folder,
                config=config,
                key_mapping=cls.names.as_patterns(),
                dtype=dtype or "auto",
                device_map=device_map,
                quantization_config=quantization_config,
            )
            return model.eval()
        with torch.device("meta"):
            model = cls(config)
        device = torch.device("cpu" if device_map is None else device_map)
        load_weights(model, cls._native(config, folder, device), source=str(folder), dtype=dtype)
        return model.eval()

    @classmethod
    def _native(
        cls, config: TransformerConfig, folder: Path, device: torch.device
    ) -> Iterator[tuple[str, Tensor]]:
        """The tensors of a folder, one at a time, under the library's names."""
        for name, tensor in iter_weights(folder, device=device):
            native = cls.names.native(name)
            # With tied weights some checkpoints hold the head too.
            if not (config.weight_tying and native == "ff_out.weight"):
                yield native, tensor

    def save_pretrained(  # type: ignore[override]
        self, directory: str | Path, *, max_shard_size: int | str = "5GB", **options: Any
    ) -> None:
        """Write ``config.json`` and safetensors under the published names, all or nothing.

        Args:
            directory: made when it does not exist.
            max_shard_size: of a weight file.
            options: none are known.

        Raises:
            InvalidArgumentError: weights that the config does not build, such as LoRA.
            CheckpointError: it cannot be written; what the folder held is unchanged.
        """
        from huggingface_hub import save_torch_state_dict

        if options:
            raise InvalidArgumentError("options", "none", sorted(options))
        state = self.state_dict()
        with torch.device("meta"):
            check_rebuilt(state, type(self)(self.config).state_dict(), type(self).__name__)
        named = {self.names.published(name): tensor for name, tensor in stored(state).items()}
        with replace_files(directory, _OUTDATED) as scratch:
            save_torch_state_dict(named, scratch, max_shard_size=max_shard_size)
            write_json(scratch / "config.json", self.config.to_dict())

    @property
    def device(self) -> torch.device:
        """Where the parameters are."""
        return self.wte.weight.device

    @property
    def dtype(self) -> torch.dtype:
        """Floating-point type of the embeddings."""
        return self.wte.weight.dtype

    def get_input_embeddings(self) -> nn.Module:
        """The embedding table."""
        return self.wte

    def embed(self, input_ids: Tensor) -> Tensor:
        """Embeddings ``[..., D]`` of token ids ``[...]``."""
        embeds: Tensor = self.wte(input_ids)
        return embeds

    def head(self, hidden: Tensor) -> Tensor:
        """Logits ``[..., V]`` of final hidden states ``[..., D]``."""
        if self.config.weight_tying:
            return vocabulary_product(hidden, self.wte.weight)
        logits: Tensor = self.ff_out(hidden)
        return logits

    def new_cache(self, batch_size: int, length: int) -> StaticKVCache:
        """An empty cache for ``length`` slots, in the model's dtype, on its device."""
        return StaticKVCache(self.config, batch_size, length, dtype=self.dtype, device=self.device)

    def forward(
        self,
        input_ids: Tensor | None = None,
        inputs_embeds: Tensor | None = None,
        attention_mask: Tensor | None = None,
        position_ids: Tensor | None = None,
        *,
        cache: KVCache | None = None,
        slots: Tensor | None = None,
        output_positions: Tensor | None = None,
        return_hidden: bool = False,
    ) -> BackboneOutput:
        """Logits at every position.

        Args:
            input_ids: ``[B, L]`` int64; give these or ``inputs_embeds``.
            inputs_embeds: ``[B, L, D]``.
            attention_mask: ``[B, L]`` bool (or 0/1), True = a real position. Padding, on
                either side, is never attended to and does not shift positions.
            position_ids: ``[B, L]`` RoPE positions; counted over real positions when None.
            cache: see :meth:`hidden`.
            slots: see :meth:`hidden`.
            output_positions: see :meth:`hidden`.
            return_hidden: stop before the output head.

        Returns:
            ``.logits [B, L, V]`` (those at padding have no meaning), or ``.last_hidden_state``.
        """
        if input_ids is not None and inputs_embeds is None:
            embeds = self.embed(input_ids)
        elif inputs_embeds is not None and input_ids is None:
            embeds = inputs_embeds
        else:
            got = "neither" if input_ids is None else "both"
            raise InvalidArgumentError("input_ids", "either it or inputs_embeds", got)
        hidden = self.hidden(
            embeds,
            position_ids=position_ids,
            attention_mask=attention_mask,
            cache=cache,
            slots=slots,
            output_positions=output_positions,
        )
        if return_hidden:
            return BackboneOutput(None, hidden)
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
