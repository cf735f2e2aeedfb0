"""Infilling and deliberation."""

from __future__ import annotations

import hypothesis.strategies as st
import pytest
import torch
from hypothesis import given, settings

from dllm_audio import CachedParallelSampler, Threshold
from dllm_audio.errors import InvalidArgumentError, ShapeError
from dllm_audio.samplers.starting import deliberate, infilling_start, remask, token_confidence

from .models import EOS, MASK, VOCAB, TablePredictor, mixed_batch, sure_table, tiny_llada


def test_a_text_with_gaps_becomes_a_start() -> None:
    rows = [[5, None, 7], [None], []]
    closed = infilling_start(rows, 4, mask_token_id=MASK, end_token_id=EOS)
    assert closed.tolist() == [[5, MASK, 7, EOS], [MASK, EOS, EOS, EOS], [EOS] * 4]
    opened = infilling_start(rows, 4, mask_token_id=MASK)
    assert opened.tolist() == [[5, MASK, 7, MASK], [MASK] * 4, [MASK] * 4]
    with pytest.raises(InvalidArgumentError, match=r"rows: expected at most gen_length \(2\)"):
        infilling_start(rows, 2, mask_token_id=MASK)


def test_infilling_keeps_the_words_and_fills_the_rest() -> None:
    predictor = mixed_batch(tiny_llada(), 0).together()
    start = infilling_start(
        [[5, None, 7], [None, None, 3], [1, 2]], 6, mask_token_id=MASK, end_token_id=EOS
    )
    output = CachedParallelSampler(6, 3, Threshold(0.6))(predictor, start=start)
    kept = start != MASK
    assert torch.equal(output.tokens[kept], start[kept])
    assert not (output.tokens == MASK).any()
    assert output.row_nfe[2] == 0


def test_the_least_confident_share_is_masked() -> None:
    tokens = torch.arange(10)[None].repeat(2, 1)
    confidence = torch.tensor([[0.9, 0.1, 0.8, 0.2, 0.7, 0.3, 0.6, 0.4, 0.5, 0.95]]).repeat(2, 1)
    confidence[1, 1] = torch.nan  # given: it must stay
    start = remask(tokens, confidence, 0.3, mask_token_id=MASK, lengths=torch.tensor([10, 6]))
    assert (start[0] == MASK).nonzero().flatten().tolist() == [1, 3, 5]
    # Five of six count; 0.3 of 5 is rounded up to 2.
    assert (start[1] == MASK).nonzero().flatten().tolist() == [3, 5]
    assert torch.equal(remask(tokens, confidence, 0.0, mask_token_id=MASK), tokens)
    every = remask(tokens, confidence, 1.0, mask_token_id=MASK)
    assert (every == MASK).sum(-1).tolist() == [10, 9]


@settings(max_examples=40)
@given(seed=st.integers(0, 2**31), fraction=st.floats(0, 1), length=st.integers(0, 9))
def test_no_kept_token_is_less_sure_than_a_masked_one(
    seed: int, fraction: float, length: int
) -> None:
    g = torch.Generator().manual_seed(seed)
    tokens = torch.randint(0, EOS, (1, 9), generator=g)
    confidence = torch.randint(0, 4, (1, 9), generator=g) / 4  # with ties
    start = remask(tokens, confidence, fraction, mask_token_id=MASK, lengths=torch.tensor([length]))
    masked = (start == MASK)[0]
    assert not masked[length:].any()
    assert fraction * length - 1e-6 <= int(masked.sum()) < fraction * length + 1
    sure = confidence[0, :length]
    if masked.any() and not masked[:length].all():
        assert sure[masked[:length]].max() <= sure[~masked[:length]].min()


@pytest.mark.parametrize("passes", [1, 2, 3, 9])
def test_confidence_of_a_text_is_the_probability_of_its_tokens(passes: int) -> None:
    predictor = mixed_batch(tiny_llada(1), 2).together()
    tokens = torch.randint(0, EOS, (3, 5))
    found = token_confidence(predictor, tokens, passes)
    for position in range(5):
        seen = tokens.clone()
        if passes > 1:
            seen[:, position % passes :: passes] = MASK
        probabilities = predictor(seen)[:, position].softmax(-1)
        expected = probabilities.gather(-1, tokens[:, position, None])[:, 0]
        torch.testing.assert_close(found[:, position], expected.float())


def test_deliberation_decodes_the_doubtful_tokens_again() -> None:
    # The first answer got position 1 wrong and was unsure of it; now the model knows better.
    first = sure_table([[0.9, 0.4, 0.8, 0.95]], [[1, 2, 3, EOS]])
    better = sure_table([[0.9, 0.9, 0.8, 0.95]], [[7, 8, 9, EOS]])
    sampler = CachedParallelSampler(4, 4, Threshold(0.3), cache=None, trace=True)
    hypothesis = sampler(TablePredictor(first, MASK, EOS))
    assert hypothesis.tokens.tolist() == [[1, 2, 3, EOS]]
    again = TablePredictor(better, MASK, EOS)
    output = deliberate(sampler, again, hypothesis, fraction=0.3)
    assert output.tokens.tolist() == [[1, 8, 3, EOS]]
    assert output.nfe == len(again.seen) == 1  # the trace told what was unsure

    untraced = CachedParallelSampler(4, 4, Threshold(0.3), cache=None)
    hypothesis = untraced(TablePredictor(first, MASK, EOS))
    # The judge finds 3 (probability 0.1) at position 2 as unlikely as it can be.
    judge = TablePredictor(sure_table([[0.9, 0.9, 0.99, 0.95]], [[1, 2, 9, EOS]]), MASK, EOS)
    output = deliberate(untraced, judge, hypothesis, fraction=0.3)
    assert output.tokens.tolist() == [[1, 2, 9, EOS]]
    assert output.nfe == len(judge.seen) == 2
    assert output.row_nfe.tolist() == [2]


def test_errors_name_the_argument() -> None:
    predictor = TablePredictor(torch.zeros(1, 4, VOCAB), MASK, EOS)
    tokens = torch.zeros(1, 4, dtype=torch.long)
    with pytest.raises(InvalidArgumentError, match=r"^fraction: "):
        remask(tokens, torch.zeros(1, 4), 1.5, mask_token_id=MASK)
    with pytest.raises(ShapeError, match=r"^confidence: "):
        remask(tokens, torch.zeros(1, 3), 0.5, mask_token_id=MASK)
    with pytest.raises(ShapeError, match=r"^tokens: "):
        token_confidence(predictor, torch.zeros(2, 4, dtype=torch.long))
    with pytest.raises(InvalidArgumentError, match=r"^passes: "):
        token_confidence(predictor, tokens, 0)
