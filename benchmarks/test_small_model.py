"""The small model that ships with the package: real confidences, real answers."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from dllm_audio import AudioDiffusionLM, CachedParallelSampler, Threshold
from dllm_audio.toy import ToyDataset, small_model

from .run import Run
from .strategies import RULES

LENGTH, BLOCK, SEED = 16, 16, 11
CACHES = (None, "prefix", "dual")
BATCHES = (1, 8)


@pytest.fixture(scope="module")
def model(run: Run) -> AudioDiffusionLM:
    return small_model().to(run.device)


@pytest.fixture(scope="module")
def questions(run: Run) -> list[Any]:
    return list(ToyDataset("heldout", 48 if run.full else 4, SEED))


def _sampler(rule: str, cache: str | None) -> CachedParallelSampler:
    make_rule = RULES[rule]
    return CachedParallelSampler(
        gen_length=LENGTH,
        block_length=BLOCK,
        commit=make_rule() if make_rule else None,
        cache=cache,
        steps=None if make_rule else LENGTH,
    )


@pytest.mark.parametrize("rule", list(RULES))
@pytest.mark.parametrize("cache", CACHES, ids=str)
def test_answers(
    run: Run, model: AudioDiffusionLM, questions: list[Any], rule: str, cache: str | None
) -> None:
    """Accuracy, passes and time of every rule with every cache, in batches of 8."""
    sampler = _sampler(rule, cache)
    batches = [questions[i : i + 8] for i in range(0, len(questions), 8)]
    predictors = [
        model.prepare(
            prompts=[q.prompt for q in batch],
            audio=[torch.from_numpy(q.waveform) for q in batch],
        )
        for batch in batches
    ]
    texts: list[str] = []
    passes: list[float] = []
    per_forward: list[float] = []

    def answer() -> None:
        texts.clear()
        passes.clear()
        per_forward.clear()
        for predictor in predictors:
            output = sampler(predictor)
            texts.extend(model.decode(output))
            passes.append(output.nfe)
            per_forward.append(output.tokens_per_forward)

    timing = run.measure(answer)
    assert max(passes) <= LENGTH
    right = sum(text == q.target for text, q in zip(texts, questions, strict=True))
    tokens = LENGTH * len(questions)
    run.add(
        "small",
        f"{cache or 'no cache'}/{rule}, batch 8",
        "held-out questions",
        timing,
        {"cache": cache, "rule": rule, "tokens": tokens, "questions": len(questions)},
        nfe=sum(passes),
        tokens_per_second=tokens / timing.median,
        accuracy=right / len(questions),
        tokens_per_forward=sum(per_forward) / len(per_forward),
    )


@pytest.mark.parametrize("batch", BATCHES)
def test_whole_path(run: Run, model: AudioDiffusionLM, questions: list[Any], batch: int) -> None:
    """From waveform to text with the model's own sampler."""
    chosen = questions[:batch]
    audio = [torch.from_numpy(q.waveform) for q in chosen]
    prompts = [q.prompt for q in chosen]
    seconds = sum(len(q.waveform) for q in chosen) / 16000
    answers: list[list[str]] = []
    timing = run.measure(lambda: answers.append(model.generate(audio=audio, prompts=prompts).texts))
    assert len(answers[-1]) == len(chosen)
    if run.device.type == "cpu":  # elsewhere near ties may fall differently
        pairs = zip(audio, prompts, strict=True)
        alone = [model.generate(audio=[clip], prompts=[asked]).texts for clip, asked in pairs]
        assert answers[-1] == [text for (text,) in alone]
    run.add(
        "small",
        f"waveform to text, batch {batch}",
        "whole path",
        timing,
        {"batch": batch, "sampler": Threshold.__name__},
        real_time_factor=timing.median / seconds,
    )
