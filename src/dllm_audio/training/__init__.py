"""Stages, tasks and trainers."""

from .checkpoints import last_good_checkpoint
from .curves import CurvePlot, plot_curves
from .freezing import ParameterCount, count_parameters, train_only
from .lora import LoRASettings, attach_lora, lora_switched, merge_lora
from .reference import REFERENCE_KINDS, Reference
from .tasks import DiffusionTask, PreferenceTask, Task
from .trainer import ExactTrainer, training_arguments

__all__ = [
    "REFERENCE_KINDS",
    "CurvePlot",
    "DiffusionTask",
    "ExactTrainer",
    "LoRASettings",
    "ParameterCount",
    "PreferenceTask",
    "Reference",
    "Task",
    "attach_lora",
    "count_parameters",
    "last_good_checkpoint",
    "lora_switched",
    "merge_lora",
    "plot_curves",
    "train_only",
    "training_arguments",
]
