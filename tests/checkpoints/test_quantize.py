"""Quantized weights: what they change, what they leave, what they cost."""

from __future__ import annotations

import copy
import importlib.util

import pytest
import torch
from torch import nn

from dllm_audio import LLaDA, LLaDAConfig
from dllm_audio.checkpoints.quantize import quantization_cost, quantize_backbone
from dllm_audio.errors import InvalidArgumentError, MissingDependencyError
from parity import load_golden

HAS_TORCHAO = importlib.util.find_spec("torchao") is not None
needs_torchao = pytest.mark.skipif(not HAS_TORCHAO, reason="torchao is not installed")


def backbone() -> LLaDA:
    torch.manual_seed(0)
    config = LLaDAConfig(
        d_model=64, n_layers=2, n_heads=4, mlp_hidden_size=128, vocab_size=50, init_std=0.2
    )
    return LLaDA(config).eval()


@needs_torchao
def test_eight_bits_cost_less_than_four_and_both_cost_something():
    original, tokens = backbone(), torch.randint(0, 50, (4, 16))
    costs = []
    for bits in (8, 4):
        quantized = copy.deepcopy(original)
        quantize_backbone(quantized, bits, group_size=32)
        costs.append(quantization_cost(original, quantized, tokens))
    # A divergence grows with the square of the step: 1/127 of a row's largest weight against
    # 2/15 of a group's, which is at most as large and rarely below half of it.
    assert 0 < 20 * costs[0].divergence < costs[1].divergence
    assert costs[1].agreement <= costs[0].agreement


@needs_torchao
def test_eight_bit_weights_are_the_nearest_of_their_row():
    """Symmetric per row: no weight moves by more than half a step of its row."""
    original, quantized = backbone(), backbone()
    quantize_backbone(quantized, 8)
    for name, module in original.named_modules():
        if isinstance(module, nn.Linear):
            weight = quantized.get_submodule(name).weight
            if name.startswith("blocks."):
                step = module.weight.abs().amax(1, keepdim=True) / 127
                moved = (weight.dequantize() - module.weight).abs()
                assert (moved <= 0.51 * step).all()
                assert weight.qdata.dtype == torch.int8
            else:
                assert torch.equal(weight, module.weight)
    assert torch.equal(original.wte.weight, quantized.wte.weight)


@torch.no_grad()
def test_cost_of_nothing_is_nothing_and_of_another_model_is_not():
    original, tokens = backbone(), torch.randint(0, 50, (2, 8))
    cost = quantization_cost(original, copy.deepcopy(original), tokens)
    assert (cost.divergence, cost.agreement) == (0.0, 1.0)
    other = backbone()
    nn.init.zeros_(other.ff_out.weight)  # uniform: the divergence is log V minus the entropy
    log_p = original(tokens).logits.log_softmax(-1)
    entropy = -(log_p.exp() * log_p).sum(-1).mean()
    expected = torch.log(torch.tensor(50.0)) - entropy
    assert quantization_cost(original, other, tokens).divergence == pytest.approx(
        float(expected), abs=1e-4
    )


@pytest.mark.parametrize(
    ("bits", "group_size", "names"),
    [(3, 32, "bits"), (4, 48, r"group_size: expected a divisor of \[64, 128\]"), (4, 0, "group")],
)
def test_arguments(bits, group_size, names):
    with pytest.raises(InvalidArgumentError, match=names):
        quantize_backbone(backbone(), bits, group_size)


def test_a_model_without_blocks_is_refused():
    with pytest.raises(InvalidArgumentError, match=r"blocks\.\*"):
        quantize_backbone(nn.Linear(2, 2), 8)


@pytest.mark.skipif(HAS_TORCHAO, reason="torchao is installed")
def test_without_torchao_the_error_says_how_to_get_it():
    with pytest.raises(MissingDependencyError, match=r"dllm-audio\[quantize\]"):
        quantize_backbone(backbone(), 8)


@needs_torchao
def test_parity_weights_in_eight_bits():
    original = LLaDA(
        LLaDAConfig(d_model=64, n_layers=3, n_heads=4, mlp_hidden_size=144, vocab_size=211)
    ).eval()
    weights = load_golden("llada_weights")
    original.load_state_dict({n.removeprefix("model.transformer."): t for n, t in weights.items()})
    quantized = copy.deepcopy(original)
    quantize_backbone(quantized, 8)
    io = load_golden("llada_io")
    assert quantization_cost(original, quantized, io["input_ids"]).agreement >= 0.95
