"""What one cell of the decoding benchmark measures: a strategy, the plain loop, or the peer.

Each function decodes, checks what came out, and puts a record into the run's report.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import torch

from dllm_audio import LLaDA, condition
from dllm_audio.backbones import GraphedBackbone, pack_weights, unpack_weights

from .floor import Pass
from .peer import generate
from .plain import plain_decode
from .profiles import PROFILES, ProfiledPredictor, draw
from .report import Record
from .run import Run
from .strategies import CACHES, Case, sampler


def missing_for(mode: str, run: Run) -> str | None:
    """Why a mode cannot be measured in this run; None: it can."""
    if mode == "compiled" and not run.full:
        return "compiling takes longer than the smoke test may"
    if mode == "graphed" and run.device.type != "cuda":
        return "CUDA graphs need a CUDA device"
    if mode == "packed" and run.axes.mode != "packed":
        return "weights are packed on a CPU only"
    return None


def _backbone(run: Run, mode: str) -> Any:
    if mode == "packed":
        return run.packed_backbone
    if mode == "compiled":
        return torch.compile(run.backbone)
    if mode == "graphed":
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
    if case.layout == "exact":  # the first pass on a block also finishes the one before it
        first = Pass(case.batch, case.prompt + block, case.prompt + block, outputs)
        prefill = first.work(config, run.dtype).seconds(run.rates)
        return prefill + (blocks - 1) * windowed(2 * block) + (nfe - blocks) * step
    refresh = windowed(case.answer) if case.layout == "kept_prompt" else full
    return full + (blocks - 1) * refresh + (nfe - blocks) * step


def measure_plain(run: Run) -> Record:
    """The plain loop at one token a step."""
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
    return run.add(
        "decoding",
        f"plain b1 p{shape.prompt} r{shape.answer}",
        "one token a step",
        timing,
        settings | {"block": shape.block, "profile": None, "tokens": shape.answer},
        nfe=shape.answer,
        tokens_per_second=shape.answer / timing.median,
    )


def measure_case(run: Run, case: Case) -> Record:
    """One strategy of the library."""
    weights = run.packed_backbone if case.mode == "packed" else run.backbone
    with _causal_blocks(weights, case.block if case.layout == "exact" else None):
        return _measure_case(run, case, _backbone(run, case.mode))


@contextmanager
def _causal_blocks(backbone: LLaDA, length: int | None) -> Iterator[None]:
    """Attention in blocks of that length while it lasts, with the same weights."""
    backbone.config.causal_block_length = length
    try:
        yield
    finally:
        backbone.config.causal_block_length = None


def _measure_case(run: Run, case: Case, backbone: Any) -> Record:
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
    return run.add(
        "decoding",
        case.label,
        _group(case, run),
        timing,
        settings,
        nfe=output.nfe,
        tokens_per_second=tokens / timing.median,
        floor_seconds=floor_seconds(case, output.nfe, run),
    )


@torch.inference_mode()
def measure_step(run: Run, mode: str, batch: int) -> Record:
    """A cached pass over one block, without a sampler around it, many times over."""
    shape, times = run.shape, 20 if run.full else 2
    ids, audio, start = run.prompt(batch, shape.prompt)
    predictor = condition(_backbone(run, mode), ids, audio=audio, audio_start=start)
    x = torch.full((batch, shape.answer), shape.backbone.mask_token_id, device=run.device)
    window = torch.arange(shape.block, device=run.device)
    cache = predictor.new_cache(shape.answer)
    predictor(x, window, cache=cache)

    def steps() -> None:
        for _ in range(times):
            predictor(x, window, cache=cache, window=window)

    total = shape.prompt + shape.answer
    work = Pass(batch, shape.block, total, shape.block).work(shape.backbone, run.dtype)
    return run.add(
        "decoding",
        f"cached step/{mode} b{batch}",
        "cached step alone",
        run.measure(steps),
        {"strategy": "cached step", "batch": batch, "mode": mode},
        nfe=times,
        floor_seconds=times * work.seconds(run.rates),
        read_seconds=times * work.bytes / run.rates.bandwidth,
    )


def measure_peer(run: Run, batch: int, mode: str) -> Record:
    """The autoregressive peer: ``static``, ``packed`` or ``compiled``."""
    peer, shape = run.peer, run.shape
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
    strategy = f"autoregressive/{mode}"
    settings = {"strategy": strategy, "batch": batch, "prompt": shape.prompt}
    return run.add(
        "decoding",
        f"{strategy} b{batch}",
        "autoregressive peer",
        timing,
        settings | {"answer": shape.answer, "tokens": tokens, "profile": None},
        nfe=shape.answer,
        tokens_per_second=tokens / timing.median,
    )
