"""Architecture of a LLaDA-family backbone, read from the hub's ``config.json``."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from ..errors import CheckpointError, InvalidArgumentError

# Fields of the published config whose other values describe another architecture.
_REQUIRED_VALUES: dict[str, tuple[Any, ...]] = {
    "activation_type": ("silu",),
    "block_type": ("llama",),
    "layer_norm_type": ("rms",),
    "rope": (True,),
    "alibi": (False,),
    "include_bias": (False,),
    "include_qkv_bias": (False,),
    "input_emb_norm": (False,),
    "attention_layer_norm": (False,),
    "scale_logits": (False,),
    "layer_norm_with_affine": (True,),
    "bias_for_layer_norm": (False, None),
    "clip_qkv": (None,),
}
_SIZES = ("d_model", "n_layers", "n_heads", "mlp_hidden_size", "vocab_size", "max_sequence_length")
_OPTIONAL_SIZES = ("n_kv_heads", "embedding_size")
_POSITIVE = ("rope_theta", "rms_norm_eps", "init_std")
_IDS = ("mask_token_id", "eos_token_id", "pad_token_id")
# Far above any model; a config from a stranger must not keep us building layers for hours, nor
# overflow the product of two sizes.
_LARGEST = 2**24
_MOST_LAYERS = 2**12


@dataclass(frozen=True)
class LLaDAConfig:
    """Sizes and token ids of a LLaDA backbone; the defaults are LLaDA-8B's sizes.

    Args:
        d_model: width D.
        n_layers: transformer blocks.
        n_heads: attention heads; ``d_model`` is divisible by it and the head width is even.
        n_kv_heads: key/value heads; None means ``n_heads``.
        mlp_hidden_size: inner width of the SwiGLU feed-forward.
        vocab_size: token ids that exist.
        embedding_size: rows of the embedding and of the output head (>= ``vocab_size``); None
            means ``vocab_size``.
        max_sequence_length: longest sequence in tokens and audio embeddings together.
        rope_theta: base of the rotary embedding.
        rms_norm_eps: epsilon of every RMSNorm.
        weight_tying: whether the output head is the embedding.
        init_std: standard deviation of freshly initialized weights.
        mask_token_id: the id that stands for "not yet known".
        eos_token_id: the id that ends and pads a response.
        pad_token_id: the id that fills prompts on the left; None means ``eos_token_id``.

    Raises:
        InvalidArgumentError: sizes that do not fit together, or ids outside the vocabulary.

    Example:
        >>> LLaDAConfig(d_model=64, n_layers=2, n_heads=4, mlp_hidden_size=128, vocab_size=100,
        ...             mask_token_id=99, eos_token_id=98).head_dim
        16
    """

    d_model: int = 4096
    n_layers: int = 32
    n_heads: int = 32
    n_kv_heads: int | None = None
    mlp_hidden_size: int = 12288
    vocab_size: int = 126464
    embedding_size: int | None = None
    max_sequence_length: int = 4096
    rope_theta: float = 500000.0
    rms_norm_eps: float = 1e-5
    weight_tying: bool = False
    init_std: float = 0.02
    mask_token_id: int | None = None
    eos_token_id: int | None = None
    pad_token_id: int | None = None

    def __post_init__(self) -> None:
        self._check_types()
        if self.d_model % self.n_heads or (self.d_model // self.n_heads) % 2:
            expected = f"a multiple of 2 * n_heads ({2 * self.n_heads})"
            raise InvalidArgumentError("d_model", expected, self.d_model)
        if self.n_heads % self.kv_heads:
            raise InvalidArgumentError(
                "n_kv_heads", f"a divisor of n_heads ({self.n_heads})", self.n_kv_heads
            )
        if self.embedding_size is not None and self.embedding_size < self.vocab_size:
            expected = f">= vocab_size ({self.vocab_size})"
            raise InvalidArgumentError("embedding_size", expected, self.embedding_size)
        for name in _IDS:
            value = getattr(self, name)
            if value is not None and not (_is_int(value) and 0 <= value < self.num_embeddings):
                expected = f"None or an id in [0, {self.num_embeddings})"
                raise InvalidArgumentError(name, expected, value)

    def _check_types(self) -> None:
        for name in (*_SIZES, *_OPTIONAL_SIZES):
            value, most = getattr(self, name), _MOST_LAYERS if name == "n_layers" else _LARGEST
            if value is None and name in _OPTIONAL_SIZES:
                continue
            if not (_is_int(value) and 1 <= value <= most):
                raise InvalidArgumentError(name, f"an integer in [1, {most}]", repr(value))
        for name in _POSITIVE:
            value = getattr(self, name)
            if not (isinstance(value, int | float) and 0 < value < math.inf):
                raise InvalidArgumentError(name, "a finite number > 0", repr(value))
        if not isinstance(self.weight_tying, bool):
            raise InvalidArgumentError("weight_tying", "True or False", repr(self.weight_tying))

    @property
    def head_dim(self) -> int:
        """Width of one attention head."""
        return self.d_model // self.n_heads

    @property
    def kv_heads(self) -> int:
        """Number of key/value heads."""
        return self.n_heads if self.n_kv_heads is None else self.n_kv_heads

    @property
    def num_embeddings(self) -> int:
        """Rows of the embedding table and of the output head."""
        return self.vocab_size if self.embedding_size is None else self.embedding_size

    @property
    def hidden_size(self) -> int:
        """``d_model`` under the name that transformers uses."""
        return self.d_model

    @classmethod
    def from_dict(cls, fields: Mapping[str, Any]) -> LLaDAConfig:
        """Read the fields of a published ``config.json``; unrelated fields are ignored.

        Raises:
            CheckpointError: the config describes another architecture, or a field is missing or
                cannot be.
        """
        for name, allowed in _REQUIRED_VALUES.items():
            if name in fields and fields[name] not in allowed:
                raise CheckpointError(
                    f"config field {name}: expected {allowed[0]!r}, got {fields[name]!r}; "
                    "this is not a LLaDA architecture that the library knows"
                )
        sizes = ("d_model", "n_layers", "n_heads", "vocab_size")
        missing = [name for name in sizes if fields.get(name) is None]
        if missing:
            raise CheckpointError(f"config lacks the fields {missing}; is it a LLaDA config.json?")
        known = {k: fields[k] for k in cls.__dataclass_fields__ if fields.get(k) is not None}
        try:
            if "mlp_hidden_size" not in known:
                known["mlp_hidden_size"] = int(fields.get("mlp_ratio", 4) * fields["d_model"])
            if fields.get("multi_query_attention"):
                known["n_kv_heads"] = 1
            return cls(**known)
        except (InvalidArgumentError, TypeError, ValueError) as error:
            raise CheckpointError(f"config: {error}") from error

    def to_dict(self) -> dict[str, Any]:
        """Fields under the published names, enough for :meth:`from_dict`."""
        fixed = {name: allowed[0] for name, allowed in _REQUIRED_VALUES.items()}
        return {"model_type": "llada", **fixed, **asdict(self)}


def _is_int(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)
