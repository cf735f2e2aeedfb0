"""Fewer bits for a backbone's weights through torchao, and what that costs. Off by default."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from ..errors import InvalidArgumentError, MissingDependencyError

_BLOCKS = "blocks."


@dataclass(frozen=True, slots=True)
class QuantizationCost:
    """How far a quantized backbone's predictions are from the original's.

    Attributes:
        divergence: mean over positions of ``KL(original || quantized)`` in nats.
        agreement: share of positions with the same most likely token.
    """

    divergence: float
    agreement: float


def quantize_backbone(backbone: nn.Module, bits: int, group_size: int = 128) -> None:
    """Store the linear layers of a backbone's blocks in 8 or 4 bits, in place.

    Weights only: activations keep their dtype, embedding and output head stay as they are.
    4 bits are packed two to a byte on CUDA, where the weights must be bfloat16; on the CPU they
    take a byte each, which is of use to measure their cost, not to save memory.

    Args:
        backbone: its blocks' linear layers are named ``blocks.*``, as in ``LLaDA``.
        bits: 8 (one scale a row) or 4 (one scale a group).
        group_size: weights that share a scale at 4 bits; divides every layer's input width.

    Raises:
        InvalidArgumentError: other bits, a group size or a dtype that does not fit.
        MissingDependencyError: torchao is not installed.

    Example:
        >>> quantize_backbone(model.backbone, bits=8)  # doctest: +SKIP
    """
    layers = {n: m for n, m in backbone.named_modules() if _is_block_linear(m, n)}
    if not layers:
        raise InvalidArgumentError("backbone", f"linear layers named {_BLOCKS}*", type(backbone))
    if bits not in (4, 8):
        raise InvalidArgumentError("bits", "4 or 8", bits)
    odd = [n for n, m in layers.items() if group_size < 1 or m.in_features % group_size]
    if bits == 4 and odd:
        widths = sorted({layers[name].in_features for name in odd})
        raise InvalidArgumentError("group_size", f"a divisor of {widths}", group_size)
    weight = next(iter(layers.values())).weight
    if bits == 4 and weight.is_cuda and weight.dtype != torch.bfloat16:
        raise InvalidArgumentError("backbone", "bfloat16 weights for 4 bits on CUDA", weight.dtype)
    try:
        from torchao.quantization import quantize_
    except ImportError as error:
        raise MissingDependencyError("torchao", "quantized weights", extra="quantize") from error
    quantize_(backbone, _settings(bits, group_size, weight.is_cuda), filter_fn=_is_block_linear)


@torch.no_grad()
def quantization_cost(
    original: nn.Module, quantized: nn.Module, input_ids: Tensor
) -> QuantizationCost:
    """Compare two backbones on the same tokens.

    Args:
        original: backbone with full weights.
        quantized: the same backbone after ``quantize_backbone``.
        input_ids: ``[B, L]`` int64 without padding; mask ids among them make it the real task.

    Returns:
        Divergence in nats and agreement, over all ``B * L`` positions.

    Example:
        >>> from dllm_audio import LLaDA, LLaDAConfig
        >>> backbone = LLaDA(LLaDAConfig(d_model=32, n_layers=1, n_heads=2, mlp_hidden_size=64,
        ...                              vocab_size=50, mask_token_id=49, eos_token_id=48))
        >>> quantization_cost(backbone, backbone, torch.tensor([[1, 2, 49]])).agreement
        1.0
    """
    expected = original(input_ids).logits.float()
    got = quantized(input_ids).logits.float()
    log_p, log_q = expected.log_softmax(-1), got.log_softmax(-1)
    divergence = (log_p.exp() * (log_p - log_q)).sum(-1).mean()
    agreement = (expected.argmax(-1) == got.argmax(-1)).float().mean()
    return QuantizationCost(float(divergence), float(agreement))


def _is_block_linear(module: nn.Module, name: str) -> bool:
    return isinstance(module, nn.Linear) and name.startswith(_BLOCKS)


def _settings(bits: int, group_size: int, cuda: bool) -> Any:
    from torchao import quantization

    if bits == 8:
        return quantization.Int8WeightOnlyConfig()
    if cuda:
        return quantization.Int4WeightOnlyConfig(
            group_size=group_size, int4_packing_format="tile_packed_to_4d"
        )
    granularity = quantization.PerGroup(group_size)
    return quantization.IntxWeightOnlyConfig(
        weight_dtype=getattr(torch, "int4"),  # noqa: B009 (missing in torch's stubs)
        granularity=granularity,
    )
