"""Stages, tasks and trainers: everything between a recipe and a trained model."""

from .arguments import training_arguments
from .checkpoints import last_good_checkpoint
from .curves import CurvePlot, plot_curves
from .estimate import MemoryEstimate, estimate_memory, meta_foundation, stage_parameters
from .freezing import ParameterCount, count_parameters, train_only
from .identity import check_settings, run_settings
from .lora import LoRASettings, attach_lora, detach_lora, lora_switched, merge_lora
from .reference import REFERENCE_KINDS, Reference
from .run import (
    AdapterSettings,
    Foundation,
    StageData,
    assemble,
    is_complete,
    load_stage,
    run_stage,
    trained_weights,
)
from .stages import DIFFA, DIFFA2, Optimization, Preference, Recipe, Stage
from .tasks import DiffusionTask, PreferenceTask, Task
from .trainer import ExactTrainer

__all__ = [
    "DIFFA",
    "DIFFA2",
    "REFERENCE_KINDS",
    "AdapterSettings",
    "CurvePlot",
    "DiffusionTask",
    "ExactTrainer",
    "Foundation",
    "LoRASettings",
    "MemoryEstimate",
    "Optimization",
    "ParameterCount",
    "Preference",
    "PreferenceTask",
    "Recipe",
    "Reference",
    "Stage",
    "StageData",
    "Task",
    "assemble",
    "attach_lora",
    "check_settings",
    "count_parameters",
    "detach_lora",
    "estimate_memory",
    "is_complete",
    "last_good_checkpoint",
    "load_stage",
    "lora_switched",
    "merge_lora",
    "meta_foundation",
    "plot_curves",
    "run_settings",
    "run_stage",
    "stage_parameters",
    "train_only",
    "trained_weights",
    "training_arguments",
]
