"""In float32 on the CPU a sequence gets the same logits, to the last bit, alone and in a batch."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from dllm_audio import LLaDA, LLaDAConfig, condition
from dllm_audio.backbones.attention import attend, row_layout
from dllm_audio.backbones.elementwise import rowwise, vectorized


def llada(mlp_hidden_size: int = 48, n_kv_heads: int | None = None) -> LLaDA:
    torch.manual_seed(0)
    config = LLaDAConfig(
        d_model=32, n_layers=3, n_heads=4, n_kv_heads=n_kv_heads, mlp_hidden_size=mlp_hidden_size,
        vocab_size=50, mask_token_id=49, eos_token_id=48, init_std=0.3,
    )  # fmt: skip
    return LLaDA(config).eval().requires_grad_(False)


def padded(prompts: list[Tensor]) -> tuple[Tensor, Tensor]:
    longest = max(len(prompt) for prompt in prompts)
    ids = torch.zeros(len(prompts), longest, dtype=torch.long)
    mask = torch.zeros(len(prompts), longest, dtype=torch.bool)
    for row, prompt in enumerate(prompts):
        ids[row, longest - len(prompt) :] = prompt
        mask[row, longest - len(prompt) :] = True
    return ids, mask


@torch.inference_mode()
@pytest.mark.parametrize("n_kv_heads", [None, 2])
@pytest.mark.parametrize("mlp_hidden_size", [48, 50, 128])
@pytest.mark.parametrize("lengths", [(11, 3, 29, 7), (5, 5, 5)])
def test_logits_are_the_same_alone_and_in_a_batch(
    lengths: tuple[int, ...], mlp_hidden_size: int, n_kv_heads: int | None
) -> None:
    model = llada(mlp_hidden_size, n_kv_heads)
    prompts = [torch.randint(0, 48, (length,)) for length in lengths]
    ids, mask = padded(prompts)
    x = torch.randint(0, 50, (len(lengths), 13))
    together = condition(model, ids, prompt_mask=mask)
    # A multiple of four: with two threads MKL sums 5 rows in another order than 20.
    caches, window = together.new_cache(13), torch.arange(4, 12)
    full = together(x, cache=caches)
    block = together(x, window, cache=caches, window=window)
    for row, prompt in enumerate(prompts):
        alone = condition(model, prompt[None])
        cache = alone.new_cache(13)
        one = x[row : row + 1]
        assert torch.equal(full[row], alone(one, cache=cache)[0])
        assert torch.equal(block[row], alone(one, window, cache=cache, window=window)[0])


def test_attention_row_by_row_is_attention_with_a_mask() -> None:
    torch.manual_seed(1)
    queries = torch.randn(3, 4, 6, 8, dtype=torch.float64)
    keys, values = torch.randn(2, 3, 2, 9, 8, dtype=torch.float64).unbind()
    allowed = torch.tensor([[0] * 4 + [1] * 5, [1] * 9, [0, 0, 1, 1, 1, 1, 0, 0, 0]]).bool()
    layout = row_layout(queries[:, 0], allowed, windowed=True)
    assert layout.keys == [(4, 9), (0, 9), (2, 6)]
    scores = torch.einsum("bhqd,bhkd->bhqk", queries, keys.repeat_interleave(2, 1)) / 8**0.5
    weights = scores.masked_fill(~allowed[:, None, None], -torch.inf).softmax(-1)
    expected = weights @ values.repeat_interleave(2, 1)
    torch.testing.assert_close(attend(queries, keys, values, layout, grouped=True), expected)


@pytest.mark.parametrize("allowed", [[[1, 0, 1]], [[1, 1, 1], [0, 0, 0]]])
def test_masks_with_gaps_are_added_to_the_scores(allowed: list[list[int]]) -> None:
    layout = row_layout(torch.zeros(len(allowed), 3, 4), torch.tensor(allowed).bool(), False)
    assert layout.keys is None
    assert layout.bias is not None


@pytest.mark.parametrize("function", [torch.cos, torch.nn.functional.silu])
def test_values_do_not_depend_on_the_place_in_a_tensor(function: Callable) -> None:
    x = 3 * torch.randn(7, 5, 50)
    whole = vectorized(function, x)
    torch.testing.assert_close(whole, function(x))
    spans = [(row % 3, 5 - row % 2) for row in range(7)]
    rows = rowwise(function, x, spans)
    assert torch.equal(rowwise(function, x, None), function(x))
    for row, (begin, end) in enumerate(spans):
        assert torch.equal(whole[row, 1:4], vectorized(function, x[row, 1:4]))
        assert torch.equal(rows[row, begin:end], function(x[row, begin:end].clone()))
