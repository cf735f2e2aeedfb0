"""What the library reads off a masked language model of transformers and its tokenizer."""

from __future__ import annotations

import inspect
import re
from dataclasses import dataclass

from torch import nn
from transformers import MODEL_FOR_MASKED_LM_MAPPING, PreTrainedModel, PreTrainedTokenizerBase

from ..errors import CheckpointError, InvalidArgumentError

# What published masked language models hold beside: poolers and heads of other tasks, positions.
OTHER_HEADS = re.compile(
    r"(^|\.)pooler\.|^cls\.seq_relationship\.|^sop_classifier\.|\.position_ids$"
)
# Where a tokenizer's own configuration names none.
_MASKS, _ENDS = ("[MASK]", "<mask>"), ("[SEP]", "</s>")


@dataclass(frozen=True)
class MaskedLMConfig:
    """What the library has to know about a masked language model.

    Attributes:
        mask_token_id: stands for "not yet known".
        eos_token_id: ends a response, or None.
        max_sequence_length: positions that it has, or None where there is no bound.
        num_embeddings: rows of its embedding table.
    """

    mask_token_id: int
    eos_token_id: int | None
    max_sequence_length: int | None
    num_embeddings: int


def check_model(model: object) -> None:
    """Refuse what is no bidirectional model of embeddings."""
    if not isinstance(model, PreTrainedModel):
        raise InvalidArgumentError("model", "a masked LM of transformers", type(model).__name__)
    config = model.config
    if config.is_encoder_decoder or getattr(config, "is_decoder", False):
        raise InvalidArgumentError("model", "bidirectional, an encoder alone", config.model_type)
    for body in (model, model.base_model):
        if not {"inputs_embeds", "attention_mask"} <= arguments(body):
            expected = "one that takes inputs_embeds and attention_mask"
            raise InvalidArgumentError("model", expected, type(body).__name__)


def check_mapped(config: object, source: str) -> None:
    """Refuse a config for which transformers has no masked language model."""
    if type(config) not in MODEL_FOR_MASKED_LM_MAPPING:
        kind = getattr(config, "model_type", None)
        raise CheckpointError(f"{source}: {kind!r} is no masked language model of transformers")


def check_id(name: str, value: object, rows: int) -> None:
    """Refuse what is no id of a table of so many rows."""
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value < rows:
        raise InvalidArgumentError(name, f"an id in [0, {rows})", value)


def special_ids(tokenizer: PreTrainedTokenizerBase) -> tuple[int | None, int | None]:
    """Ids of the mask and of the end of a text."""
    known = tokenizer.get_vocab()
    masks = (tokenizer.mask_token, *_MASKS)
    ends = (tokenizer.eos_token, tokenizer.sep_token, *_ENDS)
    mask = next((known[token] for token in masks if token in known), None)
    return mask, next((known[token] for token in ends if token in known), None)


def arguments(module: nn.Module) -> set[str]:
    """Names of what a module's forward pass takes."""
    return set(inspect.signature(module.forward).parameters)


def position_offset(model: PreTrainedModel) -> int:
    """Where positions begin: RoBERTa and its kin count them behind the padding's row."""
    for name, module in model.base_model.named_modules():
        if name.endswith("position_embeddings") and isinstance(module, nn.Embedding):
            return 0 if module.padding_idx is None else module.padding_idx + 1
    return 0
