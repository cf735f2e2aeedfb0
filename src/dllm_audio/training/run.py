"""Running a stage: assemble the model, train it, leave its weights for the next stage.

A stage's folder holds ``stage.json`` (its settings), ``checkpoint-*`` while it runs,
``curves.png``, and at the end ``final``: the weights that trained, checked by a manifest like
every checkpoint.  A stage with a whole ``final`` need not run again, so that the same command
resumes a recipe of many stages.
"""

from __future__ import annotations

import logging
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.utils.data import Dataset

from ..adapters import (
    AcousticAdapter,
    DualAdapter,
    PromptedSemanticAdapter,
    SemanticAdapter,
    evenly_spaced_taps,
)
from ..encoders import WhisperEncoder
from ..errors import CheckpointError, InvalidArgumentError, TrainingError
from ..model import AudioDiffusionLM
from . import checkpoints
from .arguments import training_arguments
from .curves import CurvePlot
from .freezing import train_only
from .identity import claim, run_settings
from .lora import attach_lora, detach_lora
from .noise import derive_seed
from .reference import Reference
from .stages import Stage
from .tasks import DiffusionTask, PreferenceTask, Task
from .trainer import ExactTrainer

logger = logging.getLogger(__name__)

FINAL = "final"
WEIGHTS = "trained.safetensors"


@dataclass(frozen=True, slots=True)
class AdapterSettings:
    """Sizes of the adapters; the defaults are the published ones.

    Args:
        num_prompts: learned vectors of the first stage.
        num_queries: embeddings of the acoustic adapter.
        intermediate_size: inner width of its feed-forward.
        taps: hidden states that it reads; None: the published ones for an encoder of that depth.
    """

    num_prompts: int = 20
    num_queries: int = 64
    intermediate_size: int = 3072
    taps: tuple[int, ...] | None = None


@dataclass(frozen=True, slots=True)
class Foundation:
    """What no stage changes: encoder, backbone, tokenizer, and the adapters' sizes."""

    encoder: WhisperEncoder
    backbone: Any
    tokenizer: Any = None
    adapters: AdapterSettings = field(default_factory=AdapterSettings)
    generation: dict[str, Any] | None = None

    def new_adapter(self, kind: str) -> nn.Module:
        """A fresh adapter, ``prompted`` or ``dual``."""
        sizes, width = self.adapters, self.backbone.config.d_model
        semantic = SemanticAdapter(self.encoder.hidden_size, width)
        if kind == "prompted":
            return PromptedSemanticAdapter(semantic, sizes.num_prompts)
        taps = sizes.taps or evenly_spaced_taps(self.encoder.num_layers)
        acoustic = AcousticAdapter(
            self.encoder.hidden_size,
            width,
            taps,
            self.encoder.num_heads,
            num_queries=sizes.num_queries,
            intermediate_size=sizes.intermediate_size,
        )
        return DualAdapter(semantic, acoustic)


@dataclass(frozen=True, slots=True)
class StageData:
    """What a stage learns from.

    Args:
        train: records.
        collator: makes batches of them.
        evaluation: held-out records, or named sets of them; None goes without.
        lengths: one number per training row, to group rows of similar length.
    """

    train: Dataset[Any] | Sequence[Any]
    collator: Any
    evaluation: Any = None
    lengths: Sequence[float] | None = None


def assemble(
    foundation: Foundation, stage: Stage, seed: int = 0, previous: str | Path | None = None
) -> AudioDiffusionLM:
    """The model as a stage starts with it.

    Args:
        foundation: shared by all stages; LoRA of an earlier stage is taken off its backbone.
        stage: says which adapter and LoRA there are and what trains.
        seed: of fresh weights.
        previous: folder of the stage to start from.

    Raises:
        CheckpointError: the earlier stage is not complete or does not fit.
    """
    torch.manual_seed(derive_seed(seed, "fresh weights", stage.name))
    detach_lora(foundation.backbone)
    model = AudioDiffusionLM(
        foundation.encoder,
        foundation.new_adapter(stage.adapter),  # type: ignore[arg-type]
        foundation.backbone,
        foundation.tokenizer,
        generation=foundation.generation,
    )
    model.requires_grad_(False)
    if stage.lora is not None:
        attach_lora(model.backbone, stage.lora)
    if previous is not None:
        take_over(model, Path(previous))
    train_only(model, stage.trains)
    return model


def take_over(model: AudioDiffusionLM, folder: Path) -> None:
    """Load what an earlier stage trained; the first stage's learned vectors may find no place.

    Raises:
        CheckpointError: damaged, or weights without a place in the model or of other shapes.
    """
    weights = trained_weights(folder)
    try:
        unused = model.load_state_dict(weights, strict=False).unexpected_keys
    except RuntimeError as error:  # another shape, in torch's words
        raise CheckpointError(f"{folder} does not fit this stage: {error}") from error
    if set(unused) - {"adapter.prompts"}:
        raise CheckpointError(f"{folder}: no place in the model for {sorted(unused)[:3]}")


def trained_weights(folder: str | Path) -> dict[str, Tensor]:
    """What the stage in ``folder`` trained, by name.

    Raises:
        CheckpointError: the stage is not complete, or its weights are damaged.
    """
    final = Path(folder) / FINAL
    reason = checkpoints.fault(final)
    if reason is not None:
        raise CheckpointError(f"{final}: {reason}; run this stage first")
    try:
        return load_file(final / WEIGHTS)
    except (OSError, SafetensorError) as error:
        raise CheckpointError(f"{final / WEIGHTS}: cannot be read ({error})") from error


def is_complete(folder: str | Path) -> bool:
    """Whether the stage in ``folder`` has run to its end."""
    return checkpoints.fault(Path(folder) / FINAL) is None


def run_stage(
    stage: Stage,
    model: AudioDiffusionLM,
    data: StageData,
    folder: str | Path,
    *,
    seed: int = 0,
    origin: Mapping[str, Any] | None = None,
    **options: Any,
) -> ExactTrainer:
    """Train a stage, or go on with it, and write its final weights.

    Args:
        stage: what to do.
        model: from :func:`assemble`.
        data: what to learn from.
        folder: of the stage.
        seed: of order, noise and dropout.
        origin: names of what else makes the run what it is (weights, data), for the record; an
            interrupted run goes on with the same ones only.
        options: further ``TrainingArguments``, for example ``report_to`` or ``save_steps``.

    Returns:
        The trainer, with its history and the trained model.

    Raises:
        TrainingError: the folder belongs to a run with other settings, or the run cannot go on.
    """
    folder = Path(folder)
    arguments = training_arguments(
        folder,
        **{
            **stage.optimization.arguments(),
            "seed": seed,
            "report_to": "none",
            "save_total_limit": 2,
            "logging_steps": 10,
            "eval_strategy": "no" if data.evaluation is None else "steps",
            **options,
        },
    )
    if arguments.process_index == 0:
        rows = arguments.per_device_train_batch_size * arguments.gradient_accumulation_steps
        claim(folder, run_settings(stage, seed, origin, rows * arguments.world_size))
    trainer = ExactTrainer(
        make_task(stage, model),
        arguments,
        data.train,
        data.evaluation,
        data.collator,
        data.lengths,
        callbacks=[CurvePlot()],
    )
    trainer.resume()
    weights = trainer.trained_weights()
    if trainer.is_world_process_zero():
        _write_final(folder, weights)
    trainer.accelerator.wait_for_everyone()
    return trainer


def make_task(stage: Stage, model: AudioDiffusionLM) -> Task:
    """The task of a stage."""
    if stage.preference is None:
        return DiffusionTask(model)
    objective = stage.preference.objective()
    reference = None
    if objective.needs_reference:
        reference = Reference(stage.preference.reference, model, stage.lora)
    return PreferenceTask(model, objective, reference)


def _write_final(folder: Path, weights: dict[str, Tensor]) -> None:
    staging = checkpoints.staging_folder(folder / FINAL)
    shutil.rmtree(staging, ignore_errors=True)
    staging.mkdir(parents=True)
    try:
        save_file(weights, staging / WEIGHTS)
        checkpoints.publish(staging, folder / FINAL)
    except (OSError, SafetensorError) as error:
        shutil.rmtree(staging, ignore_errors=True)
        raise TrainingError(f"{folder / FINAL} could not be saved: {error}") from error


def load_stage(foundation: Foundation, stage: Stage, folder: str | Path) -> AudioDiffusionLM:
    """The model as a stage left it, ready to answer (LoRA stays apart from the weights)."""
    if not is_complete(folder):
        raise InvalidArgumentError("folder", "a complete stage", folder)
    return assemble(foundation, stage, previous=folder).eval()
