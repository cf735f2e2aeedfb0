"""LLaDA (arXiv 2502.09992): a bidirectional masked-diffusion language model."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from ..parts import register
from .config import IDS, OPTIONAL_SIZES, POSITIVE, SIZES, TransformerConfig
from .names import Names
from .transformer import DiffusionTransformer


class LLaDAConfig(TransformerConfig):
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
        causal_block_length: the prompt, and each block of so many response positions after it,
            attends to what is before it and to itself, so that keys and values of what is finished
            are exact for good (block-causal attention); None: everything attends to everything.
        settings: of transformers itself, such as ``dtype``.

    Raises:
        InvalidArgumentError: sizes that do not fit together, or ids outside the vocabulary.

    Example:
        >>> LLaDAConfig(d_model=64, n_layers=2, n_heads=4, mlp_hidden_size=128, vocab_size=100,
        ...             mask_token_id=99, eos_token_id=98).head_dim
        16
    """

    model_type = "llada"
    attribute_map: ClassVar[dict[str, str]] = {
        "hidden_size": "d_model",
        "num_hidden_layers": "n_layers",
        "num_attention_heads": "n_heads",
        "intermediate_size": "mlp_hidden_size",
        "max_position_embeddings": "max_sequence_length",
        "tie_word_embeddings": "weight_tying",
        "initializer_range": "init_std",
    }
    fixed: ClassVar[Mapping[str, tuple[object, ...]]] = {
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
    own: ClassVar[tuple[str, ...]] = (
        *SIZES, *OPTIONAL_SIZES, *POSITIVE, "weight_tying", *IDS, "causal_block_length",
    )  # fmt: skip

    def __init__(
        self,
        *,
        d_model: int = 4096,
        n_layers: int = 32,
        n_heads: int = 32,
        n_kv_heads: int | None = None,
        mlp_hidden_size: int = 12288,
        vocab_size: int = 126464,
        embedding_size: int | None = None,
        max_sequence_length: int = 4096,
        rope_theta: float = 500000.0,
        rms_norm_eps: float = 1e-5,
        weight_tying: bool = False,
        init_std: float = 0.02,
        mask_token_id: int | None = None,
        eos_token_id: int | None = None,
        pad_token_id: int | None = None,
        causal_block_length: int | None = None,
        **settings: Any,
    ) -> None:
        super().__init__(**settings)
        self.d_model = d_model
        self.n_layers = n_layers
        self.n_heads = n_heads
        self.n_kv_heads = n_kv_heads
        self.mlp_hidden_size = mlp_hidden_size
        self.vocab_size = vocab_size
        self.embedding_size = embedding_size
        self.max_sequence_length = max_sequence_length
        self.rope_theta = rope_theta
        self.rms_norm_eps = rms_norm_eps
        self.weight_tying = weight_tying
        self.init_std = init_std
        self.mask_token_id = mask_token_id
        self.eos_token_id = eos_token_id
        self.pad_token_id = pad_token_id
        self.causal_block_length = causal_block_length
        self.check()

    @classmethod
    def _completed(cls, fields: Mapping[str, Any], names: list[str]) -> dict[str, Any]:
        known = super()._completed(fields, names)
        if "mlp_hidden_size" not in known:
            known["mlp_hidden_size"] = int(fields.get("mlp_ratio", 4) * fields["d_model"])
        if fields.get("multi_query_attention"):
            known["n_kv_heads"] = 1
        return known


@register("backbone", "llada")
class LLaDA(DiffusionTransformer):
    """The backbone of DIFFA: predicts the token behind every position, without a causal mask.

    Args:
        config: sizes and token ids.

    Example:
        >>> import torch
        >>> config = LLaDAConfig(d_model=32, n_layers=1, n_heads=2, mlp_hidden_size=64,
        ...                      vocab_size=50, mask_token_id=49, eos_token_id=48)
        >>> LLaDA(config)(torch.zeros(2, 7, dtype=torch.long)).logits.shape
        torch.Size([2, 7, 50])
    """

    config_class = LLaDAConfig
    names = Names("model.transformer.")
