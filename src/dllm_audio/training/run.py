"""Running a stage: train it, leave its weights for the next one and a model to use.

A stage's folder holds ``stage.json`` (its settings), ``checkpoint-*`` while it runs,
``curves.png``, and at the end a whole model that ``AudioDiffusionLM.from_pretrained`` loads (LoRA
merged) and ``final``: the weights that trained, for the stage after it, checked by a manifest like
every checkpoint.  A stage with a whole ``final`` need not run again, so that the same command
resumes a recipe of many stages.
"""

from __future__ import annotations

import gc
import logging
from collections.abc import Callable, Mapping
from pathlib import Path

import torch
from safetensors.torch import save_file

from ..errors import TrainingError
from ..model import AudioDiffusionLM
from . import checkpoints, state
from .assembly import FINAL, WEIGHTS, Blueprint, assemble, is_complete
from .config import RunConfig
from .freezing import count_parameters
from .identity import check_settings, claim, run_settings
from .loop import Loop, StageData
from .reference import Reference
from .settings import LoopSettings
from .stages import Stage
from .tasks import DiffusionTask, PreferenceTask, Task

logger = logging.getLogger(__name__)


def run_stage(
    stage: Stage,
    model: AudioDiffusionLM,
    data: StageData,
    folder: str | Path,
    *,
    seed: int = 0,
    settings: LoopSettings | None = None,
    origin: Mapping[str, object] | None = None,
    after_step: Callable[[Loop], bool | None] | None = None,
) -> Loop:
    """Train a stage, or go on with it; write its final weights and the whole model.

    Args:
        stage: what to do.
        model: from :func:`assemble`.
        data: what to learn from.
        folder: of the stage.
        seed: of order, noise and dropout.
        settings: how the run is watched, kept and spread.
        origin: names of what else makes the run what it is (weights, data), for the record; an
            interrupted run goes on with the same ones only.
        after_step: see :class:`Loop`; a run that it ends early leaves no final weights.

    Returns:
        The loop, with its history; ``loop.task.model`` is the trained model.

    Raises:
        InvalidArgumentError: a part of the model is not registered.
        TrainingError: the folder belongs to a run with other settings, or the run cannot go on.
    """
    folder = Path(folder)
    blueprint = Blueprint.of(model, stage)  # refuses now what could not be saved days later
    loop = Loop(
        make_task(stage, model),
        data,
        folder,
        stage.optimization,
        settings,
        seed=seed,
        after_step=after_step,
    )
    if loop.accelerator.is_main_process:
        claim(folder, run_settings(stage, seed, origin, loop.order.global_batch))
    loop.run()
    if loop.step >= loop.steps:
        _finish(loop, blueprint)
    return loop


def run_recipe(
    config: RunConfig, output: str | Path, *, only: str | None = None, seed: int = 0
) -> list[Path]:
    """Train the stages of a run file in turn; complete ones are passed over.

    Args:
        config: the run file.
        output: folder of the run, with one folder a stage.
        only: name of the one stage to run; None runs all.
        seed: of fresh weights, order, noise and dropout.

    Returns:
        Folders of the stages, each of which ``AudioDiffusionLM.from_pretrained`` loads.

    Raises:
        InvalidArgumentError: no stage of that name.
        CheckpointError: a stage has nothing to start from.
    """
    recipe, folders = config.stages, []
    for stage in recipe.stages if only is None else [recipe[only]]:
        folder = Path(output) / stage.name
        folders.append(folder)
        if is_complete(folder):
            check_settings(folder, run_settings(stage, seed, config.origin))
            logger.warning("%s: complete, in %s", stage.name, folder)
            continue
        # Each stage loads its own: the one before may have left its model sharded over the GPUs.
        gc.collect()
        foundation = config.load_foundation()
        previous = None if stage.starts_from is None else Path(output) / stage.starts_from
        if previous is not None and foundation.start is not None and not is_complete(previous):
            previous = None
        model = assemble(foundation, stage, seed, previous)
        data = config.load_data(stage, foundation)
        logger.warning("%s: %s", stage.name, count_parameters(model))
        run_stage(
            *(stage, model, data, folder),
            seed=seed,
            settings=config.loop,
            origin=config.origin,
        )
        del model, foundation
    return folders


def make_task(stage: Stage, model: AudioDiffusionLM) -> Task:
    """The task of a stage."""
    if stage.preference is None:
        return DiffusionTask(model)
    objective = stage.preference.objective()
    reference = None
    if objective.needs_reference:
        reference = Reference(stage.preference.reference, model, stage.lora)
    return PreferenceTask(model, objective, reference)


def _finish(loop: Loop, blueprint: Blueprint) -> None:
    """Write the model, then the weights that trained: with them the stage is complete."""
    weights = loop.trained_weights()
    whole = state.whole_state(loop.task.model)  # every process takes part
    problem = None
    if loop.accelerator.is_main_process:
        try:
            blueprint.save(whole, loop.folder)
            with checkpoints.writing(loop.folder / FINAL) as staging:
                save_file(weights, staging / WEIGHTS)
        except Exception as error:  # whatever it is, the others must not wait
            problem = error
    failed = torch.tensor(float(problem is not None), device=loop.device)
    if loop.accelerator.reduce(failed, "sum") > 0:
        message = (
            f"{loop.folder}: the model could not be saved: {problem or 'see the main process'}"
        )
        raise TrainingError(message) from problem
