"""Dream (arXiv 2508.15487): masked diffusion with logits that are shifted by one position."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from ..parts import register
from .config import IDS, POSITIVE, SIZES, TransformerConfig
from .names import Names
from .transformer import DiffusionTransformer


class DreamConfig(TransformerConfig):
    """Sizes and token ids of a Dream backbone, under the published names (those of Qwen2).

    Args:
        hidden_size: width D.
        num_hidden_layers: transformer blocks.
        num_attention_heads: attention heads.
        num_key_value_heads: key/value heads; None means ``num_attention_heads``.
        intermediate_size: inner width of the SwiGLU feed-forward.
        vocab_size: token ids that exist.
        max_position_embeddings: longest sequence in tokens and audio embeddings together.
        rope_theta: base of the rotary embedding.
        rms_norm_eps: epsilon of every RMSNorm.
        tie_word_embeddings: whether the output head is the embedding.
        initializer_range: standard deviation of freshly initialized weights.
        mask_token_id: the id that stands for "not yet known".
        eos_token_id: the id that ends and pads a response.
        pad_token_id: the id that fills prompts on the left; None means ``eos_token_id``.
        settings: of transformers itself, such as ``dtype``.

    Raises:
        InvalidArgumentError: sizes that do not fit together, or ids outside the vocabulary.

    Example:
        >>> DreamConfig(hidden_size=64, num_hidden_layers=2, num_attention_heads=4,
        ...             intermediate_size=128, vocab_size=100, mask_token_id=99).n_layers
        2
    """

    model_type = "Dream"
    qkv_bias: ClassVar[bool] = True
    attribute_map: ClassVar[dict[str, str]] = {
        "d_model": "hidden_size",
        "n_layers": "num_hidden_layers",
        "n_heads": "num_attention_heads",
        "n_kv_heads": "num_key_value_heads",
        "mlp_hidden_size": "intermediate_size",
        "max_sequence_length": "max_position_embeddings",
        "weight_tying": "tie_word_embeddings",
        "init_std": "initializer_range",
    }
    fixed: ClassVar[Mapping[str, tuple[object, ...]]] = {
        "hidden_act": ("silu",),
        "rope_scaling": (None,),
        "use_sliding_window": (False,),
    }
    own: ClassVar[tuple[str, ...]] = (*SIZES, "n_kv_heads", *POSITIVE, "weight_tying", *IDS)

    def __init__(
        self,
        *,
        hidden_size: int = 3584,
        num_hidden_layers: int = 28,
        num_attention_heads: int = 28,
        num_key_value_heads: int | None = 4,
        intermediate_size: int = 18944,
        vocab_size: int = 152064,
        max_position_embeddings: int = 131072,
        rope_theta: float = 1000000.0,
        rms_norm_eps: float = 1e-6,
        tie_word_embeddings: bool = False,
        initializer_range: float = 0.02,
        mask_token_id: int | None = None,
        eos_token_id: int | None = None,
        pad_token_id: int | None = None,
        **settings: Any,
    ) -> None:
        super().__init__(**settings)
        self.hidden_size = hidden_size
        self.num_hidden_layers = num_hidden_layers
        self.num_attention_heads = num_attention_heads
        self.num_key_value_heads = num_key_value_heads
        self.intermediate_size = intermediate_size
        self.vocab_size = vocab_size
        self.max_position_embeddings = max_position_embeddings
        self.rope_theta = rope_theta
        self.rms_norm_eps = rms_norm_eps
        self.tie_word_embeddings = tie_word_embeddings
        self.initializer_range = initializer_range
        self.mask_token_id = mask_token_id
        self.eos_token_id = eos_token_id
        self.pad_token_id = pad_token_id
        self.check()


@register("backbone", "dream")
class Dream(DiffusionTransformer):
    """A backbone whose state at position i - 1 predicts the token at position i.

    Published by the authors of Dream 7B (arXiv 2508.15487), who made it from Qwen2.5. ``.logits``
    are unshifted, as published; :func:`dllm_audio.condition` does the shifting.

    Args:
        config: sizes and token ids.

    Example:
        >>> import torch
        >>> config = DreamConfig(hidden_size=32, num_hidden_layers=1, num_attention_heads=2,
        ...                      num_key_value_heads=1, intermediate_size=64, vocab_size=50,
        ...                      mask_token_id=49, eos_token_id=48)
        >>> Dream(config)(torch.zeros(2, 7, dtype=torch.long)).logits.shape
        torch.Size([2, 7, 50])
    """

    config_class = DreamConfig
    logit_shift = 1
    names = Names(
        "model.",
        (
            ("embed_tokens.", "wte."),
            ("layers.", "blocks."),
            (".self_attn.o_proj.", ".attn_out."),
            (".self_attn.q_proj.", ".q_proj."),
            (".self_attn.k_proj.", ".k_proj."),
            (".self_attn.v_proj.", ".v_proj."),
            (".mlp.gate_proj.", ".ff_proj."),
            (".mlp.up_proj.", ".up_proj."),
            (".mlp.down_proj.", ".ff_out."),
            (".input_layernorm.", ".attn_norm."),
            (".post_attention_layernorm.", ".ff_norm."),
            ("norm.", "ln_f."),
        ),
        head="lm_head",
    )
