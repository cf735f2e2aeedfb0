"""How many parameters train, and how much memory a GPU needs, before anything is downloaded."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, TypeVar

import torch
from torch import Tensor, nn
from transformers import WhisperConfig

from ..backbones import LLaDA, LLaDAConfig
from ..encoders import WhisperEncoder
from ..errors import InvalidArgumentError
from ..losses.cross_entropy import DEFAULT_CHUNK_ROWS
from ..model import AudioDiffusionLM
from .assembly import Foundation, Settings, assemble
from .freezing import ParameterCount, count_parameters
from .stages import Stage

_Part = TypeVar("_Part")

_FLOAT32, _BF16 = 4, 2
_GIB = 2**30
# Of the output head's rows that exist at once: logits, their gradient, and softmax.
_LOSS_COPIES = 3

ENCODERS: dict[str, dict[str, Any]] = {
    "openai/whisper-small": {
        "d_model": 768,
        "encoder_layers": 12,
        "encoder_attention_heads": 12,
        "encoder_ffn_dim": 3072,
        "num_mel_bins": 80,
    },
    "openai/whisper-large-v3": {
        "d_model": 1280,
        "encoder_layers": 32,
        "encoder_attention_heads": 20,
        "encoder_ffn_dim": 5120,
        "num_mel_bins": 128,
    },
}
LLADA_8B: dict[str, Any] = {
    "d_model": 4096,
    "n_layers": 32,
    "n_heads": 32,
    "n_kv_heads": 32,
    "mlp_hidden_size": 12288,
    "vocab_size": 126464,
    "max_sequence_length": 4096,
    "rope_theta": 500000.0,
}


@dataclass(frozen=True, slots=True)
class MemoryEstimate:
    """Memory per GPU in bytes.

    Attributes:
        frozen: weights that do not train, in bfloat16.
        trained: weights that train and their gradients, in float32.
        moments: AdamW's two moments per trained weight, in float32.
        reference: frozen copies for a preference objective.
        activations: kept for the backward pass, and the widest recomputed block.
        loss: rows of the output head that exist at once.
    """

    frozen: int
    trained: int
    moments: int
    reference: int
    activations: int
    loss: int

    @property
    def total(self) -> int:
        """Sum of all."""
        return (
            self.frozen
            + self.trained
            + self.moments
            + self.reference
            + self.activations
            + self.loss
        )

    def __str__(self) -> str:
        names = ("frozen", "trained", "moments", "reference", "activations", "loss")
        parts = ", ".join(f"{name} {getattr(self, name) / _GIB:.2f}" for name in names)
        return f"{self.total / _GIB:.1f} GiB per GPU ({parts})"


def meta_foundation(
    encoder: str | WhisperConfig,
    backbone: LLaDAConfig | None = None,
    adapters: Mapping[str, Settings] | None = None,
) -> Foundation:
    """Encoder and backbone on the meta device: shapes without memory.

    Args:
        encoder: a known id or a config.
        backbone: None is LLaDA-8B.
        adapters: settings by name, see :class:`Foundation`; None are the published sizes.

    Raises:
        InvalidArgumentError: an id whose sizes are not known here.
    """
    if isinstance(encoder, str):
        if encoder not in ENCODERS:
            raise InvalidArgumentError("encoder", f"one of {sorted(ENCODERS)}", encoder)
        encoder = WhisperConfig(**ENCODERS[encoder])
    with torch.device("meta"):
        return Foundation(
            WhisperEncoder(encoder),
            LLaDA(LLaDAConfig(**LLADA_8B) if backbone is None else backbone),
            adapters=adapters or {},
        )


def stage_parameters(foundation: Foundation, stage: Stage) -> ParameterCount:
    """Trainable and total parameters of a stage; the foundation stays as it is."""
    return count_parameters(_assembled(foundation, stage))


def _assembled(foundation: Foundation, stage: Stage) -> AudioDiffusionLM:
    """The model of a stage without memory, put together from parts of the same shapes."""
    shapes = replace(
        foundation,
        encoder=_shapes_of(foundation.encoder),
        backbone=_shapes_of(foundation.backbone),
        start=None,
    )
    with torch.device("meta"):
        return assemble(shapes, stage)


def _shapes_of(part: _Part) -> _Part:
    """A copy of a part whose tensors take no memory."""
    if not isinstance(part, nn.Module):
        return part
    tensors = {id(tensor): _shape_of(tensor) for tensor in (*part.parameters(), *part.buffers())}
    return copy.deepcopy(part, tensors)


def _shape_of(tensor: Tensor) -> Tensor:
    shape = torch.empty_like(tensor, device="meta", requires_grad=False)
    return nn.Parameter(shape, tensor.requires_grad) if isinstance(tensor, nn.Parameter) else shape


def estimate_memory(
    foundation: Foundation,
    stage: Stage,
    *,
    sequence_length: int = 1024,
    gpus: int = 1,
    sharded: bool = False,
) -> MemoryEstimate:
    """Estimate the memory of a training step.

    Activations follow the block's structure: 2 bytes per value for the block's input, and, where
    blocks are not recomputed, for the eight tensors of width D and the four of the MLP's width
    that a block keeps.  Fragmentation and the engines' own buffers come on top (about a tenth).

    Args:
        foundation: encoder and backbone, for example from :func:`meta_foundation`.
        stage: what trains, batch size, gradient checkpointing.
        sequence_length: positions of prompt, audio and response.
        gpus: processes.
        sharded: FSDP2 (weights, gradients and moments are spread over the processes).
    """
    model = _assembled(foundation, stage)
    count = count_parameters(model)
    adapter = count_parameters(model.adapter).total
    updates = sum(p.numel() for n, p in model.named_parameters() if ".lora_" in n)
    backbone = count_parameters(model.backbone).total - updates
    config, batch = foundation.backbone.config, stage.optimization.batch_size
    shards = gpus if sharded else 1
    trained = count.trainable
    copies = 0
    if stage.preference is not None and stage.preference.objective().needs_reference:
        copies = adapter * _FLOAT32
        if stage.preference.reference != "base":
            copies += updates * _FLOAT32
        if stage.preference.reference == "copy":
            copies += backbone * _BF16
    positions = batch * sequence_length
    block = positions * (8 * config.d_model + 4 * config.mlp_hidden_size) * _BF16
    inputs = positions * config.d_model * _BF16 * config.n_layers
    recompute = stage.optimization.gradient_checkpointing
    return MemoryEstimate(
        frozen=(count.total - trained) * _BF16 // shards,
        trained=trained * 2 * _FLOAT32 // shards,
        moments=trained * 2 * _FLOAT32 // shards,
        reference=copies // shards,
        activations=inputs + block if recompute else block * config.n_layers,
        loss=DEFAULT_CHUNK_ROWS * config.vocab_size * _FLOAT32 * _LOSS_COPIES,
    )
