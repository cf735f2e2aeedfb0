"""Runs in processes of their own: two ranks over gloo, and runs that are killed."""

from __future__ import annotations

import json
import multiprocessing
import os
import resource
import signal
import socket
import sys
import traceback
from collections.abc import Callable
from dataclasses import replace
from multiprocessing.connection import wait
from pathlib import Path
from typing import Any

# Children are forked from a server that has imported these once.
PRELOADED = ["torch", "transformers", "peft", "accelerate", "dllm_audio.training"]


def start(target: Callable[..., None], *args: Any) -> Any:
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(PRELOADED)
    process = context.Process(target=_guarded, args=(target, *args), daemon=True)
    process.start()
    return process


def run(target: Callable[..., None], *args: Any) -> int:
    process = start(target, *args)
    process.join()
    return process.exitcode


def run_ranks(world_size: int, target: Callable[..., None], *args: Any) -> None:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port = listener.getsockname()[1]
    processes = [start(_ranked, rank, world_size, port, target, args) for rank in range(world_size)]
    running = {process.sentinel: process for process in processes}
    while running:
        for sentinel in wait(list(running)):
            process = running.pop(sentinel)
            process.join()
            if process.exitcode != 0:  # the others would wait for this one
                for other in running.values():
                    other.kill()
    assert [process.exitcode for process in processes] == [0] * world_size


def _ranked(rank: int, world_size: int, port: int, target: Any, args: Any) -> None:
    os.environ |= {
        "RANK": str(rank),
        "LOCAL_RANK": str(rank),
        "WORLD_SIZE": str(world_size),
        "LOCAL_WORLD_SIZE": str(world_size),
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(port),
        "ACCELERATE_USE_CPU": "true",
    }
    target(*args)


def _guarded(target: Any, *args: Any) -> None:
    import torch

    torch.set_num_threads(1)
    try:
        target(*args)
    except Exception:
        traceback.print_exc()
        sys.stderr.flush()
        os._exit(1)


def pose_as_accelerator() -> None:
    """accelerate shards on GPUs and the like only; everything behind that check runs on a CPU."""
    from accelerate.state import DistributedType, PartialState

    state = PartialState(cpu=True)
    assert state.device.type == "cpu"
    if state.distributed_type == DistributedType.MULTI_CPU:  # not yet sharding
        PartialState._shared_state["distributed_type"] = DistributedType.MULTI_GPU


def trained(output_dir: Path, kind: str, options: dict[str, Any]) -> Any:
    """Train the tiny model; ``kind`` is ``diffusion`` or ``preference``."""
    from dllm_audio.losses import VRPOLoss
    from dllm_audio.training import DiffusionTask, PreferenceTask, Reference

    from .tiny import LORA, loop, lora_model, rows

    # Float64, so that the tolerance of the comparison can be tight: AdamW divides by the size of
    # the gradient, and turns rounding of tiny ones into steps.
    model = lora_model().double()
    pairs = kind == "preference"
    task: Any = DiffusionTask(model)
    if pairs:
        task = PreferenceTask(model, VRPOLoss(), Reference("adapter", model, LORA))
    if options.get("shard"):
        pose_as_accelerator()
    options = dict(options)
    stop_at, wait_at = options.pop("stop_at", None), options.pop("wait_at", None)

    def after_step(made: Any) -> bool:
        if made.step == wait_at:
            signal.pause()  # for its end, however slow the one that kills it is
        return made.step == stop_at

    made = loop(task, output_dir, rows(16, pairs), rows(5, pairs), pairs=pairs,
        after_step=after_step, **options)  # fmt: skip
    return made.run()


def train_and_export(output_dir: Path, kind: str, options: dict[str, Any]) -> None:
    """Train; write the trained weights and the held-out loss, unless the run was stopped."""
    from safetensors.torch import save_file

    made = trained(output_dir, kind, options)
    if options.get("shard"):
        from torch.distributed.tensor import DTensor

        assert all(isinstance(p, DTensor) for p in made.task.parameters())
    if made.step == options.get("stop_at"):
        return
    weights = made.trained_weights()
    found = made.evaluate()
    if made.accelerator.is_main_process:
        (output_dir / "evaluation.json").write_text(json.dumps(found))
        # Under another name first: its presence means that the run is over.
        save_file(weights, output_dir / "trained.partial")
        (output_dir / "trained.partial").replace(output_dir / "trained.safetensors")


def train_and_export_all(folder: Path, kinds: tuple[str, ...], options: dict[str, Any]) -> None:
    for kind in kinds:
        train_and_export(folder / kind, kind, options)


def train_with_small_disk(output_dir: Path, limit: int) -> None:
    """Every file may grow to ``limit`` bytes from step 4 on; ends with the error's text."""
    from dllm_audio.errors import TrainingError
    from dllm_audio.training import DiffusionTask

    from .tiny import loop, lora_model, rows

    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)

    def fill(made: Any) -> None:
        if made.step == 4:
            resource.setrlimit(resource.RLIMIT_FSIZE, (limit, resource.RLIM_INFINITY))

    task = DiffusionTask(lora_model())
    try:
        loop(task, output_dir, rows(16), save_steps=2, max_steps=6, after_step=fill).run()
    except TrainingError as error:
        resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY,) * 2)
        (output_dir / "error.txt").write_text(str(error))
        return
    raise AssertionError("the run did not notice")


def note_dtypes(folder: Path) -> None:
    """Which types reach the backbone's blocks and leave the task, sharded and in bfloat16."""
    from dllm_audio.training import DiffusionTask

    from .tiny import loop, lora_model, rows

    model = lora_model()
    task, seen = DiffusionTask(model), {}

    def leaving(module: Any, inputs: Any, outputs: Any) -> None:
        seen["loss"] = str(outputs["loss"].dtype)

    pose_as_accelerator()
    made = loop(task, folder, rows(4), bf16=True, max_steps=1, batch_size=2, shard=True)
    block = model.backbone.blocks[0]
    forward = block.forward

    def watched(x: Any, rope: Any, *others: Any) -> Any:
        seen["weights"] = str(block.ff_out.weight.dtype)
        seen["rotary tables"] = str(rope[0].dtype)
        return forward(x, rope, *others)

    block.forward = watched
    task.register_forward_hook(leaving)
    made.run()
    if made.accelerator.is_main_process:
        (folder / "dtypes.json").write_text(json.dumps(seen))


def train_two_stages(folder: Path, sharded: bool) -> None:
    """Two stages in one process, each with weights of its own."""
    from torch import nn

    from dllm_audio import AudioDiffusionLM
    from dllm_audio.training import DIFFA2, Foundation, StageData, assemble, run_stage

    from .tiny import SETTINGS, SIZES, TOKENIZER, collator, rows, tiny_model

    quick = {"max_steps": 2, "batch_size": 2 if sharded else 4, "warmup_steps": 0, "bf16": False}
    quick |= {"accumulation": 1, "learning_rate": 1e-2}
    settings = replace(SETTINGS, shard=sharded)
    if sharded:
        pose_as_accelerator()
    for stage in DIFFA2.stages[:3]:
        stage = stage.changed(**quick)
        model = tiny_model()
        foundation = Foundation(model.encoder, model.backbone, TOKENIZER, SIZES)
        previous = None if stage.starts_from is None else folder / stage.starts_from
        made = assemble(foundation, stage, previous=previous).double()
        for module in made.modules():
            # What dropout draws depends on the process.
            if isinstance(module, nn.Dropout):
                module.p = 0.0
            elif isinstance(getattr(module, "dropout", None), float):
                module.dropout = 0.0
        data = StageData(rows(8), collator())
        run_stage(stage, made, data, folder / stage.name, settings=settings)
        if sharded:
            from torch.distributed.tensor import DTensor

            assert all(isinstance(p, DTensor) for p in made.parameters())
        AudioDiffusionLM.from_pretrained(folder / stage.name)
