"""The parts of the pipeline one by one, each fast path beside the plain way of doing it."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F
from transformers import WhisperConfig

from dllm_audio import (
    AcousticAdapter,
    AudioEmbeddings,
    CachedParallelSampler,
    LLaDA,
    LogMel,
    MaskedDiffusionLoss,
    SemanticAdapter,
    WhisperEncoder,
    condition,
    mask_tokens,
)
from dllm_audio.adapters.acoustic import evenly_spaced_taps

from .canned import CannedPredictor
from .floor import Pass, layer_weights
from .loading import LOADING_LIMIT, write_checkpoint
from .run import Run

SECONDS = 30
SAMPLING_RATE = 16000


def _compare(
    run: Run, group: str, plain: tuple[str, Callable], fast: tuple[str, Callable], **settings: Any
) -> None:
    """Time two ways of computing the same thing; the callers check that it is the same."""
    for name, call in (plain, fast):
        run.add("parts", name, group, run.measure(call), settings)


@pytest.fixture(scope="module")
def encoder(run: Run) -> WhisperEncoder:
    shape = run.shape.encoder
    config = WhisperConfig(
        d_model=shape.width,
        encoder_layers=shape.layers,
        encoder_attention_heads=shape.heads,
        encoder_ffn_dim=4 * shape.width,
        num_mel_bins=shape.n_mels,
        max_source_positions=shape.frames,
    )
    torch.manual_seed(0)
    return WhisperEncoder(config).to(run.device, run.dtype)


@pytest.fixture(scope="module")
def hidden_states(run: Run) -> list[Tensor]:
    shape = run.shape.encoder
    return [
        torch.randn(1, shape.frames, shape.width, device=run.device, dtype=run.dtype)
        for _ in range(shape.layers + 1)
    ]


@pytest.fixture(scope="module")
def conditioned(run: Run) -> Any:
    ids, audio, start = run.prompt(1, run.shape.prompt)
    return condition(run.backbone, ids, audio=audio, audio_start=start)


@torch.inference_mode()
def test_log_mel(run: Run) -> None:
    log_mel = LogMel(n_mels=run.shape.encoder.n_mels)
    seconds = SECONDS if run.full else 2
    waveform = 0.1 * torch.randn(seconds * SAMPLING_RATE, device=run.device)
    features, _ = log_mel([waveform])
    assert torch.isfinite(features).all()
    for batch in (1, 8):
        timing = run.measure(lambda batch=batch: log_mel([waveform] * batch))
        run.add("parts", f"log-mel, {batch} x {seconds} s", "audio", timing)


@torch.inference_mode()
def test_encoder(run: Run, encoder: WhisperEncoder) -> None:
    shape = run.shape.encoder
    frames = encoder.window_frames
    features = torch.randn(1, shape.n_mels, frames, device=run.device, dtype=run.dtype)
    lengths = torch.tensor([frames], device=run.device)
    assert encoder(features, lengths).last_hidden_state.shape == (1, shape.frames, shape.width)
    timing = run.measure(lambda: encoder(features, lengths))
    run.add("parts", "encoder, 1 window", "audio", timing)


@torch.inference_mode()
def test_semantic_adapter(run: Run, hidden_states: list[Tensor]) -> None:
    adapter = SemanticAdapter(run.shape.encoder.width, run.shape.backbone.d_model)
    adapter = adapter.to(run.device, run.dtype).eval()
    assert adapter(hidden_states[-1]).shape[-1] == run.shape.backbone.d_model
    timing = run.measure(lambda: adapter(hidden_states[-1]))
    run.add("parts", "semantic adapter, 1 window", "audio", timing)


@torch.inference_mode()
def test_qformer_batched_against_looped(run: Run, hidden_states: list[Tensor]) -> None:
    shape = run.shape.encoder
    taps = evenly_spaced_taps(shape.layers, min(4, shape.layers))
    adapter = AcousticAdapter(shape.width, run.shape.backbone.d_model, taps, shape.heads)
    adapter = adapter.to(run.device, run.dtype).eval()

    def looped() -> Tensor:
        per_layer = []
        for queries, tap in zip(adapter.queries, adapter.taps, strict=True):
            x = queries[None]
            for layer in adapter.layers:
                x = layer(x, hidden_states[tap])
            per_layer.append(x)
        mixed = torch.einsum(
            "tbqe,qt->bqe", torch.stack(per_layer), adapter.layer_weights.softmax(-1)
        )
        return adapter.projection(adapter.norm(mixed))

    tolerance = 1e-4 if run.dtype is torch.float32 else 5e-2
    torch.testing.assert_close(adapter(hidden_states), looped(), atol=tolerance, rtol=tolerance)
    _compare(
        run,
        "Q-Former over the tapped layers",
        ("Q-Former, looped", looped),
        ("Q-Former, batched", lambda: adapter(hidden_states)),
        taps=len(taps),
    )


@torch.inference_mode()
def test_splice(run: Run) -> None:
    ids, audio, start = run.prompt(1, run.shape.prompt)

    def splice() -> Any:
        return condition(run.backbone, ids, audio=audio, audio_start=start)

    embeds = splice().prompt.embeds
    assert embeds.shape[1] == run.shape.prompt
    assert torch.equal(embeds[:, start : start + audio.embeds.shape[1]], audio.embeds)
    timing = run.measure(splice)
    run.add("parts", "embed and splice the prompt", "conditioning", timing)


@torch.inference_mode()
def test_head_on_some_rows_against_all(run: Run, conditioned: Any) -> None:
    shape = run.shape
    total = shape.prompt + shape.answer
    hidden = torch.randn(1, total, shape.backbone.d_model, device=run.device, dtype=run.dtype)
    block = hidden[:, : shape.block].contiguous()
    tolerance = 1e-4 if run.dtype is torch.float32 else 5e-2
    torch.testing.assert_close(
        run.backbone.head(block), run.backbone.head(hidden)[:, : shape.block],
        atol=tolerance, rtol=tolerance,
    )  # fmt: skip
    _compare(
        run,
        "output head",
        (f"head, all {total} rows", lambda: run.backbone.head(hidden)),
        (f"head, {shape.block} rows", lambda: run.backbone.head(block)),
    )


@torch.inference_mode()
def test_forward_passes(run: Run, conditioned: Any) -> None:
    """The two passes that decoding is made of, without any sampler around them."""
    shape, config = run.shape, run.shape.backbone
    total = shape.prompt + shape.answer
    x = torch.full((1, shape.answer), config.mask_token_id, device=run.device)
    window = torch.arange(shape.block, device=run.device)
    cache = conditioned.new_cache(shape.answer)
    passes = {
        "full pass": (Pass(1, total, total, shape.block), {"cache": cache}),
        "block pass": (
            Pass(1, shape.block, total, shape.block),
            {"cache": cache, "window": window},
        ),
    }
    whole, block = (conditioned(x, window, **arguments) for _, arguments in passes.values())
    tolerance = 1e-4 if run.dtype is torch.float32 else 5e-2
    # Nothing changed in between, so the cache is exact.
    torch.testing.assert_close(block, whole, atol=tolerance, rtol=tolerance)
    for name, (work, arguments) in passes.items():
        timing = run.measure(lambda arguments=arguments: conditioned(x, window, **arguments))
        floor = work.work(config, run.dtype).seconds(run.rates)
        settings = {"queries": work.queries, "keys": work.keys}
        run.add("parts", name, "forward pass", timing, settings, nfe=1, floor_seconds=floor)


@torch.inference_mode()
def test_matrix_products_of_a_block_pass(run: Run) -> None:
    """The weights of a block pass and nothing else: the floor that the kernels set."""
    shape, config = run.shape, run.shape.backbone
    x = torch.randn(shape.block, config.d_model, device=run.device, dtype=run.dtype)
    wide = torch.randn(shape.block, config.mlp_hidden_size, device=run.device, dtype=run.dtype)
    inputs = {"q_proj": x, "k_proj": x, "v_proj": x, "attn_out": x, "ff_proj": x, "up_proj": x}
    inputs["ff_out"] = wide
    layers = [
        (getattr(block, name), value)
        for block in run.backbone.blocks
        for name, value in inputs.items()
    ]
    # The products that the floor counts, all of them.
    counted = config.n_layers * layer_weights(config)
    assert sum(layer.weight.numel() for layer, _ in layers) == counted

    def products() -> None:
        for layer, value in layers:
            layer(value)
        run.backbone.head(x)

    run.add("parts", "block pass, matrix products alone", "forward pass", run.measure(products))


@torch.inference_mode()
def test_cache_write(run: Run, conditioned: Any) -> None:
    shape, config = run.shape, run.shape.backbone
    cache = conditioned.new_cache(shape.answer)
    slots = shape.prompt + torch.arange(shape.block, device=run.device)
    size = (1, config.kv_heads, shape.block, config.head_dim)
    keys = torch.randn(size, device=run.device, dtype=run.dtype)

    def write() -> None:
        for layer in range(config.n_layers):
            cache.write(layer, slots, keys, keys)

    write()
    torch.testing.assert_close(cache.layer(0)[0][:, :, slots], keys)
    before = [
        torch.randn(1, config.kv_heads, shape.prompt, config.head_dim).to(keys)
        for _ in range(config.n_layers)
    ]

    def concatenate() -> None:
        for old in before:
            torch.cat((old, keys), dim=2), torch.cat((old, keys), dim=2)

    _compare(
        run,
        "cache write, all layers",
        ("concatenate, all layers", concatenate),
        ("write in place, all layers", write),
    )


def test_sampler_overhead(run: Run) -> None:
    """Everything of a decoding but the model: the logits are ready-made."""
    shape = run.shape
    predictor = CannedPredictor(shape.backbone, 1, shape.block, run.device, run.dtype)
    sampler = CachedParallelSampler(
        gen_length=shape.answer,
        block_length=shape.block,
        commit=None,
        steps=shape.answer,
        cache="dual",
        eos_stop=False,
    )
    assert sampler(predictor).nfe == shape.answer
    timing = run.measure(lambda: sampler(predictor))
    run.add("parts", "sampler without a model", "sampler", timing, {"tokens": 0}, nfe=shape.answer)


def test_loss_on_masked_rows_against_all(run: Run) -> None:
    shape, config = run.shape, run.shape.backbone
    ids, audio, start = run.prompt(1, shape.prompt)
    generator = torch.Generator().manual_seed(0)
    x_0 = torch.randint(config.vocab_size - 2, (1, shape.answer), generator=generator)
    x_0, t = x_0.to(run.device), torch.tensor([0.3], device=run.device)
    masked = mask_tokens(x_0.cpu(), t.cpu(), config.mask_token_id, generator=generator)
    mask = masked.mask.to(run.device)
    embeds = audio.embeds.clone().requires_grad_()
    audio = AudioEmbeddings(embeds, audio.lengths)
    loss = MaskedDiffusionLoss()

    def on_masked_rows() -> Tensor:
        predictor = condition(run.backbone, ids, audio=audio, audio_start=start)
        value = loss(predictor, x_0, mask, t).loss
        value.backward()
        return value

    def on_all_rows() -> Tensor:
        spliced = condition(run.backbone, ids, audio=audio, audio_start=start).prompt.embeds
        x_t = x_0.masked_fill(mask, config.mask_token_id)
        inputs = torch.cat((spliced, run.backbone.embed(x_t)), dim=1)
        logits = run.backbone(inputs_embeds=inputs).logits[:, -shape.answer :]
        every = F.cross_entropy(logits.float().transpose(1, 2), x_0, reduction="none")
        value = (every * mask / t[:, None]).sum() / x_0.numel()
        value.backward()
        return value

    if run.dtype is torch.float32:
        torch.testing.assert_close(on_masked_rows(), on_all_rows(), atol=1e-4, rtol=1e-4)
    _compare(
        run,
        "loss, forward and backward",
        ("loss, head on all rows", on_all_rows),
        ("loss, head on masked rows", on_masked_rows),
        masked=int(mask.sum()),
    )


def test_loading_time(run: Run, tmp_path: Path) -> None:
    size = sum(p.numel() * p.element_size() for p in run.backbone.parameters())
    if size > LOADING_LIMIT or shutil.disk_usage(tmp_path).free < 2 * size:
        pytest.skip(f"writing {size / 1e9:.0f} GB first would take longer than it tells")
    write_checkpoint(run.backbone, tmp_path)
    loaded = LLaDA.from_pretrained(tmp_path, dtype=run.dtype, device_map=run.device)
    assert torch.equal(loaded.ff_out.weight, run.backbone.ff_out.weight)
    file = tmp_path / "model.safetensors"
    _compare(
        run,
        "loading",
        ("read the file", lambda: file.read_bytes()),
        (
            "LLaDA.from_pretrained",
            lambda: LLaDA.from_pretrained(tmp_path, dtype=run.dtype, device_map=run.device),
        ),
        bytes=size,
    )
