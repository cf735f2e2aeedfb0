"""Do a checkpoint's config, its weights, the encoder, the backbone and the tokenizer agree?"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..errors import CheckpointError
from ..protocols import Tokenizer

_WHISPER_FIELDS = (
    "d_model",
    "encoder_layers",
    "encoder_attention_heads",
    "num_mel_bins",
    "max_source_positions",
)
_LLADA_FIELDS = (
    "d_model",
    "n_layers",
    "n_heads",
    "n_kv_heads",
    "vocab_size",
    "embedding_size",
    "mask_token_id",
    "eos_token_id",
    "pad_token_id",
)
_TOKENS = {"<|mdm_mask|>": "mask_token_id", "<|endoftext|>": "eos_token_id"}


def check_configs(source: str, config: Mapping[str, Any], encoder: Any, backbone: Any) -> None:
    """Compare a published ``config.json`` with the models it is about to be joined with.

    Args:
        source: named in errors.
        config: fields ``whisper_config`` and ``llm_config``; what they leave out is not compared.
        encoder: has a ``config``.
        backbone: has a ``config``.

    Raises:
        CheckpointError: names every field that differs.
    """
    wrong = [
        *_differences(source, config, "whisper_config", _WHISPER_FIELDS, encoder.config),
        *_differences(source, config, "llm_config", _LLADA_FIELDS, backbone.config),
    ]
    if wrong:
        raise CheckpointError(f"{source}: config.json does not fit: {'; '.join(wrong)}")


def check_tokenizer(tokenizer: Tokenizer, backbone_config: Any) -> None:
    """Compare the ids of LLaDA's special tokens with the backbone's config.

    Raises:
        CheckpointError: an id differs.
    """
    for token, field in _TOKENS.items():
        token_ids = tokenizer.encode(token, add_special_tokens=False)
        expected = getattr(backbone_config, field, None)
        if len(token_ids) == 1 and expected is not None and token_ids[0] != expected:
            raise CheckpointError(
                f"tokenizer: {token} is {token_ids[0]}, but the backbone's {field} is {expected}"
            )


def _differences(
    source: str, config: Mapping[str, Any], section: str, fields: tuple[str, ...], actual: Any
) -> list[str]:
    claimed = config.get(section) or {}
    if not isinstance(claimed, Mapping):
        raise CheckpointError(f"{source}: config.json: {section}: expected an object")
    pairs = [(field, claimed.get(field), getattr(actual, field, None)) for field in fields]
    return [
        f"{section}.{field} is {there}, the model's is {here}"
        for field, there, here in pairs
        if there is not None and here is not None and there != here
    ]
