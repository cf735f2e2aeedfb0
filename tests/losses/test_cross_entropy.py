from __future__ import annotations

import gc
import weakref

import pytest
import torch
from torch.autograd.graph import saved_tensors_hooks

from dllm_audio.errors import InvalidArgumentError, ShapeError
from dllm_audio.losses import masked_cross_entropy

from .predictors import PlainPredictor, split_copy

B, R, V = 3, 7, 23


def case(dtype: torch.dtype = torch.float64) -> tuple[PlainPredictor, torch.Tensor, ...]:
    plain = PlainPredictor(B, R, V, dtype=dtype)
    x_0 = torch.randint(0, V - 1, (B, R))
    mask = torch.rand(B, R) < 0.5
    return plain, x_0.masked_fill(mask, V - 1), x_0, mask


def by_hand(plain: PlainPredictor, x_t: torch.Tensor, x_0: torch.Tensor, mask: torch.Tensor):
    log_probs = plain(x_t).log_softmax(-1)
    values = -log_probs.gather(-1, x_0.unsqueeze(-1)).squeeze(-1)
    return torch.where(mask, values, torch.zeros_like(values))


@pytest.mark.parametrize("trainable", ["all", "body only", "head only", "nothing"])
@pytest.mark.parametrize("chunk_rows", [1, 4, 1000])
def test_equals_the_definition_with_its_gradients(trainable: str, chunk_rows: int) -> None:
    plain, x_t, x_0, mask = case()
    split = split_copy(plain)
    for model in (plain, split):
        for name, parameter in model.named_parameters():
            is_head = name == "output"
            wanted = {"all": True, "body only": not is_head, "head only": is_head, "nothing": False}
            parameter.requires_grad_(wanted[trainable])
    weights = torch.rand(B, R, dtype=torch.float64)
    expected = by_hand(plain, x_t, x_0, mask)
    for model in (plain, split):
        value = masked_cross_entropy(model, x_t, x_0, mask, chunk_rows=chunk_rows)
        torch.testing.assert_close(value, expected, rtol=1e-12, atol=1e-12)
        assert (value[~mask] == 0).all()
        wanted = [p for p in model.parameters() if p.requires_grad]
        if not wanted:
            assert not value.requires_grad
            continue
        reference = [p for p in plain.parameters() if p.requires_grad]
        got = torch.autograd.grad((value * weights).sum(), wanted)
        truth = torch.autograd.grad((by_hand(plain, x_t, x_0, mask) * weights).sum(), reference)
        for a, b in zip(got, truth, strict=True):
            torch.testing.assert_close(a, b, rtol=1e-10, atol=1e-12)


def test_the_head_sees_masked_rows_only_and_never_more_than_a_chunk() -> None:
    plain, x_t, x_0, mask = case()
    split = split_copy(plain)
    with torch.no_grad():
        masked_cross_entropy(split, x_t, x_0, mask, chunk_rows=4)
    assert sum(split.head_rows) == int(mask.sum())
    assert max(split.head_rows) <= 4


@pytest.mark.parametrize("head_trains", [True, False])
def test_no_logits_are_kept_for_the_backward_pass(head_trains: bool) -> None:
    plain, x_t, x_0, mask = case()
    split = split_copy(plain)
    split.output.requires_grad_(head_trains)
    logits: list[weakref.ref[torch.Tensor]] = []
    kept = 0

    def remember(tensor: torch.Tensor) -> torch.Tensor:
        nonlocal kept
        kept += 1
        if tensor.ndim > 1 and tensor.shape[-1] == V and tensor.shape[0] != V:
            logits.append(weakref.ref(tensor))
        return tensor

    with saved_tensors_hooks(remember, lambda tensor: tensor):
        loss = masked_cross_entropy(split, x_t, x_0, mask, chunk_rows=2).sum()
        gc.collect()
        assert kept
        assert not [ref for ref in logits if ref() is not None]
        naive = by_hand(plain, x_t, x_0, mask).sum()
        assert [ref for ref in logits if ref() is not None]  # the test can see them
    assert loss.requires_grad
    assert naive.requires_grad


def test_half_precision_logits_are_reduced_in_float32() -> None:
    plain, x_t, x_0, mask = case(torch.float32)
    half = PlainPredictor(B, R, V, dtype=torch.bfloat16)
    half.load_state_dict(plain.state_dict())
    value = masked_cross_entropy(half, x_t, x_0, mask)
    assert value.dtype == torch.float32
    expected = -half(x_t).float().log_softmax(-1).gather(-1, x_0.unsqueeze(-1)).squeeze(-1)
    torch.testing.assert_close(value[mask], expected[mask])


def test_a_batch_without_masked_tokens_costs_nothing_and_gives_zero() -> None:
    plain, _, x_0, mask = case()
    value = masked_cross_entropy(split_copy(plain), x_0, x_0, torch.zeros_like(mask))
    assert value.shape == (B, R)
    assert (value == 0).all()
    value.sum().backward()


def test_errors_name_the_argument() -> None:
    plain, x_t, x_0, mask = case()
    with pytest.raises(ShapeError, match=r"x_t, x_0, mask: .*\[B, R\].*\[3, 6\]"):
        masked_cross_entropy(plain, x_t, x_0[:, :6], mask)
    with pytest.raises(InvalidArgumentError, match="chunk_rows"):
        masked_cross_entropy(plain, x_t, x_0, mask, chunk_rows=0)
