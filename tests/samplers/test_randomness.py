"""Temperature samples follow the model's distribution, and a row's belong to that row."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from dllm_audio import BlockSampler, CachedParallelSampler, FixedQuota, LowConfidenceSampler
from dllm_audio.errors import InvalidArgumentError
from dllm_audio.samplers.choosing import gumbel_noise

from .models import EOS, MASK, VOCAB, TablePredictor, mixed_batch, tiny_llada

# Upper 1e-4 quantile of chi-square by degrees of freedom.
CRITICAL = {7: 29.88, 15: 44.26}


def chi_square(counts: Tensor, probabilities: Tensor) -> float:
    expected = probabilities * counts.sum()
    return float(((counts - expected) ** 2 / expected).sum())


def chosen_tokens(table: Tensor, rows: int, temperature: float, **options: Any) -> Tensor:
    predictor = TablePredictor(table.expand(rows, -1, -1), MASK, EOS)
    sampler = LowConfidenceSampler(1, table.shape[-2], temperature=temperature, **options)
    return sampler(predictor, generator=torch.Generator().manual_seed(0)).tokens


@pytest.mark.parametrize("temperature", [0.5, 1.0, 2.0])
def test_samples_follow_the_tempered_distribution(temperature: float) -> None:
    logits = torch.full((4, VOCAB), -torch.inf)
    logits[:, :8] = torch.tensor([2.0, 1.0, 0.5, 0.0, -0.5, -1.0, -2.0, 1.5])
    logits[:, MASK] = 3.0  # never chosen, however likely
    tokens = chosen_tokens(logits, 1000, temperature)
    counts = tokens.flatten().bincount(minlength=VOCAB)[:8].double()
    assert counts.sum() == 4000
    expected = torch.softmax(logits[0, :8].double() / temperature, -1)
    assert chi_square(counts, expected) < CRITICAL[7]
    wrong = torch.softmax(logits[0, :8].double() / (temperature * 1.3), -1)
    assert chi_square(counts, wrong) > CRITICAL[7]  # the test can tell


def test_positions_and_rows_are_independent() -> None:
    logits = torch.full((2, VOCAB), -torch.inf)
    logits[:, :4] = 0.0
    tokens = chosen_tokens(logits, 2000, 1.0)
    pairs = (tokens[:, 0] * 4 + tokens[:, 1]).bincount(minlength=16).double()
    assert chi_square(pairs, torch.full((16,), 1 / 16, dtype=torch.float64)) < CRITICAL[15]


def test_the_confidence_of_a_sample_is_the_probability_of_that_token() -> None:
    """Under the model itself: neither tempered nor noised."""
    table = 2 * torch.randn(3, 6, VOCAB)
    sampler = LowConfidenceSampler(6, 6, temperature=2.0, trace=True)
    output = sampler(TablePredictor(table, MASK, EOS))
    assert output.trace is not None
    probabilities = table.softmax(-1)
    expected = probabilities.gather(-1, output.tokens[..., None])[..., 0]
    assert not torch.equal(output.tokens, table.argmax(-1))
    torch.testing.assert_close(output.trace.confidence, expected)


def test_forbidden_tokens_are_never_sampled() -> None:
    logits = torch.zeros(4, VOCAB)
    logits[:, EOS] = 9.0
    tokens = chosen_tokens(logits, 200, 1.0, eos="forbid")
    assert not ((tokens == EOS) | (tokens == MASK)).any()
    tokens = chosen_tokens(logits, 50, 1.0, eos="forbid", end_token_ids=(EOS, 3))
    assert not torch.isin(tokens, torch.tensor([EOS, 3, MASK])).any()


def test_noise_is_finite_at_the_ends_of_the_unit_interval() -> None:
    edges = torch.tensor([0.0, 1 - 2**-53], dtype=torch.float64)
    assert gumbel_noise(edges, 1.0).isfinite().all()


def test_random_confidence_commits_in_a_uniform_order() -> None:
    table = torch.zeros(1, 8, VOCAB).index_fill(-1, torch.tensor([MASK]), -torch.inf)
    predictor = TablePredictor(table.expand(800, -1, -1), MASK, EOS)
    sampler = BlockSampler(8, 8, 8, confidence="random", trace=True)
    output = sampler(predictor, generator=torch.Generator().manual_seed(1))
    assert output.trace is not None
    first = (output.trace.step == 0).nonzero()[:, 1].bincount(minlength=8).double()
    assert first.sum() == 800
    assert chi_square(first, torch.full((8,), 1 / 8, dtype=torch.float64)) < CRITICAL[7]


@pytest.mark.parametrize("cache", [None, "prefix", "dual"])
@pytest.mark.parametrize("options", [{"temperature": 1.0}, {"confidence": "random"}])
def test_a_row_does_not_depend_on_its_neighbors(cache: str | None, options: dict) -> None:
    """Also when rows wait for others at the end of a block, or leave the batch for good."""
    from dllm_audio import Threshold

    for seed in range(3):
        batch = mixed_batch(tiny_llada(seed), seed, rows=5)
        sampler = CachedParallelSampler(10, 4, Threshold(0.55), cache=cache, **options)
        generators = [torch.Generator().manual_seed(100 + row) for row in range(5)]
        together = sampler(batch.together(), generator=generators)
        assert len(set(together.row_nfe.tolist())) > 1
        for row in range(5):
            generator = [torch.Generator().manual_seed(100 + row)]
            alone = sampler(batch.alone(row), generator=generator)
            assert torch.equal(together.tokens[row], alone.tokens[0])


def test_one_generator_seeds_a_stream_for_every_row() -> None:
    batch = mixed_batch(tiny_llada(), 0, rows=3)
    sampler = CachedParallelSampler(8, 4, FixedQuota(4), temperature=1.5)

    def run(seed: int | None) -> Tensor:
        generator = None if seed is None else torch.Generator().manual_seed(seed)
        return sampler(batch.together(), generator=generator).tokens

    assert torch.equal(run(1), run(1))
    assert not torch.equal(run(1), run(2))
    torch.manual_seed(7)
    first = run(None)
    assert not torch.equal(first, run(None))
    torch.manual_seed(7)
    assert torch.equal(first, run(None))


def test_greedy_decoding_draws_no_random_numbers() -> None:
    batch = mixed_batch(tiny_llada(), 0)
    before = torch.get_rng_state()
    CachedParallelSampler(8, 4)(batch.together())
    assert torch.equal(before, torch.get_rng_state())


def test_the_number_of_generators_is_checked() -> None:
    batch = mixed_batch(tiny_llada(), 0)
    with pytest.raises(
        InvalidArgumentError, match=r"generator: expected one generator a row \(3\)"
    ):
        LowConfidenceSampler(2, 4, temperature=1.0)(
            batch.together(), generator=[torch.Generator()] * 2
        )
