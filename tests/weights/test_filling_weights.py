"""Strict filling of a module."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from dllm_audio.errors import CheckpointError
from dllm_audio.weights import load_weights, shorten


def make() -> nn.Module:
    return nn.Sequential(nn.Linear(2, 3), nn.BatchNorm1d(3))


def test_a_meta_module_comes_to_life():
    source = make()
    with torch.device("meta"):
        module = make()
    module[0].weight.requires_grad_(False)
    load_weights(module, source.state_dict().items(), source="x")
    x = torch.randn(5, 2)
    assert torch.equal(module.eval()(x), source.eval()(x))
    assert not module[0].weight.requires_grad
    assert module[0].bias.requires_grad
    assert isinstance(module[0].weight, nn.Parameter)
    assert dict(module.named_buffers()).keys() == dict(source.named_buffers()).keys()


def test_dtype_is_for_floats_alone():
    with torch.device("meta"):
        module = make()
    load_weights(module, make().state_dict().items(), source="x", dtype=torch.bfloat16)
    assert module[0].weight.dtype == torch.bfloat16
    assert module[1].num_batches_tracked.dtype == torch.int64


@pytest.mark.parametrize(
    ("change", "names"),
    [
        (lambda s: s[1:], r"here: 1 tensors are missing: 0\.weight"),
        (lambda s: [*s, ("9.weight", torch.ones(1))], r"here: the model has no tensor named 9"),
        (lambda s: [*s, s[0]], r"here: 0\.weight comes twice"),
        (lambda s: [("0.weight", torch.ones(3, 3)), *s[1:]], r"shape \[3, 2\], got \[3, 3\]"),
        (lambda s: [("0.weight", torch.ones(3, 2).int()), *s[1:]], "expected a dtype like"),
    ],
)
def test_faults_are_named(change, names):
    state = list(make().state_dict().items())
    with pytest.raises(CheckpointError, match=names):
        load_weights(make(), change(state), source="here")


def test_shorten():
    assert shorten("abc") == "a, b, c"
    assert shorten(map(str, range(10)), limit=3) == "0, 1, 2 and 7 more"
