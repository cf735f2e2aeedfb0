"""The masked-diffusion loss against enumeration, and against the formula written out."""

from __future__ import annotations

import copy
import itertools
import math

import numpy as np
import pytest
import torch
from torch import Tensor

from dllm_audio import (
    CosineSchedule,
    LinearSchedule,
    MaskedDiffusionLoss,
    NoiseSchedule,
    PolynomialSchedule,
    condition,
)
from dllm_audio.errors import InvalidArgumentError, ShapeError
from small_parts import MASK, VOCAB, random_audio, same, small_llada

from .predictors import PlainPredictor

TOKENS, LENGTH = 3, 3  # a vocabulary of three, and the mask


class TableModel:
    """A predictor with one free distribution for every partly masked response there is."""

    batch_size, mask_token_id, eos_token_id, device = 1, TOKENS, None, torch.device("cpu")

    def __init__(self) -> None:
        states = (TOKENS + 1) ** LENGTH
        self.table = torch.randn(states, LENGTH, TOKENS + 1, dtype=torch.float64) * 2
        self.radix = (TOKENS + 1) ** torch.arange(LENGTH)

    def __call__(self, x_t: Tensor) -> Tensor:
        return self.table[(x_t * self.radix).sum(-1)]

    def log_probability(self, x_0: Tensor, known: tuple[int, ...], position: int) -> float:
        x_t = torch.full_like(x_0, self.mask_token_id)
        x_t[list(known)] = x_0[list(known)]
        return self(x_t[None]).log_softmax(-1)[0, position, x_0[position]].item()


def any_order_negative_log_likelihood(model: TableModel, x_0: Tensor) -> float:
    """Mean over all orders in which the tokens may be revealed, per token."""
    orders = list(itertools.permutations(range(LENGTH)))
    total = 0.0
    for order in orders:
        for place, position in enumerate(order):
            total -= model.log_probability(x_0, order[:place], position)
    return total / len(orders) / LENGTH


@pytest.mark.parametrize(
    "schedule",
    [LinearSchedule(), CosineSchedule(), PolynomialSchedule(2.0), PolynomialSchedule(0.7)],
    ids=repr,
)
def test_its_expectation_is_the_any_order_likelihood_for_every_schedule(
    schedule: NoiseSchedule,
) -> None:
    model, x_0 = TableModel(), torch.tensor([2, 0, 1])
    loss = MaskedDiffusionLoss(schedule)
    # Every mask, and times such that the masked share runs over Gauss-Legendre nodes: the
    # integrand is then a polynomial of degree LENGTH - 1, and the quadrature exact.
    nodes, weights = np.polynomial.legendre.leggauss(LENGTH)
    expectation = 0.0
    for node, weight in zip((nodes + 1) / 2, weights / 2, strict=True):
        masked = torch.tensor([node], dtype=torch.float64)
        t = schedule.inverse(1 - masked)
        per_time = 0.0
        for chosen in itertools.product([False, True], repeat=LENGTH):
            mask = torch.tensor([chosen])
            probability = node ** sum(chosen) * (1 - node) ** (LENGTH - sum(chosen))
            per_time += probability * loss(model, x_0[None], mask, t).loss.item()
        # dt = d(masked) / -alpha'(t)
        expectation += weight * per_time / -schedule.alpha_derivative(t).item()
    expected = any_order_negative_log_likelihood(model, x_0)
    assert expectation == pytest.approx(expected, rel=1e-10)


def plain_loss(logits: Tensor, x_0: Tensor, mask: Tensor, t: Tensor, real: Tensor) -> Tensor:
    """Section 8 of the DIFFA recipe, one token after another."""
    total = torch.zeros((), dtype=logits.dtype)
    for row, position in itertools.product(*map(range, x_0.shape)):
        if mask[row, position] and real[row, position]:
            log_probabilities = logits[row, position].log_softmax(-1)
            total = total - log_probabilities[x_0[row, position]] / t[row]
    return total / int(real.sum())


def spoken_batch(llada: object) -> tuple:
    """Two rows with prompts, audio and responses of different lengths."""
    real = torch.tensor([[True] * 6, [True] * 4 + [False] * 2])
    predictor = condition(
        llada,
        torch.randint(VOCAB - 2, (2, 4)),
        prompt_mask=torch.tensor([[False, True, True, True], [True] * 4]),
        response_mask=real,
        audio=random_audio([3, 2], junk=0.0),
        audio_start=torch.tensor([1, 2]),
    )
    x_0 = torch.randint(VOCAB - 2, (2, 6))
    mask = torch.tensor([[1, 0, 1, 1, 0, 0], [0, 1, 1, 0, 1, 1]]).bool()
    return predictor, x_0, mask, torch.tensor([0.4, 0.9]), real


@pytest.mark.parametrize("frozen_head", [False, True])
@pytest.mark.parametrize("chunk_rows", [1, 100])
def test_loss_and_gradients_are_those_of_the_formula(frozen_head: bool, chunk_rows: int) -> None:
    llada = small_llada()
    llada.ff_out.weight.requires_grad_(not frozen_head)
    plain = copy.deepcopy(llada)
    torch.manual_seed(7)
    predictor, x_0, mask, t, real = spoken_batch(llada)
    output = MaskedDiffusionLoss(chunk_rows=chunk_rows)(predictor, x_0, mask, t, real)
    torch.manual_seed(7)
    other = spoken_batch(plain)[0]
    x_t = x_0.masked_fill(mask & real, MASK)
    expected = plain_loss(other(x_t), x_0, mask, t, real)
    same(output.loss, expected)
    assert (output.num_masked.item(), output.num_tokens.item()) == (5, 10)
    output.loss.backward()
    expected.backward()
    for (name, actual), wanted in zip(llada.named_parameters(), plain.parameters(), strict=True):
        assert (
            (actual.grad is None) == (wanted.grad is None) == (name[:6] == "ff_out" and frozen_head)
        )
        if actual.grad is not None:
            same(actual.grad, wanted.grad)


def test_the_head_runs_on_masked_rows_only() -> None:
    llada = small_llada()
    predictor, x_0, mask, t, real = spoken_batch(llada)
    rows = []
    llada.ff_out.register_forward_hook(lambda _, inputs, __: rows.append(inputs[0].shape[0]))
    with torch.no_grad():
        MaskedDiffusionLoss()(predictor, x_0, mask, t, real)
    assert sum(rows) == 5


def test_the_response_is_the_predictors_unless_said_otherwise() -> None:
    predictor, x_0, mask, t, real = spoken_batch(small_llada())
    loss = MaskedDiffusionLoss()
    implied, said = loss(predictor, x_0, mask, t), loss(predictor, x_0, mask, t, real)
    assert torch.equal(implied.loss, said.loss)
    fewer = real & (torch.arange(6) < 3)
    assert loss(predictor, x_0, mask, t, fewer).num_tokens == 6


def test_accumulated_parts_are_one_large_batch() -> None:
    model = PlainPredictor(4, 5, 7)
    x_0, t = torch.randint(6, (4, 5)), torch.rand(4) * 0.9 + 0.1
    mask = torch.rand(4, 5) < 0.6
    real = torch.arange(5) < torch.tensor([5, 2, 4, 1])[:, None]
    loss = MaskedDiffusionLoss()
    whole = loss(model, x_0, mask, t, real).loss
    parts = [
        loss(model, x_0[i : i + 2], mask[i : i + 2], t[i : i + 2], real[i : i + 2], real.sum()).loss
        for i in (0, 2)
    ]
    same(sum(parts), whole)


def test_nothing_masked_is_a_loss_of_zero_with_gradients() -> None:
    model = PlainPredictor(1, 3, 5)
    output = MaskedDiffusionLoss()(
        model, torch.zeros(1, 3).long(), torch.zeros(1, 3).bool(), torch.tensor([0.5])
    )
    output.loss.backward()
    assert output.loss.item() == 0
    assert output.num_masked.item() == 0
    assert not model.output.grad.any()


def test_the_weight_is_that_of_the_schedule() -> None:
    model, x_0 = PlainPredictor(1, 2, 5), torch.zeros(1, 2).long()
    mask, t = torch.ones(1, 2).bool(), torch.tensor([0.3])
    linear = MaskedDiffusionLoss()(model, x_0, mask, t).loss
    cosine = MaskedDiffusionLoss(CosineSchedule())(model, x_0, mask, t).loss
    assert (cosine / linear).item() == pytest.approx(
        math.pi / 2 / math.tan(math.pi / 2 * 0.3) * 0.3, rel=1e-5
    )


X, M, T = torch.zeros(2, 3).long(), torch.ones(2, 3).bool(), torch.tensor([0.5, 0.5])


@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        ("x_0", (X[0], M, T)),
        ("mask", (X, M[:1], T)),
        ("mask", (X, M.long(), T)),
        ("t", (X, M, T[:1])),
        ("t", (X, M, torch.tensor([0.5, 0.0]))),
        ("t", (X, M, torch.tensor([0.5, 1.5]))),
        ("t", (X, M, torch.tensor([0.5, float("nan")]))),
        ("response_mask", (X, M, T, M[:, :2])),
        ("num_tokens", (X, M, T, torch.zeros(2, 3).bool())),
        ("num_tokens", (X, M, T, None, 0)),
    ],
)
def test_misuse_is_named(name: str, arguments: tuple) -> None:
    with pytest.raises((InvalidArgumentError, ShapeError)) as caught:
        MaskedDiffusionLoss()(PlainPredictor(2, 3, 5), *arguments)
    assert caught.value.argument == name
