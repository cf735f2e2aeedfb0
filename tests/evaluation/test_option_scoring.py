"""Scoring of given answers, against enumeration and against single forward passes."""

from __future__ import annotations

import itertools
import math

import pytest
import torch
from torch import Tensor

from dllm_audio import LLaDA, LLaDAConfig, condition
from dllm_audio.errors import InvalidArgumentError
from dllm_audio.evaluation.option_scoring import label_log_probabilities, option_elbos

MASK, EOS, VOCAB = 19, 18, 20
PROMPTS = torch.tensor([[3, 1, 4], [1, 5, 9]])


@pytest.fixture
def llada() -> LLaDA:
    torch.manual_seed(0)
    config = LLaDAConfig(
        d_model=16, n_layers=1, n_heads=2, mlp_hidden_size=24, vocab_size=VOCAB,
        mask_token_id=MASK, eos_token_id=EOS, init_std=0.5,
    )  # fmt: skip
    return LLaDA(config).double().eval().requires_grad_(False)


def test_labels_are_scored_in_one_pass(llada: LLaDA) -> None:
    predictor = condition(llada, PROMPTS)
    calls: list[Tensor] = []

    class Counting:
        batch_size, mask_token_id, eos_token_id = 2, MASK, EOS
        device = predictor.device

        def __call__(self, x_t: Tensor) -> Tensor:
            calls.append(x_t)
            return predictor(x_t)

    labels = [[2], [3], [4, 5]]
    scores = label_log_probabilities(Counting(), labels, prefix=[7], response_length=6)
    assert len(calls) == 1
    assert calls[0].tolist() == [[7, MASK, MASK, MASK, MASK, MASK]] * 2
    log_probs = predictor(calls[0]).log_softmax(-1)
    for option, label in enumerate(labels):
        expected = sum(log_probs[:, 1 + i, token] for i, token in enumerate(label))
        torch.testing.assert_close(scores[:, option], expected.float())


def exact_elbo(predictor: object, x_0: list[int]) -> float:
    """Mean over k = 1..n and over all subsets of size k of the log-likelihood, times n / k."""
    n, total = len(x_0), 0.0
    for k in range(1, n + 1):
        subsets = list(itertools.combinations(range(n), k))
        for subset in subsets:
            x_t = torch.tensor([x_0])
            x_t[0, list(subset)] = MASK
            log_probs = predictor(x_t)[0].log_softmax(-1)  # type: ignore[operator]
            seen = sum(float(log_probs[p, x_0[p]]) for p in subset)
            total += seen * n / k / len(subsets) / n
    return total


def test_options_are_scored_by_their_elbo(llada: LLaDA) -> None:
    options = [[[2, 3, EOS], [4, EOS]], [[5]]]

    def conditioned(mask: Tensor) -> object:
        return condition(llada, PROMPTS, response_mask=mask)

    torch.manual_seed(0)
    scores = option_elbos(conditioned, options, num_samples=300)
    assert scores[1, 1] == -math.inf
    for row, given in enumerate(options):
        for number, ids in enumerate(given):
            exact = exact_elbo(condition(llada, PROMPTS[row : row + 1]), ids)
            assert float(scores[row, number]) == pytest.approx(exact, abs=0.6)
    torch.manual_seed(0)
    mean = option_elbos(conditioned, options, num_samples=300, per_token=True)
    torch.testing.assert_close(mean[0], scores[0] / torch.tensor([3.0, 2.0]))


def test_a_single_token_option_is_exact(llada: LLaDA) -> None:
    def conditioned(mask: Tensor) -> object:
        return condition(llada, PROMPTS, response_mask=mask)

    elbos = option_elbos(conditioned, [[[2], [3]]] * 2, num_samples=1)
    labels = label_log_probabilities(condition(llada, PROMPTS), [[2], [3]])
    torch.testing.assert_close(elbos, labels)


def test_errors_name_the_argument(llada: LLaDA) -> None:
    predictor = condition(llada, PROMPTS)
    with pytest.raises(InvalidArgumentError, match=r"^labels: "):
        label_log_probabilities(predictor, [[1], []])
    with pytest.raises(InvalidArgumentError, match=r"^response_length: expected at least 3"):
        label_log_probabilities(predictor, [[1, 2]], prefix=[3], response_length=2)
    with pytest.raises(InvalidArgumentError, match=r"^options: "):
        option_elbos(lambda mask: predictor, [[[]], [[1]]])
