"""Stages, tasks and the loop: everything between a recipe and a trained model."""

from .assembly import (
    Foundation,
    assemble,
    fitting_settings,
    is_complete,
    load_stage,
    trained_weights,
)
from .checkpoints import last_good_checkpoint
from .config import RunConfig, explain
from .curves import plot_curves
from .estimate import MemoryEstimate, estimate_memory, meta_foundation, stage_parameters
from .freezing import ParameterCount, count_parameters, train_only
from .identity import check_settings, run_settings
from .loop import Loop, StageData
from .lora import LoRASettings, attach_lora, detach_lora, lora_switched, merge_lora
from .reference import REFERENCE_KINDS, Reference
from .run import run_recipe, run_stage
from .settings import LoopSettings, Optimization
from .stages import DIFFA, DIFFA2, Preference, Recipe, Stage
from .tasks import DiffusionTask, PreferenceTask, Task

__all__ = [
    "DIFFA",
    "DIFFA2",
    "REFERENCE_KINDS",
    "DiffusionTask",
    "Foundation",
    "LoRASettings",
    "Loop",
    "LoopSettings",
    "MemoryEstimate",
    "Optimization",
    "ParameterCount",
    "Preference",
    "PreferenceTask",
    "Recipe",
    "Reference",
    "RunConfig",
    "Stage",
    "StageData",
    "Task",
    "assemble",
    "attach_lora",
    "check_settings",
    "count_parameters",
    "detach_lora",
    "estimate_memory",
    "explain",
    "fitting_settings",
    "is_complete",
    "last_good_checkpoint",
    "load_stage",
    "lora_switched",
    "merge_lora",
    "meta_foundation",
    "plot_curves",
    "run_recipe",
    "run_settings",
    "run_stage",
    "stage_parameters",
    "train_only",
    "trained_weights",
]
