"""Decoding strategies side by side with the plain loop and with an autoregressive model."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import pytest
import torch

from dllm_audio import condition
from dllm_audio.backbones import GraphedBackbone, pack_weights, unpack_weights

from .floor import Pass
from .peer import build_peer, generate
from .plain import plain_decode
from .profiles import PROFILES, ProfiledPredictor, draw
from .run import Run
from .strategies import CACHES, Case, sampler


class CompiledBackbone:
    """A backbone whose forward pass is compiled; weights are shared with the original."""

    def __init__(self, backbone: Any) -> None:
        self.config = backbone.config
        self.embed, self.head = backbone.embed, backbone.head
        self.new_cache = backbone.new_cache
        self.hidden = torch.compile(backbone.hidden)


def _backbone(run: Run, mode: str) -> Any:
    if mode == "packed":
        return run.packed_backbone
    if mode == "compiled":
        if not run.full:
            pytest.skip("compiling takes longer than the smoke test may")
        return CompiledBackbone(run.backbone)
    if mode == "graphed":
        if run.device.type != "cuda":
            pytest.skip("CUDA graphs need a CUDA device")
        return GraphedBackbone(run.backbone)
    return run.backbone


def _group(case: Case, run: Run) -> str:
    if case.profile is None:
        return "one token a step"
    if (case.prompt, case.answer) != (run.shape.prompt, run.shape.answer):
        return "lengths"
    return "batch" if case.batch > 1 else f"rules, {case.profile}"


def floor_seconds(case: Case, nfe: int, run: Run) -> float:
    """Floor of a whole decoding: full passes at block starts, windowed passes in between."""
    config, total = run.shape.backbone, case.prompt + case.answer
    block = case.answer if case.layout == "low_confidence" else case.block
    blocks = math.ceil(case.answer / block)
    outputs = (block + 1) // 2  # masked positions only: half of the block on average
    full = Pass(case.batch, total, total, outputs).work(config, run.dtype).seconds(run.rates)
    if case.layout not in CACHES:
        return nfe * full

    def windowed(window: int) -> float:
        work = Pass(case.batch, window, total, outputs).work(config, run.dtype)
        return work.seconds(run.rates)

    step = windowed((case.answer + block) // 2 if case.layout == "prefix" else block)
    refresh = windowed(case.answer) if case.layout == "kept_prompt" else full
    return full + (blocks - 1) * refresh + (nfe - blocks) * step


def test_plain(run: Run) -> None:
    if not run.wants("plain"):
        pytest.skip("not among --strategies")
    shape = run.shape
    ids, audio, start = run.prompt(1, shape.prompt)

    def decode(steps: int) -> torch.Tensor:
        return plain_decode(
            run.backbone,
            ids,
            audio.embeds,
            start,
            steps=steps,
            gen_length=shape.answer,
            block_length=shape.block,
        )

    decoded: list[torch.Tensor] = []
    timing = run.measure(lambda: decoded.append(decode(shape.answer)), warmup=lambda: decode(2))
    assert decoded[-1].shape == (1, shape.answer)
    assert not (decoded[-1] == shape.backbone.mask_token_id).any()
    settings = {"strategy": "plain", "batch": 1, "prompt": shape.prompt, "answer": shape.answer}
    run.add(
        "decoding",
        f"plain b1 p{shape.prompt} r{shape.answer}",
        "one token a step",
        timing,
        settings | {"block": shape.block, "profile": None, "tokens": shape.answer},
        nfe=shape.answer,
        tokens_per_second=shape.answer / timing.median,
    )


@pytest.mark.filterwarnings("ignore")  # torch.compile warns about itself
def test_strategy(run: Run, case: Case) -> None:
    backbone = _backbone(run, case.mode)
    ids, audio, start = run.prompt(case.batch, case.prompt)
    decode = sampler(case)
    profile = PROFILES[case.profile] if case.profile else None
    drawn = None
    if profile is not None:
        drawn = draw(profile, run.shape.backbone, case.batch, case.answer, run.device)
    outputs = []

    def once() -> None:
        predictor: Any = condition(backbone, ids, audio=audio, audio_start=start)
        if drawn is not None:
            predictor = ProfiledPredictor(predictor, *drawn)
        outputs.append(decode(predictor))

    def two_steps() -> None:
        short = replace(case, answer=2, block=2)
        sampler(short)(condition(backbone, ids, audio=audio, audio_start=start))

    # Without a cache all passes are alike, and many; with one, every shape should be warm.
    alike = case.layout not in CACHES and drawn is None
    timing = run.measure(once, warmup=two_steps if alike else None)
    output = outputs[-1]
    tokens = case.batch * case.answer
    assert output.tokens.shape == (case.batch, case.answer)
    assert not (output.tokens == run.shape.backbone.mask_token_id).any()
    if drawn is not None:  # the profile, not the random weights, decided what was committed
        assert torch.equal(output.tokens, drawn[0])
        assert output.nfe <= case.answer
    else:
        assert output.nfe == case.answer
    settings = {
        "strategy": case.strategy,
        "batch": case.batch,
        "prompt": case.prompt,
        "answer": case.answer,
        "block": case.block,
        "profile": case.profile,
        "mode": case.mode,
        "tokens": tokens,
    }
    run.add(
        "decoding",
        case.label,
        _group(case, run),
        timing,
        settings,
        nfe=output.nfe,
        tokens_per_second=tokens / timing.median,
        floor_seconds=floor_seconds(case, output.nfe, run),
    )


@pytest.fixture(scope="module")
def peer(run: Run) -> Any:
    if not run.wants("autoregressive"):
        pytest.skip("not among --strategies")
    return build_peer(run.shape.backbone, run.device, run.dtype)


@pytest.mark.filterwarnings("ignore")  # torch.compile warns about itself
@pytest.mark.parametrize("mode", ["static", "packed", "compiled"])
@pytest.mark.parametrize("batch", [1, 8, 32])
def test_autoregressive(run: Run, peer: Any, batch: int, mode: str) -> None:
    if mode == "compiled" and not run.full:
        pytest.skip("compiling takes longer than the smoke test may")
    if mode == "compiled" and batch > 1 and run.device.type == "cpu":
        pytest.skip("compiling helps small batches; on a CPU at batch 1 only")
    if mode == "packed" and run.axes.mode != "packed":
        pytest.skip("weights are packed on a CPU only")
    if batch not in run.axes.batches:
        pytest.skip("not among the batches")
    shape = run.shape
    generator = torch.Generator().manual_seed(1)
    ids = torch.randint(shape.backbone.vocab_size, (batch, shape.prompt), generator=generator)
    ids = ids.to(run.device)

    generated: list[torch.Tensor] = []

    def once() -> None:
        generated.append(generate(peer, ids, shape.answer, compiled=mode == "compiled"))

    tokens = batch * shape.answer
    if mode == "packed":
        pack_weights(peer)
    try:
        timing = run.measure(once)
    finally:
        unpack_weights(peer)
    assert generated[-1].shape == (batch, shape.prompt + shape.answer)
    run.add(
        "decoding",
        f"autoregressive/{mode} b{batch}",
        "autoregressive peer",
        timing,
        {"strategy": f"autoregressive/{mode}", "batch": batch, "prompt": shape.prompt,
         "answer": shape.answer, "tokens": tokens, "profile": None},
        nfe=shape.answer,
        tokens_per_second=tokens / timing.median,
    )  # fmt: skip
