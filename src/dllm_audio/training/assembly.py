"""The model as a stage starts with it and as it is saved, from any registered parts."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from transformers import PreTrainedTokenizerBase

from ..adapters import (
    AcousticAdapter,
    DualAdapter,
    PromptedSemanticAdapter,
    SemanticAdapter,
    evenly_spaced_taps,
)
from ..errors import CheckpointError, InvalidArgumentError, one_line
from ..model import AudioDiffusionLM
from ..parts import build, describe, part_class
from ..protocols import AudioEncoder, Backbone, Tokenizer
from ..samplers import Sampler
from . import checkpoints
from .freezing import train_only
from .lora import LoRASettings, attach_lora, detach_lora, merged_weights
from .noise import derive_seed
from .stages import Stage
from .state import read_tensors

FINAL = "final"
WEIGHTS = "trained.safetensors"
Settings = Mapping[str, Any]  # plain JSON values


@dataclass(frozen=True, slots=True)
class Foundation:
    """What no stage of a run changes.

    Args:
        encoder: a registered encoder.
        backbone: a registered backbone; LoRA of a stage comes and goes on it.
        tokenizer: of the backbone.
        adapters: settings by registered name, where they differ from those that fit encoder and
            backbone (see :func:`fitting_settings`); nested like a part's own settings.
        start: the adapter that a stage without an earlier stage starts from, weights and all;
            None: fresh weights.
        sampler: what the trained model decodes with unless it is told; None: the library's.
    """

    encoder: AudioEncoder
    backbone: Backbone
    tokenizer: Tokenizer | None = None
    adapters: Mapping[str, Settings] = field(default_factory=dict)
    start: nn.Module | None = None
    sampler: Sampler | None = None

    @classmethod
    def from_model(
        cls, model: AudioDiffusionLM, adapters: Mapping[str, Settings] | None = None
    ) -> Foundation:
        """The parts of a whole model, whose adapter the first stage starts from."""
        own = describe("adapter", model.adapter)
        sizes = dict(adapters or {})
        sizes[own["name"]] = _merged(own["settings"], sizes.get(own["name"], {}))
        return cls(
            model.encoder,
            model.backbone,
            model.tokenizer,
            sizes,
            start=model.adapter,
            sampler=model.sampler,
        )

    def new_adapter(self, name: str) -> nn.Module:
        """A fresh adapter of a registered name.

        Raises:
            InvalidArgumentError: nothing of that name is registered.
            CheckpointError: settings that it refuses.
        """
        part_class("adapter", name)
        fitting = fitting_settings(name, self.encoder, self.backbone)
        settings = _merged(fitting, self.adapters.get(name, {}))
        return build("adapter", {"name": name, "settings": settings}, "stage")


def fitting_settings(name: str, encoder: AudioEncoder, backbone: Backbone) -> Settings:
    """Settings of an adapter that fit an encoder and a backbone.

    The assemblies of DIFFA get the published sizes, with taps spread over the encoder's layers.
    Any other class gets the two widths where it has parameters ``encoder_dim`` and ``lm_dim``.
    """
    width, lm_dim = encoder.hidden_size, _width(backbone)

    def dual() -> nn.Module:
        # DIFFA gives the Q-Former as many heads as the encoder has; usual are 64 dimensions each.
        heads = getattr(encoder, "num_heads", 0) or (width // 64 if width % 64 == 0 else 1)
        layers = encoder.num_layers
        taps = evenly_spaced_taps(layers, layers if layers < 4 else None)
        acoustic = AcousticAdapter(width, lm_dim, taps, heads)
        return DualAdapter(SemanticAdapter(width, lm_dim), acoustic)

    published: dict[type, Callable[[], nn.Module]] = {
        DualAdapter: dual,
        PromptedSemanticAdapter: lambda: PromptedSemanticAdapter(SemanticAdapter(width, lm_dim)),
    }
    cls = part_class("adapter", name)
    if cls in published:
        with torch.device("meta"):
            return describe("adapter", published[cls]())["settings"]
    known = inspect.signature(cls).parameters
    return {k: v for k, v in {"encoder_dim": width, "lm_dim": lm_dim}.items() if k in known}


def _width(backbone: Any) -> int:
    """Of a backbone's embeddings."""
    parameter = next(iter(backbone.parameters()), torch.zeros(0))
    token = torch.zeros(1, dtype=torch.long, device=parameter.device)
    with torch.no_grad():
        return int(backbone.embed(token).shape[-1])


def _merged(base: Settings, changes: Settings) -> dict[str, Any]:
    """Settings with changes; those of a part inside may be given without its name."""
    merged = dict(base)
    for name, value in changes.items():
        inner: Any = merged.get(name)
        described = isinstance(inner, Mapping) and inner.keys() == {"name", "settings"}
        if described and isinstance(value, Mapping) and "name" not in value:
            merged[name] = {**inner, "settings": _merged(inner["settings"], value)}
        else:
            merged[name] = value
    return merged


def assemble(
    foundation: Foundation, stage: Stage, seed: int = 0, previous: str | Path | None = None
) -> AudioDiffusionLM:
    """The model as a stage starts with it.

    Args:
        foundation: shared by all stages; LoRA of an earlier stage is taken off its backbone.
        stage: says which adapter and LoRA there are and what trains.
        seed: of fresh weights.
        previous: folder of the stage to start from; None: the foundation's ``start``.

    Raises:
        CheckpointError: the earlier stage is not complete or does not fit.
    """
    backbone: Any = foundation.backbone
    detach_lora(backbone)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(derive_seed(seed, "fresh weights", stage.name))
        adapter = foundation.new_adapter(stage.adapter)
        if stage.lora is not None:
            attach_lora(backbone, stage.lora)
    model = AudioDiffusionLM.from_parts(
        foundation.encoder, adapter, backbone, foundation.tokenizer, sampler=foundation.sampler
    )
    model.requires_grad_(False)
    if previous is not None:
        take_over(model, trained_weights(previous), str(previous))
    elif foundation.start is not None:
        weights = {f"adapter.{k}": v for k, v in foundation.start.state_dict().items()}
        take_over(model, weights, "start")
    train_only(model, stage.trains)
    return model


def take_over(model: AudioDiffusionLM, weights: Mapping[str, Tensor], source: str) -> None:
    """Load what was trained before; the first stage's learned vectors may find no place.

    Raises:
        CheckpointError: weights without a place in the model, or of other shapes.
    """
    try:
        unused = model.load_state_dict(weights, strict=False).unexpected_keys
    except RuntimeError as error:  # another shape, in torch's words
        raise CheckpointError(f"{source} does not fit this stage: {one_line(error)}") from error
    if set(unused) - {"adapter.prompts"}:
        raise CheckpointError(f"{source}: no place in the model for {sorted(unused)[:3]}")


def trained_weights(folder: str | Path) -> dict[str, Tensor]:
    """What the stage in ``folder`` trained, by name, LoRA apart from the weights it changes.

    Raises:
        CheckpointError: the stage is not complete, or its weights are damaged.
    """
    final = Path(folder) / FINAL
    reason = checkpoints.fault(final)
    if reason is not None:
        raise CheckpointError(f"{final}: {reason}; run this stage first")
    return read_tensors(final / WEIGHTS)


def is_complete(folder: str | Path) -> bool:
    """Whether the stage in ``folder`` has run to its end."""
    return checkpoints.fault(Path(folder) / FINAL) is None


def load_stage(foundation: Foundation, stage: Stage, folder: str | Path) -> AudioDiffusionLM:
    """The model as a stage left it, ready to answer (LoRA stays apart from the weights)."""
    if not is_complete(folder):
        raise InvalidArgumentError("folder", "a complete stage", folder)
    return assemble(foundation, stage, previous=folder).eval()


@dataclass(frozen=True, slots=True)
class Blueprint:
    """How a model is saved; drawn before LoRA and an engine change what its parts are.

    Args:
        parts: descriptions of encoder, adapter and backbone.
        tokenizer: is saved too.
        sampler: is saved too.
        lora: is merged into a copy.
    """

    parts: Mapping[str, Settings]
    tokenizer: Tokenizer | None
    sampler: Sampler | None
    lora: LoRASettings | None

    @classmethod
    def of(cls, model: AudioDiffusionLM, stage: Stage) -> Blueprint:
        """The blueprint of an assembled model.

        Raises:
            InvalidArgumentError: a part that is not registered (says the line that would), or a
                tokenizer that cannot be saved.
        """
        tokenizer = model.tokenizer
        if not isinstance(tokenizer, PreTrainedTokenizerBase | None):
            got = type(tokenizer).__name__
            raise InvalidArgumentError("tokenizer", "a transformers tokenizer, to be saved", got)
        parts = {n: describe(n, getattr(model, n)) for n in ("encoder", "adapter", "backbone")}
        return cls(parts, model.tokenizer, model.sampler, stage.lora)

    def save(self, state: Mapping[str, Tensor], folder: str | Path) -> None:
        """Write a folder that ``AudioDiffusionLM.from_pretrained`` loads; other files in it stay.

        Args:
            state: of the whole model, whole tensors.
            folder: made where it does not exist.
        """
        with torch.device("meta"):
            parts = [build(kind, part, "stage") for kind, part in self.parts.items()]
        encoder, adapter, backbone = parts
        blank = AudioDiffusionLM.from_parts(
            encoder, adapter, backbone, self.tokenizer, sampler=self.sampler
        )
        blank.load_state_dict(merged_weights(state, self.lora), assign=True)
        blank.save_pretrained(folder)
