"""Sizes and token ids of a backbone, checked, as transformers keeps them."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, ClassVar, TypeVar

from transformers import PretrainedConfig

from ..errors import CheckpointError, InvalidArgumentError

Config = TypeVar("Config", bound="TransformerConfig")

SIZES = ("d_model", "n_layers", "n_heads", "mlp_hidden_size", "vocab_size", "max_sequence_length")
OPTIONAL_SIZES = ("n_kv_heads", "embedding_size")
_OPTIONAL = (*OPTIONAL_SIZES, "causal_block_length")
POSITIVE = ("rope_theta", "rms_norm_eps", "init_std")
IDS = ("mask_token_id", "eos_token_id", "pad_token_id")
# Far above any model; a config from a stranger must not keep us building layers for hours, nor
# overflow the product of two sizes.
_LARGEST = 2**24
_MOST_LAYERS = 2**12
# What transformers itself puts into a config.
_SHELL = ("dtype", "torch_dtype", "name_or_path", "quantization_config")


class TransformerConfig(PretrainedConfig):
    """What the configs of all backbones of our own have in common.

    The library reads sizes under LLaDA's names (``d_model``, ``n_layers``); ``attribute_map``
    leads to those of another family.
    """

    # Published fields whose other values describe another architecture; the first is written.
    fixed: ClassVar[Mapping[str, tuple[object, ...]]] = {}
    # Own fields, as the library calls them.
    own: ClassVar[tuple[str, ...]] = ()
    # Fields without which a config.json describes nothing.
    needed: ClassVar[tuple[str, ...]] = ("d_model", "n_layers", "n_heads", "vocab_size")
    qkv_bias: ClassVar[bool] = False

    def __init__(self, **settings: Any) -> None:
        unknown = sorted(settings.keys() - set(_SHELL))
        if unknown:
            known = ", ".join(map(self.published_field, self.own))
            raise InvalidArgumentError(unknown[0], f"a field of the config ({known})", "that name")
        super().__init__(**settings)

    @classmethod
    def published_field(cls, name: str) -> str:
        """The name that this family's ``config.json`` has for a field of the library."""
        return cls.attribute_map.get(name, name)

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
        size: int | None = getattr(self, "embedding_size", None)
        return self.vocab_size if size is None else size

    def check(self) -> None:
        """Raise where the values cannot be.

        Raises:
            InvalidArgumentError: sizes that do not fit together, or ids outside the vocabulary.
        """
        self._check_types()
        if self.d_model % self.n_heads or (self.d_model // self.n_heads) % 2:
            expected = f"a multiple of 2 * {self.published_field('n_heads')} ({2 * self.n_heads})"
            raise self._error("d_model", expected)
        if self.n_heads % self.kv_heads:
            expected = f"a divisor of {self.published_field('n_heads')} ({self.n_heads})"
            raise self._error("n_kv_heads", expected)
        if self.num_embeddings < self.vocab_size:
            raise self._error("embedding_size", f">= vocab_size ({self.vocab_size})")
        for name in IDS:
            value = getattr(self, name)
            if value is not None and not (_is_int(value) and 0 <= value < self.num_embeddings):
                raise self._error(name, f"None or an id in [0, {self.num_embeddings})")

    def _check_types(self) -> None:
        for name in (*SIZES, *_OPTIONAL):
            value = getattr(self, name, None)
            most = _MOST_LAYERS if name == "n_layers" else _LARGEST
            if value is None and name in _OPTIONAL:
                continue
            if value is None or not (_is_int(value) and 1 <= value <= most):
                raise self._error(name, f"an integer in [1, {most}]")
        for name in POSITIVE:
            value = getattr(self, name)
            number = isinstance(value, int | float) and not isinstance(value, bool)
            # Compared before any conversion: an integer may be too large for a float.
            if not (number and 0 < value < 1e30 and math.isfinite(value)):
                raise self._error(name, "a finite number > 0")
        if not isinstance(self.weight_tying, bool):
            raise self._error("weight_tying", "True or False")

    def _error(self, name: str, expected: str) -> InvalidArgumentError:
        value = getattr(self, name, None)
        return InvalidArgumentError(self.published_field(name), expected, repr(value)[:100])

    @classmethod
    def from_dict(cls: type[Config], config_dict: Mapping[str, Any], **kwargs: Any) -> Any:
        """Read the fields of a published ``config.json``; unrelated fields are ignored.

        Args:
            config_dict: the fields.
            kwargs: as for transformers: ``return_unused_kwargs=True`` returns those that are no
                fields beside the config; fields replace those of the dictionary.

        Raises:
            CheckpointError: the config describes another architecture, or a field is missing or
                cannot be.
        """
        with_unused = kwargs.pop("return_unused_kwargs", False)
        names = [cls.published_field(name) for name in cls.own]
        changes = {name: kwargs.pop(name) for name in names if name in kwargs}
        fields = {**config_dict, **changes}
        for name, allowed in cls.fixed.items():
            if name in fields and fields[name] not in allowed:
                raise CheckpointError(
                    f"config field {name}: expected {allowed[0]!r}, got {fields[name]!r}; "
                    f"this is not a {cls.model_type} architecture that the library knows"
                )
        needed = [cls.published_field(name) for name in cls.needed]
        missing = [name for name in needed if fields.get(name) is None]
        if missing:
            raise CheckpointError(
                f"config lacks the fields {missing}; is it a {cls.model_type} config.json?"
            )
        try:
            config = cls(**cls._completed(fields, names))
        except (InvalidArgumentError, TypeError, ValueError, OverflowError) as error:
            raise CheckpointError(f"config: {error}") from error
        return (config, kwargs) if with_unused else config

    @classmethod
    def _completed(cls, fields: Mapping[str, Any], names: list[str]) -> dict[str, Any]:
        """The arguments of the constructor; a family adds what it writes in another way."""
        return {name: fields[name] for name in names if fields.get(name) is not None}

    def to_dict(self) -> dict[str, Any]:
        """Fields under the published names, enough for :meth:`from_dict`."""
        fixed = {name: allowed[0] for name, allowed in self.fixed.items()}
        own = {self.published_field(name): getattr(self, name) for name in self.own}
        quantization = getattr(self, "quantization_config", None)
        if quantization is not None:
            plain = quantization if isinstance(quantization, dict) else quantization.to_dict()
            own["quantization_config"] = plain
        return {"model_type": self.model_type, **fixed, **own}

    def to_diff_dict(self) -> dict[str, Any]:
        """The same: a config of ours is always written whole."""
        return self.to_dict()

    def __eq__(self, other: object) -> bool:
        return type(other) is type(self) and self.to_dict() == other.to_dict()

    __hash__ = None  # type: ignore[assignment]


def _is_int(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)
