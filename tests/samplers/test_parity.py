"""Parity with the original implementations, alone and inside padded batches of mixed lengths."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from dllm_audio import (
    BlockSampler,
    CachedParallelSampler,
    ClassifierFreeGuidance,
    Factor,
    LowConfidenceSampler,
    Threshold,
)
from dllm_audio.samplers import Sampler
from parity import load_golden, load_golden_json

from .models import EOS, MASK, Batch, golden_llada, mixed_batch, tiny_llada

TEXT = load_golden("text_sampling")
TEXT_CASES = load_golden_json("text_sampling")["cases"]
AUDIO = load_golden("diffa_io")
AUDIO_CASES = load_golden_json("diffa_config")
CACHES = {
    "generate": None,
    "generate_with_prefix_cache": "prefix",
    "generate_with_dual_cache": "dual",
}


def names(cases: list[dict]) -> list[str]:
    return [case["name"] for case in cases]


def text_sampler(case: dict) -> Sampler:
    threshold = case.get("threshold")
    return CachedParallelSampler(
        case["gen_length"],
        case["block_length"],
        commit=None if threshold is None else Threshold(threshold),
        steps=case["steps"] if threshold is None else None,
        cache=CACHES[case["fn"]],
        eos_stop=False,
    )


def prompt_of(case: dict) -> list[int]:
    return TEXT[case["name"] + ".prompt"][0].tolist()


def answer_of(case: dict) -> Tensor:
    return TEXT[case["name"] + ".tokens"][0, len(prompt_of(case)) :]


def others(own: list[int]) -> list[list[int]]:
    """Neighbors for a batch: a longer and a shorter prompt than most."""
    found = sorted({tuple(prompt_of(case)) for case in TEXT_CASES}, key=len)
    return [list(found[-1]), own, [*found[0][:3]]]


@pytest.mark.parametrize("case", TEXT_CASES, ids=names(TEXT_CASES))
def test_text_decoding_gives_the_original_tokens(case: dict) -> None:
    batch = Batch(golden_llada(), others(prompt_of(case)))
    sampler = text_sampler(case)
    alone = sampler(batch.alone(1))
    assert torch.equal(alone.tokens[0], answer_of(case))
    assert alone.nfe <= case["nfe"]
    together = sampler(batch.together())
    assert torch.equal(together.tokens[1], answer_of(case))
    assert together.row_nfe[1] <= case["nfe"]


def speech_batch() -> Batch:
    """The parity prompt with its audio, between rows with less audio and with none."""
    prompt, speech = AUDIO["gen_prompt"][0].tolist(), AUDIO["gen_speech"][0]
    prompts = [prompt[3:], prompt, prompt[:5]]
    starts = [2, AUDIO_CASES["audio_start"], 0]
    return Batch(golden_llada(), prompts, [speech[:-5], speech, None], starts)


def audio_answer(name: str) -> Tensor:
    return AUDIO[name][0, AUDIO["gen_prompt"].shape[1] :]


@pytest.mark.parametrize("case", AUDIO_CASES["generate"], ids=names(AUDIO_CASES["generate"]))
def test_low_confidence_with_audio_gives_the_original_tokens(case: dict) -> None:
    guidance = ClassifierFreeGuidance(case["cfg_scale"], "text") if case["cfg_scale"] else None
    sampler: Any = BlockSampler(
        case["steps"], case["gen_length"], case["block_length"], guidance=guidance
    )
    batch, expected = speech_batch(), audio_answer("gen." + case["name"])
    alone = sampler(batch.alone(1))
    assert torch.equal(alone.tokens[0], expected)
    assert alone.nfe <= case["steps"]
    assert torch.equal(sampler(batch.together()).tokens[1], expected)
    if case["block_length"] == case["gen_length"]:
        sampler = LowConfidenceSampler(case["steps"], case["gen_length"], guidance=guidance)
        assert torch.equal(sampler(batch.alone(1)).tokens[0], expected)


PARALLEL = [*AUDIO_CASES["parallel"], *AUDIO_CASES["parallel_eos"]]


@pytest.mark.parametrize("case", PARALLEL, ids=names(PARALLEL))
def test_parallel_decoding_with_audio_gives_the_original_tokens(case: dict) -> None:
    rule = Threshold(case["threshold"]) if case["factor"] is None else Factor(case["factor"])
    sampler = CachedParallelSampler(
        case["gen_length"], case["block_length"], rule, cache=None, eos_stop=case["eos_stop"]
    )
    batch, expected = speech_batch(), audio_answer("par." + case["name"])
    batch.backbone = golden_llada(eos_head=case["name"].startswith("eos."))
    eos = batch.backbone.config.eos_token_id
    for output, row in ((sampler(batch.alone(1)), 0), (sampler(batch.together()), 1)):
        # The original leaves later blocks masked after its stop: up to the first EOS counts.
        end = int(output.lengths[row]) + 1
        assert torch.equal(output.tokens[row, :end], expected[:end])
        assert (eos in output.tokens[row]) == (eos in expected)
        assert output.row_nfe[row] <= case["nfe"]


def published_end_exclusion(
    predict: Any, length: int, block: int, steps: int, ends: list[int], mask: int
) -> list[int]:
    """LLaDA's ``generate`` with ``confidence_eos_eot_inf``, greedy, as its source describes it.

    Tokens are chosen first; then the logits of both end ids become minus infinity, and the softmax
    of what is left says how sure each choice is: 0 for an end token.
    """
    x = torch.full((length,), mask)
    for start in range(0, length, block):
        inside = torch.zeros(length, dtype=torch.bool)
        inside[start : start + block] = True
        masked, in_block = int((x[inside] == mask).sum()), steps * block // length
        for step in range(in_block):
            logits = predict(x[None])[0].double()
            choosable = logits.clone()
            choosable[:, mask] = -torch.inf
            chosen = choosable.argmax(-1)
            logits[:, ends] = -torch.inf
            sure = logits.softmax(-1).gather(-1, chosen[:, None])[:, 0]
            sure = torch.where(inside & (x == mask), sure, -torch.inf)
            quota = masked // in_block + (step < masked % in_block)
            taken = sure.sort(descending=True, stable=True).indices[:quota]
            x[taken] = chosen[taken]
    return x.tolist()


@pytest.mark.parametrize("block", [4, 12])
def test_excluded_end_tokens_decode_as_published(block: int) -> None:
    """Both ends leave the softmax: with ``delay`` alone other tokens are less sure, in part."""
    model, ends = tiny_llada(0), [EOS, 3]
    differ = 0
    for seed in range(20):
        predictor = mixed_batch(model, seed, rows=1).together()
        with_ends = predictor.head

        def head(hidden: Tensor, head: Any = with_ends) -> Tensor:  # ends are likely everywhere
            lifted = torch.zeros(model.config.vocab_size, dtype=hidden.dtype)
            lifted[ends] = 2.0
            return head(hidden) + lifted

        predictor.head = head  # type: ignore[method-assign]
        outputs = {
            eos: BlockSampler(6, 12, block, eos=eos, end_token_ids=tuple(ends))(predictor)
            for eos in ("exclude", "delay")
        }
        expected = published_end_exclusion(predictor, 12, block, 6, ends, MASK)
        assert outputs["exclude"].tokens[0].tolist() == expected
        differ += outputs["delay"].tokens[0].tolist() != expected
    assert differ > 0
