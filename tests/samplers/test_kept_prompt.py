"""Caches that compute the prompt once: against a loop written out, and the laws of batches."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from dllm_audio import CachedParallelSampler, ClassifierFreeGuidance, Factor, Threshold
from dllm_audio.errors import InvalidArgumentError

from .models import EOS, MASK, mixed_batch, tiny_llada

LENGTH, BLOCK = 10, 4


def sampler(**options: Any) -> CachedParallelSampler:
    settings: dict[str, Any] = {"commit": Threshold(0.6), "refresh": "response", **options}
    return CachedParallelSampler(LENGTH, BLOCK, **settings)


def written_out(predictor: Any, tau: float) -> tuple[Tensor, int]:
    """One row: a full pass, then passes over the whole response against the first prompt."""
    x, cache, passes = torch.full((1, LENGTH), MASK), predictor.new_cache(LENGTH), 0
    for start in range(0, LENGTH, BLOCK):
        end = min(start + BLOCK, LENGTH)
        while (x[0, start:end] == MASK).any():
            window = torch.arange(LENGTH) if passes else None
            logits = predictor(x, cache=cache, window=window)[0]
            passes += 1
            probabilities = logits.softmax(-1)
            probabilities[:, MASK] = 0
            sure, tokens = probabilities.max(-1)
            sure[x[0] != MASK] = -1
            sure[:start], sure[end:] = -1, -1
            commit = sure >= tau
            commit[sure.argmax()] = True
            x[0] = torch.where(commit, tokens, x[0])
    return x, passes


@pytest.mark.parametrize("cache", ["prefix", "dual"])
@pytest.mark.parametrize("seed", range(4))
def test_refreshed_at_every_step_it_is_the_loop_written_out(seed: int, cache: str) -> None:
    decode = sampler(cache=cache, refresh_interval=1, eos_stop=False)
    predictor = mixed_batch(tiny_llada(), seed).alone(0)
    tokens, passes = written_out(predictor, 0.6)
    output = decode(predictor)
    assert torch.equal(output.tokens, tokens)
    assert output.nfe == passes


@pytest.mark.parametrize("eos_stop", [False, True])
@pytest.mark.parametrize("cache", ["prefix", "dual"])
@pytest.mark.parametrize("seed", range(6))
def test_a_row_does_not_depend_on_its_batch(seed: int, cache: str, eos_stop: bool) -> None:
    batch = mixed_batch(tiny_llada(), seed)
    start = torch.full((3, LENGTH), MASK)
    start[seed % 3, :BLOCK] = 5  # one row has nothing to do in the first block
    start[(seed + 1) % 3, BLOCK : 2 * BLOCK] = torch.tensor([5, 6, EOS, 7])  # one may end early
    decode = sampler(cache=cache, eos_stop=eos_stop, commit=Factor(1.0))
    together = decode(batch.together(), start=start)
    assert not (together.tokens == MASK).any()
    for row in range(3):
        alone = decode(batch.alone(row), start=start[row : row + 1])
        assert torch.equal(together.tokens[row], alone.tokens[0])
        assert together.row_nfe[row] == alone.nfe


@pytest.mark.parametrize("cache", ["prefix", "dual"])
def test_in_one_block_it_changes_nothing(cache: str) -> None:
    predictor = mixed_batch(tiny_llada(), 3).together()
    once, again = (
        CachedParallelSampler(LENGTH, LENGTH, Threshold(0.6), cache, refresh=refresh)(predictor)
        for refresh in ("response", "sequence")
    )
    assert torch.equal(once.tokens, again.tokens)
    assert once.nfe == again.nfe


def test_the_prompt_is_computed_once() -> None:
    predictor = mixed_batch(tiny_llada(), 0).together()
    widths: list[int] = []
    hidden = predictor.backbone.hidden

    def counted(embeds: Tensor, **options: Any) -> Tensor:
        widths.append(embeds.shape[1])
        return hidden(embeds, **options)

    predictor.backbone.hidden = counted  # type: ignore[method-assign]
    sampler(cache="dual", eos_stop=False)(predictor)
    full = predictor.prompt_length + LENGTH
    assert widths[0] == full
    assert full not in widths[1:]
    assert widths.count(LENGTH) == 2  # the refreshes of the second and third block


def test_guidance_keeps_both_prompts() -> None:
    batch = mixed_batch(tiny_llada(), 2)
    decode = sampler(cache="dual", guidance=ClassifierFreeGuidance(0.7, "text"))
    together = decode(batch.together())
    for row in range(3):
        assert torch.equal(together.tokens[row], decode(batch.alone(row)).tokens[0])


@pytest.mark.parametrize("options", [{"refresh": "prompt"}, {"cache": None}])
def test_bad_settings_are_named(options: dict[str, Any]) -> None:
    with pytest.raises(InvalidArgumentError, match="refresh"):
        sampler(**options)
