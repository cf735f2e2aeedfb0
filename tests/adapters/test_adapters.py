"""Laws of the adapters: shapes, independence of the batch, masks, gradients, errors."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional as F

from dllm_audio.adapters import (
    AcousticAdapter,
    DualAdapter,
    PromptedSemanticAdapter,
    SemanticAdapter,
    evenly_spaced_taps,
)
from dllm_audio.errors import InvalidArgumentError, ShapeError
from dllm_audio.outputs import EncoderOutput

E, D, WINDOW = 8, 12, 24


def acoustic(**options) -> AcousticAdapter:
    options = {"num_queries": 3, "intermediate_size": 16, **options}
    return AcousticAdapter(E, D, (0, 2), num_heads=2, **options).eval()


def output(lengths: list[int], seed: int = 0) -> EncoderOutput:
    """What an encoder returns for those lengths; behind a row's end there is garbage."""
    generator = torch.Generator().manual_seed(seed)
    hidden = tuple(torch.randn(len(lengths), WINDOW, E, generator=generator) for _ in range(3))
    return EncoderOutput(hidden[-1][:, : max(lengths)], hidden, torch.tensor(lengths))


def row(batch: EncoderOutput, i: int) -> EncoderOutput:
    """Item ``i`` as a batch of one, cut to its own length."""
    length = int(batch.lengths[i])
    return EncoderOutput(
        batch.last_hidden_state[i : i + 1, :length],
        tuple(h[i : i + 1] for h in batch.hidden_states),
        batch.lengths[i : i + 1],
    )


def make(kind: str, stride: int):
    torch.manual_seed(1)
    semantic = SemanticAdapter(E, D, stride)
    if kind == "dual":
        return DualAdapter(semantic, acoustic()).eval()
    if kind == "masked":
        return DualAdapter(semantic, acoustic(), mask_frames=True).eval()
    return PromptedSemanticAdapter(semantic, num_prompts=5 if kind == "prompted" else 0).eval()


@pytest.mark.parametrize("kind", ["dual", "masked", "prompted", "semantic"])
@given(
    lengths=st.lists(st.integers(1, WINDOW), min_size=1, max_size=4),
    stride=st.integers(1, 5),
    seed=st.integers(0, 99),
)
@settings(max_examples=15)
@torch.no_grad()
def test_an_item_does_not_depend_on_its_batch(kind, lengths, stride, seed):
    adapter, batch = make(kind, stride), output(lengths, seed)
    prefix = {"dual": 3, "masked": 3, "prompted": 5, "semantic": 0}[kind]
    together = adapter(batch)
    assert together.lengths.tolist() == [n // stride + prefix for n in lengths]
    assert together.embeds.shape == (len(lengths), max(lengths) // stride + prefix, D)
    for i in range(len(lengths)):
        alone = adapter(row(batch, i))
        n = int(alone.lengths[0])
        assert n == together.lengths[i]
        torch.testing.assert_close(together.embeds[i, :n], alone.embeds[0], atol=1e-5, rtol=1e-5)


@torch.no_grad()
def test_frames_that_do_not_fill_a_stride_are_dropped():
    adapter = SemanticAdapter(E, D).eval()
    frames = torch.randn(1, 11, E)
    torch.testing.assert_close(adapter(frames), adapter(frames[:, :8]))
    assert adapter(frames[:, :3]).shape == (1, 0, D)


@torch.no_grad()
def test_the_semantic_adapter_is_the_published_sequence_of_modules():
    adapter = SemanticAdapter(E, D).eval()
    frames = torch.randn(2, 9, E)
    x = F.conv1d(frames[:, :8].mT, adapter.conv.weight, adapter.conv.bias, padding=1)
    x = F.conv1d(F.gelu(x), adapter.subsample.weight, adapter.subsample.bias, stride=4, padding=1)
    x = (x.mT @ adapter.linear.weight.T + adapter.linear.bias).clamp(min=0)
    x = (x @ adapter.projection.weight.T + adapter.projection.bias).clamp(min=0)
    x = (x - x.mean(-1, keepdim=True)) / (x.var(-1, correction=0, keepdim=True) + 1e-5).sqrt()
    torch.testing.assert_close(adapter(frames), x, atol=1e-5, rtol=1e-5)


@torch.no_grad()
def test_acoustic_sees_padding_unless_masked():
    batch = output([10, 20])
    changed = [h.clone() for h in batch.hidden_states]
    for h in changed:
        h[0, 10:] += 1.0
    mask = torch.arange(WINDOW) < batch.lengths[:, None]
    adapter = acoustic()
    torch.testing.assert_close(adapter(changed, mask), adapter(batch.hidden_states, mask))
    assert not torch.allclose(adapter(changed)[0], adapter(batch.hidden_states)[0])
    torch.testing.assert_close(adapter(changed)[1], adapter(batch.hidden_states)[1])


@torch.no_grad()
def test_a_mask_equals_cutting_the_frames():
    batch = output([10])
    mask = torch.arange(WINDOW)[None] < 10
    cut = [h[:, :10] for h in batch.hidden_states]
    adapter = acoustic()
    torch.testing.assert_close(adapter(batch.hidden_states, mask), adapter(cut))


@torch.no_grad()
def test_queries_see_later_queries():
    """The published Q-Former was trained without a causal mask."""
    adapter = acoustic()
    before = adapter(output([8]).hidden_states)
    adapter.queries[:, 2] += 1.0
    after = adapter(output([8]).hidden_states)
    assert not torch.allclose(before[:, 0], after[:, 0])


@torch.no_grad()
def test_layers_are_mixed_per_query_with_softmax_weights():
    adapter, batch = acoustic(), output([8])
    adapter.layer_weights[0] = torch.tensor([50.0, -50.0])  # query 0 hears the first tap only
    before = adapter(batch.hidden_states)
    hidden = [*batch.hidden_states[:2], batch.hidden_states[2] + 1.0]
    after = adapter(hidden)
    torch.testing.assert_close(before[:, 0], after[:, 0])
    assert not torch.allclose(before[:, 1], after[:, 1])


def test_every_parameter_of_the_adapters_learns():
    adapter = make("dual", 4).train()
    adapter(output([24, 13])).embeds.square().sum().backward()
    silent = [n for n, p in adapter.named_parameters() if p.grad is None or not p.grad.any()]
    # A constant added to every key does not move a softmax.
    assert [name for name in silent if not name.endswith("key.bias")] == []


def test_dropout_acts_in_training_only():
    adapter, batch = acoustic(dropout=0.5), output([8])
    assert torch.equal(adapter(batch.hidden_states), adapter(batch.hidden_states))
    adapter.train()
    assert not torch.equal(adapter(batch.hidden_states), adapter(batch.hidden_states))


def test_adapters_take_frames_of_another_dtype():
    adapter = make("dual", 4).bfloat16()
    assert adapter(output([8, 24])).embeds.dtype == torch.bfloat16
    assert adapter(output([2, 3])).embeds.dtype == torch.bfloat16


def test_ablation_form_has_no_extra_parameter():
    adapter = PromptedSemanticAdapter(SemanticAdapter(E, D), num_prompts=0)
    assert all(name.startswith("semantic.") for name in adapter.state_dict())


@pytest.mark.parametrize(
    ("layers", "taps"),
    [
        (4, (0, 1, 2, 3)),
        (12, (2, 5, 8, 11)),
        (24, (5, 11, 17, 23)),
        (32, (3, 7, 11, 15, 19, 23, 27, 31)),
    ],
)
def test_published_taps(layers, taps):
    assert evenly_spaced_taps(layers) == taps


@pytest.mark.parametrize(
    ("build", "names"),
    [
        (lambda: SemanticAdapter(E, D, stride=0), "stride"),
        (lambda: SemanticAdapter(0, D), "encoder_dim"),
        (lambda: AcousticAdapter(E, D, (), 2), "taps"),
        (lambda: AcousticAdapter(E, D, (1, 1), 2), "taps"),
        (lambda: AcousticAdapter(E, D, (-1,), 2), "taps"),
        (lambda: AcousticAdapter(E, D, (1,), 3), "num_heads: expected a divisor of 8, got 3"),
        (lambda: AcousticAdapter(E, D, (1,), 2, num_queries=0), "num_queries"),
        (lambda: DualAdapter(SemanticAdapter(E, D + 1), acoustic()), "lm_dim 13, got 12"),
        (lambda: PromptedSemanticAdapter(SemanticAdapter(E, D), -1), "num_prompts"),
        (lambda: acoustic()(output([8]).hidden_states[:2]), "at least 3 tensors"),
        (lambda: evenly_spaced_taps(4, 5), "num_taps"),
    ],
)
def test_errors_name_the_argument(build, names):
    with pytest.raises(InvalidArgumentError, match=names):
        build()


@pytest.mark.parametrize(
    ("call", "names"),
    [
        (lambda: SemanticAdapter(E, D)(torch.zeros(8, E)), "frames"),
        (lambda: SemanticAdapter(E, D)(torch.zeros(1, 8, E + 1)), "frames"),
        (lambda: SemanticAdapter(E, D)(torch.zeros(1, 8, E), torch.zeros(2)), "lengths"),
        (lambda: acoustic()([torch.zeros(1, 8, E + 1)] * 3), "hidden_states"),
        (lambda: acoustic()(output([8]).hidden_states, torch.ones(1, 3)), "frame_mask"),
    ],
)
def test_shape_errors_name_the_argument(call, names):
    with pytest.raises(ShapeError, match=names):
        call()
