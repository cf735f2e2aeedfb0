"""One training step against a plain implementation of the original one, time and memory.

The plain step runs the frozen encoder, loops over the tapped layers in the Q-Former, and takes
the cross-entropy from float32 logits at every position of the sequence.  Ours takes the encoder's
output from where it was stored, runs the Q-Former once, and the head on masked rows, in chunks.
"""

from __future__ import annotations

import gc
from collections.abc import Callable
from dataclasses import dataclass, replace
from itertools import accumulate

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.profiler import ProfilerActivity
from transformers import WhisperConfig

from dllm_audio import (
    AcousticAdapter,
    AudioEmbeddings,
    DualAdapter,
    EncoderOutput,
    LLaDA,
    LLaDAConfig,
    MaskedDiffusionLoss,
    SemanticAdapter,
    WhisperEncoder,
    condition,
    mask_tokens,
)
from dllm_audio.adapters import evenly_spaced_taps

from .measure import Timing
from .run import Run
from .shapes import Shape, build_backbone

VOCABULARY = 126464  # LLaDA's
LEAST_MEMORY_RATIO = 3.0
# By model size and vocabulary; elsewhere ours must not be slower.  What remains of our step is
# mostly the pass through the frozen backbone and back, near the rate of large matrix products, so
# the gain is that of the head and falls as the backbone grows.
LEAST_SPEED_RATIO = {("60m", 32000): 1.5, ("60m", VOCABULARY): 2.0}


@dataclass
class Step:
    """What both implementations are given."""

    encoder: WhisperEncoder
    adapter: DualAdapter
    backbone: LLaDA
    features: Tensor
    lengths: Tensor
    stored: EncoderOutput
    prompt_ids: Tensor
    audio_start: int
    x_0: Tensor
    mask: Tensor
    t: Tensor


def with_vocabulary(shape: Shape, size: int) -> Shape:
    """The shape with another number of tokens, the last two special."""
    sizes = {"vocab_size": size, "mask_token_id": size - 1, "eos_token_id": size - 2}
    backbone = LLaDAConfig.from_dict({**shape.backbone.to_dict(), **sizes})
    return replace(shape, backbone=backbone)


def make_step(run: Run, shape: Shape, backbone: LLaDA) -> Step:
    """One batch, and the models that learn from it."""
    device = run.device
    torch.manual_seed(0)
    config = WhisperConfig(
        d_model=shape.encoder.width,
        encoder_layers=shape.encoder.layers,
        encoder_attention_heads=shape.encoder.heads,
        encoder_ffn_dim=4 * shape.encoder.width,
        num_mel_bins=shape.encoder.n_mels,
        max_source_positions=shape.encoder.frames,
    )
    encoder = WhisperEncoder(config).to(device, run.dtype)
    width = shape.backbone.d_model
    adapter = DualAdapter(
        SemanticAdapter(shape.encoder.width, width),
        AcousticAdapter(
            shape.encoder.width,
            width,
            evenly_spaced_taps(shape.encoder.layers, min(4, shape.encoder.layers)),
            shape.encoder.heads,
            dropout=0.0,
        ),
    ).to(device, run.dtype)
    batch = 2
    frames = encoder.window_frames
    features = torch.randn(batch, shape.encoder.n_mels, frames, device=device, dtype=run.dtype)
    lengths = torch.full((batch,), frames, device=device)
    with torch.no_grad():
        stored = encoder(features, lengths)
    ids, _, start = run.prompt(batch, shape.prompt)
    generator = torch.Generator().manual_seed(0)
    x_0 = torch.randint(shape.backbone.vocab_size - 2, (batch, shape.answer), generator=generator)
    t = torch.tensor([0.3, 0.7])
    mask = mask_tokens(x_0, t, shape.backbone.mask_token_id, generator=generator).mask
    return Step(
        encoder, adapter, backbone, features, lengths, stored, ids, start,
        x_0.to(device), mask.to(device), t.to(device),
    )  # fmt: skip


def ours(step: Step) -> Tensor:
    """Forward and backward with the library."""
    predictor = condition(
        step.backbone,
        step.prompt_ids,
        audio=step.adapter(step.stored),
        audio_start=step.audio_start,
    )
    loss = MaskedDiffusionLoss()(predictor, step.x_0, step.mask, step.t).loss
    loss.backward()
    return loss.detach()


def plain(step: Step) -> Tensor:
    """Forward and backward as the original does it."""
    with torch.no_grad():
        encoded = step.encoder(step.features, step.lengths)
    acoustic, per_layer = step.adapter.acoustic, []
    batch = len(step.x_0)
    for queries, tap in zip(acoustic.queries, acoustic.taps, strict=True):
        x = queries.expand(batch, -1, -1)
        for layer in acoustic.layers:
            x = layer(x, encoded.hidden_states[tap])
        per_layer.append(x)
    mixed = torch.einsum("tbqe,qt->bqe", torch.stack(per_layer), acoustic.layer_weights.softmax(-1))
    heard = acoustic.projection(acoustic.norm(mixed))
    heard = torch.cat([heard, step.adapter.semantic(encoded.last_hidden_state)], dim=1)
    return plain_loss(step.backbone, heard, step)


def plain_loss(backbone: LLaDA, heard: Tensor, step: Step) -> Tensor:
    """Cross-entropy from the float32 logits of the whole sequence."""
    x_t = step.x_0.masked_fill(step.mask, backbone.config.mask_token_id)
    start, prompt = step.audio_start, step.prompt_ids
    ids = torch.cat([prompt, x_t], dim=1)
    targets = torch.cat([prompt, step.x_0], dim=1)
    counted = torch.cat([torch.zeros_like(prompt, dtype=torch.bool), step.mask], dim=1)
    embeds = backbone.embed(ids)
    embeds = torch.cat([embeds[:, :start], heard, embeds[:, start:]], dim=1)
    logits = backbone(inputs_embeds=embeds).logits.float()
    split = start + heard.shape[1]
    logits = torch.cat([logits[:, :start], logits[:, split:]], dim=1)
    weight = (1 / step.t)[:, None].expand_as(counted)[counted]
    entropy = F.cross_entropy(logits[counted], targets[counted], reduction="none")
    loss = (entropy * weight).sum() / step.x_0.numel()
    loss.backward()
    return loss.detach()


@pytest.mark.parametrize("vocabulary", [None, VOCABULARY])
def test_training_step(run: Run, vocabulary: int | None) -> None:
    shape, backbone = run.shape, run.backbone
    if vocabulary == shape.backbone.vocab_size:
        pytest.skip("the vocabulary of this shape")
    if vocabulary is not None:
        shape = with_vocabulary(shape, vocabulary)
        backbone = build_backbone(shape, run.device, run.dtype)
    step = make_step(run, shape, backbone)
    gradients = []
    for compute in (plain, ours):
        step.adapter.zero_grad()
        loss = compute(step)
        gradients.append([loss, *(p.grad.clone() for p in step.adapter.parameters())])
    tolerance = 1e-3 if run.dtype is torch.float32 else 5e-2
    for expected, found in zip(*gradients, strict=True):
        torch.testing.assert_close(found, expected, rtol=tolerance, atol=tolerance)
    slow, fast = (run.measure(lambda compute=compute: compute(step)) for compute in (plain, ours))
    group, size = "training step of the adapters", shape.backbone.vocab_size
    settings = {"batch": len(step.x_0), "vocabulary": size}
    run.add("parts", f"training step, plain, vocabulary {size}", group, slow, settings)
    run.add("parts", f"training step, vocabulary {size}", group, fast, settings)
    run.say(f"training step: {slow.median / fast.median:.2f}x the speed of the plain one")
    if run.full:
        assert slow.median >= LEAST_SPEED_RATIO.get((shape.name, size), 1.0) * fast.median


def test_memory_of_the_loss_at_the_full_vocabulary(run: Run) -> None:
    """The backbone is as small as can be, so that what is measured is the head and the loss."""
    config = LLaDAConfig(
        d_model=32,
        n_layers=1,
        n_heads=2,
        mlp_hidden_size=64,
        vocab_size=VOCABULARY,
        mask_token_id=VOCABULARY - 1,
        eos_token_id=VOCABULARY - 2,
    )
    torch.manual_seed(0)
    backbone = LLaDA(config).to(run.device).requires_grad_(False)
    prompt, audio, response = (40, 500, 128) if run.full else (16, 48, 64)
    generator = torch.Generator().manual_seed(0)
    ids = torch.randint(VOCABULARY - 2, (1, prompt + response), generator=generator)
    x_0 = ids[:, prompt:].to(run.device)
    # All tokens masked: the case in which the masked rows save least.
    mask, t = torch.ones_like(x_0, dtype=torch.bool), torch.ones(1, device=run.device)
    embeds = torch.randn(1, audio, 32, generator=generator).to(run.device).requires_grad_()
    heard = AudioEmbeddings(embeds, torch.tensor([audio], device=run.device))
    step = Step(
        nn.Identity(), nn.Identity(), backbone, x_0, x_0, None,  # type: ignore[arg-type]
        ids[:, :prompt].to(run.device), prompt // 2, x_0, mask, t,
    )  # fmt: skip

    def library() -> None:
        predictor = condition(backbone, step.prompt_ids, audio=heard, audio_start=step.audio_start)
        MaskedDiffusionLoss(chunk_rows=32)(predictor, x_0, mask, t).loss.backward()

    def original() -> None:
        plain_loss(backbone, embeds, step)

    library(), original()  # what is allocated once is not the loss's
    peaks = [_peak_growth(call, run.device) for call in (original, library)]
    group = f"loss alone, vocabulary {VOCABULARY} (memory: beyond what was there before)"
    for name, call, peak in zip(
        ("whole float32 logits", "masked rows in chunks"), (original, library), peaks, strict=True
    ):
        seconds = run.measure(call).seconds
        run.add("parts", name, group, Timing(seconds, peak), {"response": response})
    run.say(f"{peaks[0] / peaks[1]:.1f}x less memory than the plain loss ")
    assert peaks[0] >= LEAST_MEMORY_RATIO * peaks[1]


def _peak_growth(call: Callable[[], None], device: torch.device) -> int:
    """Bytes of tensors that exist at once during a call, beyond those from before."""
    gc.collect()
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
        before = torch.cuda.memory_allocated(device)
        call()
        return max(torch.cuda.max_memory_allocated(device) - before, 1)
    # The process's size would depend on what its allocator keeps; the profiler sees every tensor.
    with torch.profiler.profile(activities=[ProfilerActivity.CPU], profile_memory=True) as profile:
        call()
    events = profile.profiler.kineto_results.events()  # type: ignore[union-attr]
    memory = [event for event in events if event.name() == "[memory]"]
    sizes = (event.nbytes() for event in sorted(memory, key=lambda event: event.start_ns()))
    return max(accumulate(sizes, initial=1))
