"""The sliced output head gives what one plain product gives, to the last bit."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.nn import functional as F

from dllm_audio.backbones import head as module
from dllm_audio.backbones.head import OutputHead, vocabulary_product


@given(
    rows=st.integers(1, 16).map(lambda quarter: 4 * quarter),
    width=st.sampled_from([32, 64, 160]),
    vocabulary=st.sampled_from([999, 1000, 2000, 3989, 4000, 6000]),
    seed=st.integers(0, 2**16),
)
def test_slices_change_no_bit(rows: int, width: int, vocabulary: int, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    hidden = torch.randn(2, rows // 2, width, generator=generator)
    weight = torch.randn(vocabulary, width, generator=generator)
    with torch.inference_mode():
        found = vocabulary_product(hidden, weight)
    assert torch.equal(found, F.linear(hidden, weight))


@pytest.mark.parametrize(
    ("vocabulary", "slices"), [(640, 1), (32000, 32), (126464, 104), (3989, 1), (4000, 4)]
)
def test_slices_are_equal_and_not_too_small(vocabulary: int, slices: int) -> None:
    assert module._slices(vocabulary) == slices
    assert vocabulary % slices == 0


def test_what_cannot_be_sliced_goes_the_plain_way(monkeypatch: pytest.MonkeyPatch) -> None:
    """Gradients, other types and autocast must not meet ``out=``; plain inference must."""
    sliced: list[tuple[int, ...]] = []
    product = torch.bmm

    def counted(*args: torch.Tensor, out: torch.Tensor) -> torch.Tensor:
        sliced.append(tuple(out.shape))
        return product(*args, out=out)

    monkeypatch.setattr(torch, "bmm", counted)
    head, hidden = OutputHead(16, 4000), torch.randn(3, 4, 16)
    head(hidden).sum().backward()
    assert head.weight.grad is not None
    with torch.no_grad():
        head.to(torch.float64)(hidden.double())
        head.float()
        with torch.autocast("cpu", torch.bfloat16):
            assert head(hidden).dtype is torch.bfloat16
        assert head(hidden[:0]).shape == (0, 4, 4000)
        assert not sliced
        assert head(hidden).shape == (3, 4, 4000)
    assert sliced == [(4, 12, 1000)]
