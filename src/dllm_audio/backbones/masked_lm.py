"""Any masked language model of transformers (BERT, RoBERTa, ModernBERT, ...) as a backbone."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from transformers import (
    MODEL_FOR_MASKED_LM_MAPPING,
    AutoModelForMaskedLM,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)

from ..errors import CheckpointError, DllmAudioError, InvalidArgumentError, ShapeError, one_line
from ..outputs import BackboneOutput
from ..parts import register
from ..protocols import KVCache
from ..tokenizer import load_tokenizer
from ..transformers_config import config_from, plain_config, public_settings, read_config
from ..weights import load_through_transformers, resolve_directory, single_device
from .loading import DeviceMap
from .masked_lm_config import (
    OTHER_HEADS,
    MaskedLMConfig,
    arguments,
    check_id,
    check_mapped,
    check_model,
    position_offset,
    special_ids,
)
from .masked_lm_head import SharedHead

_SETTINGS = {"model", "mask_token_id", "eos_token_id"}


@register("backbone", "masked-lm")
class MaskedLMBackbone(nn.Module):
    """A masked language model of transformers behind the library's seam for backbones.

    It has no key/value cache: samplers that want one compute everything anew and say so.  Body
    and head are run apart where the head reads the final states alone, as in nearly all families;
    for others :meth:`hidden` runs the whole model, its states are the logits, and :meth:`head`
    returns what it is given.

    Args:
        model: a bidirectional model that takes ``inputs_embeds``; used as it is, not copied.
        tokenizer: gives the ids that are not given here.
        mask_token_id: None: the tokenizer's.
        eos_token_id: None: the tokenizer's end of text, else its separator.

    Raises:
        InvalidArgumentError: a model that cannot serve, or ids that are missing or outside the
            vocabulary.

    Example:
        >>> import torch
        >>> from transformers import BertConfig, BertForMaskedLM
        >>> config = BertConfig(vocab_size=10, hidden_size=8, num_hidden_layers=1,
        ...                     num_attention_heads=2, intermediate_size=16)
        >>> model = MaskedLMBackbone(BertForMaskedLM(config), mask_token_id=9, eos_token_id=8)
        >>> model(input_ids=torch.tensor([[1, 9, 9]])).logits.shape
        torch.Size([1, 3, 10])
    """

    logit_shift = 0

    def __init__(
        self,
        model: PreTrainedModel,
        tokenizer: PreTrainedTokenizerBase | None = None,
        *,
        mask_token_id: int | None = None,
        eos_token_id: int | None = None,
    ) -> None:
        super().__init__()
        check_model(model)
        if tokenizer is not None:
            mask, end = special_ids(tokenizer)
            mask_token_id = mask if mask_token_id is None else mask_token_id
            eos_token_id = end if eos_token_id is None else eos_token_id
        embedding: Any = model.get_input_embeddings()
        rows = int(embedding.weight.shape[0])
        check_id("mask_token_id", mask_token_id, rows)
        if eos_token_id is not None:
            check_id("eos_token_id", eos_token_id, rows)
        self.model = model
        shared = SharedHead(model)
        self.shared_head = shared if shared.works() else None
        self.position_offset = position_offset(model)
        most = getattr(model.config, "max_position_embeddings", None)
        limit = most - self.position_offset if isinstance(most, int) and most > 0 else None
        self.config = MaskedLMConfig(int(mask_token_id or 0), eos_token_id, limit, rows)
        self.takes_positions = "position_ids" in arguments(self._body())

    @classmethod
    def from_pretrained(
        cls,
        id_or_dir: str | Path,
        dtype: torch.dtype | None = None,
        device_map: DeviceMap = None,
        revision: str | None = None,
    ) -> MaskedLMBackbone:
        """Load a published masked language model, strictly, from safetensors, without its code.

        Poolers and next-sentence heads that lie beside the weights are passed over.

        Args:
            id_or_dir: local directory or hub id, such as ``"answerdotai/ModernBERT-base"``.
            dtype: of the weights; None keeps the stored one.
            device_map: a device (None: the CPU), or what accelerate takes.
            revision: branch, tag or commit on the hub.

        Raises:
            CheckpointError: tensors missing (a model without its head, say), left over or of the
                wrong shape, another kind of model, or no tokenizer with a mask.
        """
        folder = resolve_directory(id_or_dir, revision)
        config = read_config(folder)
        check_mapped(config, str(folder))
        options: dict[str, object] = {} if single_device(device_map) else {"device_map": device_map}
        model = load_through_transformers(
            AutoModelForMaskedLM.from_pretrained,
            folder,
            passed_over=OTHER_HEADS,
            config=config,
            dtype="auto" if dtype is None else dtype,
            **options,
        )
        try:
            backbone = cls(model, load_tokenizer(folder))  # type: ignore[arg-type]
        except InvalidArgumentError as error:
            raise CheckpointError(f"{folder}: {one_line(error)}") from error
        if device_map is not None and not options:
            backbone.to(device_map)  # type: ignore[arg-type]
        return backbone.eval()

    @classmethod
    def from_config(cls, values: Mapping[str, Any]) -> MaskedLMBackbone:
        """A backbone with new weights from what :meth:`to_config` gave.

        Raises:
            CheckpointError: values that are refused; only classes that transformers itself has
                are built, and private settings are passed over.
        """
        fields, unknown = values.get("model"), sorted(values.keys() - _SETTINGS)
        if unknown or not isinstance(fields, Mapping):
            raise CheckpointError(f"masked-lm: expected an object 'model' and ids, got {unknown}")
        config = config_from(public_settings(fields))
        check_mapped(config, "masked-lm")
        ids = {name: values.get(name) for name in ("mask_token_id", "eos_token_id")}
        try:
            return cls(AutoModelForMaskedLM.from_config(config), **ids)
        except DllmAudioError as error:
            raise CheckpointError(f"masked-lm: {one_line(error)}") from error
        except Exception as error:  # whatever a stranger's values make a constructor do
            raise CheckpointError(
                f"masked-lm: {type(error).__name__}: {one_line(error)}"
            ) from error

    def to_config(self) -> dict[str, Any]:
        """The model's config and the ids, as plain JSON values.

        Raises:
            InvalidArgumentError: a model of a class that transformers would not build from it.
        """
        if MODEL_FOR_MASKED_LM_MAPPING.get(type(self.model.config), None) is not type(self.model):
            expected = "a class that AutoModelForMaskedLM builds"
            raise InvalidArgumentError("backbone", expected, type(self.model).__name__)
        config = self.config
        return {
            "model": plain_config(self.model.config),
            "mask_token_id": config.mask_token_id,
            "eos_token_id": config.eos_token_id,
        }

    def tie_weights(self) -> None:
        """Tie again what the model ties, usually the head's matrix to the embeddings."""
        self.model.tie_weights()

    def gradient_checkpointing_enable(self, **options: Any) -> None:
        """Recompute activations in the backward pass; ``options`` as in transformers."""
        # Its newer name first: the older one warns where both are.
        newer = getattr(self.model, "activation_checkpointing_enable", None)
        (newer or self.model.gradient_checkpointing_enable)(**options)

    def get_input_embeddings(self) -> nn.Module:
        """The embedding of tokens, as transformers and peft ask for it."""
        return self.model.get_input_embeddings()

    def embed(self, input_ids: Tensor) -> Tensor:
        """Embeddings ``[..., D]`` of token ids ``[...]``."""
        return self.get_input_embeddings()(input_ids)

    def head(self, hidden: Tensor) -> Tensor:
        """Logits ``[..., V]`` of what :meth:`hidden` returned."""
        return hidden if self.shared_head is None else self.shared_head(hidden)

    def forward(
        self,
        inputs_embeds: Tensor | None = None,
        position_ids: Tensor | None = None,
        attention_mask: Tensor | None = None,
        output_positions: Tensor | None = None,
        return_hidden: bool = False,
        input_ids: Tensor | None = None,
        cache: KVCache | None = None,
        slots: Tensor | None = None,
    ) -> BackboneOutput:
        """Logits, or final hidden states (``return_hidden``), at every position or at some.

        Takes ``input_ids [B, L]`` int64 or ``inputs_embeds``, and what :meth:`hidden` takes.
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
    ) -> Tensor:
        """Final hidden states, on which :meth:`head` works.

        Args:
            inputs_embeds: ``[B, L, D]``.
            position_ids: ``[B, L]`` from 0; counted over real positions when None.
            attention_mask: ``[B, L]`` bool, True = a real position; None: all are.
            cache: None; there is none.
            slots: None.
            output_positions: ``[B, M]`` indices of the states that are wanted; None: all.

        Returns:
            ``[B, L, D']``, or ``[B, M, D']``; those at padding have no meaning.

        Raises:
            ShapeError, InvalidArgumentError: a cache, or arguments that do not fit.
        """
        for name, value in (("cache", cache), ("slots", slots)):
            if value is not None:
                raise InvalidArgumentError(name, "None: it keeps no keys and values", "one")
        if inputs_embeds.dim() != 3:
            raise ShapeError("inputs_embeds", "[B, L, D]", list(inputs_embeds.shape))
        given = self._layout(inputs_embeds, position_ids, attention_mask)
        states: Tensor = self._body()(inputs_embeds=inputs_embeds, **given)[0]
        if output_positions is None:
            return states
        return states.gather(1, output_positions[..., None].expand(-1, -1, states.shape[-1]))

    def _body(self) -> nn.Module:
        return self.model if self.shared_head is None else self.model.base_model

    def _layout(
        self, inputs_embeds: Tensor, position_ids: Tensor | None, mask: Tensor | None
    ) -> dict[str, Tensor]:
        """Mask and positions as the model wants them; only what it is given."""
        batch, length, _ = inputs_embeds.shape
        if mask is not None and mask.shape != (batch, length):
            raise ShapeError("attention_mask", f"[{batch}, {length}]", list(mask.shape))
        given: dict[str, Tensor] = {}
        if mask is not None:
            mask = mask.bool()
            given["attention_mask"] = mask.long()
            if position_ids is None:
                position_ids = mask.long().cumsum(-1) - 1
        elif position_ids is None:
            position_ids = torch.arange(length, device=inputs_embeds.device)[None]
        position_ids = position_ids.expand(batch, -1)
        if mask is not None:  # padding has no position of its own
            position_ids = position_ids.masked_fill(~mask, 0)
        limit = self.config.max_sequence_length
        # Looked at only where it can happen: it waits for the device.
        if limit is not None and length > limit and int(position_ids.max()) >= limit:
            expected = f"at most {limit} real positions"
            raise InvalidArgumentError("inputs_embeds", expected, length)
        if self.takes_positions:
            given["position_ids"] = position_ids + self.position_offset
        return given
