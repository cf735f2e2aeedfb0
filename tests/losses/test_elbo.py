from __future__ import annotations

import itertools

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.autograd.graph import saved_tensors_hooks

from dllm_audio.errors import InvalidArgumentError, ShapeError
from dllm_audio.losses import ElboSampling, draw_masks, estimate_elbo, masked_cross_entropy

from .predictors import PlainPredictor, split_copy

WIDTH, VOCAB = 5, 9


@settings(max_examples=40)
@given(
    lengths=st.lists(st.integers(1, 7), min_size=1, max_size=4),
    timesteps=st.integers(1, 5),
    repeats=st.integers(1, 3),
    seed=st.integers(0, 2**31),
)
def test_masks_hold_exactly_k_response_tokens(lengths, timesteps, repeats, seed) -> None:
    width = max(lengths)
    n = torch.tensor(lengths)
    response_mask = torch.arange(width) < n[:, None]
    generator = torch.Generator().manual_seed(seed)
    masks, ratios = draw_masks(
        response_mask, timesteps * repeats, generator, masks_per_timestep=repeats
    )
    assert masks.shape == (timesteps * repeats, len(lengths), width)
    counts = masks.sum(-1)
    assert (counts >= 1).all()
    assert (counts <= n).all()
    assert not (masks & ~response_mask).any()
    torch.testing.assert_close(ratios, counts / n)
    by_timestep = counts.view(timesteps, repeats, -1)
    assert (by_timestep == by_timestep[:, :1]).all()
    again, _ = draw_masks(
        response_mask,
        timesteps * repeats,
        torch.Generator().manual_seed(seed),
        masks_per_timestep=repeats,
    )
    assert torch.equal(masks, again)


def test_k_is_uniform_and_every_subset_of_size_k_is_as_likely() -> None:
    draws, n = 40_000, 4
    generator = torch.Generator().manual_seed(3)
    masks, _ = draw_masks(torch.ones(draws, n, dtype=torch.bool), 1, generator)
    codes = (masks[0].long() * 2 ** torch.arange(n)).sum(-1)
    observed = codes.bincount(minlength=2**n).double()
    expected = torch.zeros(2**n, dtype=torch.float64)
    for code in range(1, 2**n):
        k = bin(code).count("1")
        subsets = len(list(itertools.combinations(range(n), k)))
        expected[code] = draws / n / subsets
    assert observed[0] == 0
    chi_square = ((observed - expected)[1:].square() / expected[1:]).sum()
    assert chi_square < 36.1  # 99.9 % quantile at 14 degrees of freedom


def exact_elbo(predictor: PlainPredictor, x_0: torch.Tensor) -> torch.Tensor:
    """The expectation that the estimate estimates, by enumeration of every mask."""
    n = x_0.shape[1]
    total = torch.zeros(len(x_0), dtype=torch.float64)
    for k in range(1, n + 1):
        subsets = list(itertools.combinations(range(n), k))
        for subset in subsets:
            mask = torch.zeros(n, dtype=torch.bool)
            mask[list(subset)] = True
            mask = mask.expand_as(x_0)
            x_t = x_0.masked_fill(mask, predictor.mask_token_id)
            log_probs = predictor(x_t).log_softmax(-1).gather(-1, x_0[..., None])[..., 0]
            total += (log_probs * mask).sum(-1) / (k / n) / len(subsets) / n
    return total


def many_rows(
    rows: int, seed: int = 1, kind: type[PlainPredictor] = PlainPredictor
) -> tuple[PlainPredictor, torch.Tensor]:
    torch.manual_seed(seed)
    predictor = kind(rows, WIDTH, VOCAB, dtype=torch.float64)
    x_0 = torch.randint(0, VOCAB - 1, (1, WIDTH)).expand(rows, WIDTH)
    return predictor, x_0


def estimates(
    predictor: PlainPredictor, x_0: torch.Tensor, sampling: ElboSampling, seed: int
) -> torch.Tensor:
    masks, ratios = sampling.draw(
        torch.ones_like(x_0, dtype=torch.bool), torch.Generator().manual_seed(seed)
    )
    with torch.no_grad():
        return estimate_elbo(predictor, x_0, masks, ratios)


@pytest.mark.parametrize("masks_per_timestep", [1, 4])
def test_the_estimate_is_unbiased(masks_per_timestep: int) -> None:
    predictor, x_0 = many_rows(20_000)
    values = estimates(predictor, x_0, ElboSampling(4, masks_per_timestep), seed=5)
    truth = exact_elbo(predictor, x_0[:1]).item()
    error = values.mean().item() - truth
    standard_error = values.std().item() / len(values) ** 0.5
    assert abs(error) < 4 * standard_error
    # The test can tell: a bias of 2 % would be seen.
    assert abs(0.02 * truth) > 4 * standard_error


class SurerWithContext(PlainPredictor):
    """As a trained model, far from sure when little is visible: what is left is its timesteps."""

    def forward(self, x_t: torch.Tensor) -> torch.Tensor:
        visible = (x_t != self.mask_token_id).double().mean(-1)[:, None, None]
        return super().forward(x_t) * (0.2 + visible)


def test_variance_falls_with_the_budget_and_with_the_number_of_timesteps() -> None:
    predictor, x_0 = many_rows(4_000, kind=SurerWithContext)
    variance = {
        (n, m): estimates(predictor, x_0, ElboSampling(n, m), seed=11).var().item()
        for n, m in [(1, 1), (4, 1), (8, 1), (8, 4), (8, 8)]
    }
    assert variance[8, 1] == pytest.approx(variance[1, 1] / 8, rel=0.15)
    assert variance[8, 1] < variance[4, 1] < variance[1, 1]
    assert variance[8, 1] < 0.9 * variance[8, 4] < 0.9 * variance[8, 8]


def test_shared_masks_cancel_noise_in_the_difference_of_policy_and_reference() -> None:
    policy, x_0 = many_rows(4_000)
    reference, _ = many_rows(4_000)
    with torch.no_grad():
        for parameter in reference.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    sampling = ElboSampling(4)
    shared = estimates(policy, x_0, sampling, 1) - estimates(reference, x_0, sampling, 1)
    independent = estimates(policy, x_0, sampling, 1) - estimates(reference, x_0, sampling, 2)
    assert shared.var() < 0.25 * independent.var()
    pooled = ((shared.var() + independent.var()) / len(shared)).sqrt()
    assert (shared.mean() - independent.mean()).abs() < 4 * pooled


def test_gradients_match_finite_differences() -> None:
    plain = PlainPredictor(2, WIDTH, VOCAB, dim=3, dtype=torch.float64)
    x_0 = torch.randint(0, VOCAB - 1, (2, WIDTH))
    response_mask = torch.arange(WIDTH) < torch.tensor([[WIDTH], [3]])
    masks, ratios = draw_masks(response_mask, 3)
    for frozen_head in (False, True):
        split = split_copy(plain)
        split.output.requires_grad_(not frozen_head)
        names = [n for n, p in split.named_parameters() if p.requires_grad]

        def elbo(*values, names=names, split=split):
            for name, value in zip(names, values, strict=True):
                split._parameters[name] = value
            return estimate_elbo(split, x_0, masks, ratios)

        inputs = [split.get_parameter(name).detach().requires_grad_() for name in names]
        assert torch.autograd.gradcheck(elbo, inputs)


def test_recomputation_changes_nothing_and_keeps_memory_flat() -> None:
    def saved_bytes(num_samples: int, recompute: bool) -> tuple[int, list[torch.Tensor]]:
        torch.manual_seed(0)
        model = split_copy(PlainPredictor(2, WIDTH, VOCAB, dtype=torch.float64))
        model.output.requires_grad_(False)
        x_0 = torch.randint(0, VOCAB - 1, (2, WIDTH))
        masks, ratios = draw_masks(torch.ones_like(x_0, dtype=torch.bool), num_samples)
        kept = 0

        def count(tensor: torch.Tensor) -> torch.Tensor:
            nonlocal kept
            kept += tensor.numel() * tensor.element_size()
            return tensor

        with saved_tensors_hooks(count, lambda tensor: tensor):
            value = estimate_elbo(model, x_0, masks, ratios, recompute=recompute).sum()
        return kept, list(
            torch.autograd.grad(value, [p for p in model.parameters() if p.requires_grad])
        )

    few, _ = saved_bytes(2, recompute=True)
    many, gradients = saved_bytes(32, recompute=True)
    naive, expected = saved_bytes(32, recompute=False)
    # What is left per sample are the small tensors of the mean itself.
    per_sample = (many - few) / 30
    assert per_sample < 0.1 * naive / 32
    torch.testing.assert_close(gradients, expected, rtol=1e-12, atol=1e-12)


def test_a_row_does_not_depend_on_its_padding() -> None:
    predictor, _ = many_rows(1)
    x_0 = torch.randint(0, VOCAB - 1, (1, WIDTH))
    masks, ratios = draw_masks(torch.arange(WIDTH)[None] < 3, 4)
    x_t = x_0.masked_fill(masks[0], predictor.mask_token_id)
    first = masked_cross_entropy(predictor, x_t, x_0, masks[0]).sum(-1) / ratios[0]
    torch.testing.assert_close(estimate_elbo(predictor, x_0, masks[:1], ratios[:1]), -first)


def test_errors_name_the_argument() -> None:
    ones = torch.ones(2, 3, dtype=torch.bool)
    with pytest.raises(InvalidArgumentError, match=r"response_mask: .*none in rows \[1\]"):
        draw_masks(torch.tensor([[True, False], [False, False]]), 2)
    with pytest.raises(InvalidArgumentError, match="num_samples"):
        draw_masks(ones, 0)
    with pytest.raises(InvalidArgumentError, match=r"masks_per_timestep: .*divisor .* 4"):
        draw_masks(ones, 4, masks_per_timestep=3)
    with pytest.raises(ShapeError, match=r"response_mask: .*\[B, R\]"):
        draw_masks(ones[0], 1)
    predictor, x_0 = many_rows(2)
    masks, ratios = draw_masks(torch.ones(2, WIDTH, dtype=torch.bool), 2)
    with pytest.raises(ShapeError, match="masks"):
        estimate_elbo(predictor, x_0[:1], masks, ratios)
    with pytest.raises(ShapeError, match="ratios"):
        estimate_elbo(predictor, x_0, masks, ratios[:1])
