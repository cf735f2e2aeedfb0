"""Runs in processes of their own: two ranks over gloo, and runs that are killed."""

from __future__ import annotations

import json
import multiprocessing
import os
import resource
import socket
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

from transformers import TrainerCallback

# Children are forked from a server that has imported these once.
PRELOADED = ["torch", "transformers", "peft", "accelerate", "dllm_audio.training"]
FSDP2 = {
    "fsdp": True,
    "fsdp_config": {
        "version": 2,
        "reshard_after_forward": True,
        "auto_wrap_policy": "TRANSFORMER_BASED_WRAP",
        "transformer_layer_cls_to_wrap": ["TransformerBlock", "WhisperEncoderLayer"],
    },
}


def start(target: Callable[..., None], *args: Any) -> Any:
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(PRELOADED)
    process = context.Process(target=_guarded, args=(target, *args), daemon=True)
    process.start()
    return process


def run(target: Callable[..., None], *args: Any, timeout: float = 120) -> int:
    process = start(target, *args)
    process.join(timeout)
    if process.is_alive():
        process.kill()
        raise TimeoutError(f"{target.__name__} still runs after {timeout} s")
    return process.exitcode


def run_ranks(world_size: int, target: Callable[..., None], *args: Any) -> None:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port = listener.getsockname()[1]
    processes = [start(_ranked, rank, world_size, port, target, args) for rank in range(world_size)]
    for process in processes:
        process.join(180)
        if process.is_alive():
            process.kill()
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


def _pose_as_accelerator(args: Any) -> None:
    """accelerate shards on GPUs and the like only; everything behind that check runs on a CPU."""
    from accelerate.state import DistributedType, PartialState

    assert args.device.type == "cpu"
    PartialState._shared_state["distributed_type"] = DistributedType.MULTI_GPU


def trained(output_dir: Path, kind: str, options: dict[str, Any]) -> Any:
    """Train the tiny model; ``kind`` is ``diffusion`` or ``preference``."""
    from dllm_audio.losses import VRPOLoss
    from dllm_audio.training import DiffusionTask, ExactTrainer, PreferenceTask, Reference

    from .tiny import LORA, arguments, collator, lora_model, rows

    # Float64, so that the tolerance of the comparison can be tight: AdamW divides by the size of
    # the gradient, and turns rounding of tiny ones into steps.
    model = lora_model().double()
    pairs = kind == "preference"
    task: Any = DiffusionTask(model)
    if pairs:
        task = PreferenceTask(model, VRPOLoss(), Reference("adapter", model, LORA))
    options = dict(options)
    sharded, stop_at = options.pop("fsdp2", False), options.pop("stop_at", None)
    args = arguments(output_dir, **(options | FSDP2 if sharded else options))
    if sharded:
        _pose_as_accelerator(args)
    trainer = ExactTrainer(
        task, args, rows(16, pairs), rows(5, pairs), collator(pairs), callbacks=[_StopAt(stop_at)]
    )
    trainer.resume()
    return trainer


class _StopAt(TrainerCallback):
    def __init__(self, step: int | None) -> None:
        self.step = step

    def on_save(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        control.should_training_stop = state.global_step == self.step


def train_and_export(output_dir: Path, kind: str, options: dict[str, Any]) -> None:
    """Train; write the trained weights and the held-out loss, unless the run was stopped."""
    from safetensors.torch import save_file

    trainer = trained(output_dir, kind, options)
    if options.get("fsdp2"):
        from torch.distributed.tensor import DTensor

        assert all(isinstance(p, DTensor) for p in trainer.model.parameters())
    if trainer.state.global_step == options.get("stop_at"):
        return
    weights = trainer.trained_weights()
    found = trainer.evaluate()
    if trainer.is_world_process_zero():
        kept = {k: v for k, v in found.items() if k.endswith(("loss", "margin", "accuracy"))}
        (output_dir / "evaluation.json").write_text(json.dumps(kept))
        # Under another name first: its presence means that the run is over.
        save_file(weights, output_dir / "trained.partial")
        (output_dir / "trained.partial").replace(output_dir / "trained.safetensors")


def train_and_export_all(folder: Path, kinds: tuple[str, ...], options: dict[str, Any]) -> None:
    for kind in kinds:
        train_and_export(folder / kind, kind, options)


def train_with_small_disk(output_dir: Path, limit: int) -> None:
    """Every file may grow to ``limit`` bytes from step 4 on; ends with the error's text."""
    import signal

    from dllm_audio.errors import TrainingError
    from dllm_audio.training import DiffusionTask, ExactTrainer

    from .tiny import arguments, collator, lora_model, rows

    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)

    class Fill(TrainerCallback):
        def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
            if state.global_step == 4:
                resource.setrlimit(resource.RLIMIT_FSIZE, (limit, resource.RLIM_INFINITY))

    args = arguments(output_dir, save_strategy="steps", save_steps=2, max_steps=6)
    task = DiffusionTask(lora_model())
    trainer = ExactTrainer(task, args, rows(16), None, collator(), callbacks=[Fill()])
    try:
        trainer.resume()
    except TrainingError as error:
        resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY,) * 2)
        (output_dir / "error.txt").write_text(str(error))
        return
    raise AssertionError("the run did not notice")


def note_dtypes(folder: Path) -> None:
    """Which types reach the backbone's blocks and leave the task, sharded and in bfloat16."""
    from dllm_audio.training import DiffusionTask, ExactTrainer

    from .tiny import arguments, collator, lora_model, rows

    model = lora_model()
    task, seen = DiffusionTask(model), {}

    def leaving(module: Any, inputs: Any, outputs: Any) -> None:
        seen["loss"] = str(outputs["loss"].dtype)

    args = arguments(folder, bf16=True, max_steps=1, per_device_train_batch_size=2, **FSDP2)
    _pose_as_accelerator(args)
    trainer = ExactTrainer(task, args, rows(4), None, collator())
    block = model.backbone.blocks[0]
    forward = block.forward

    def watched(x: Any, rope: Any, *others: Any) -> Any:
        seen["weights"] = str(block.ff_out.weight.dtype)
        seen["rotary tables"] = str(rope[0].dtype)
        return forward(x, rope, *others)

    block.forward = watched
    task.register_forward_hook(leaving)
    trainer.resume()
    if trainer.is_world_process_zero():
        (folder / "dtypes.json").write_text(json.dumps(seen))


def train_two_stages(folder: Path, sharded: bool) -> None:
    """Two stages in one process, each with weights of its own."""
    from torch import nn

    from dllm_audio.training import DIFFA2, AdapterSettings, Foundation, StageData, assemble, run

    from .tiny import TOKENIZER, collator, rows, tiny_model

    quick = {"max_steps": 2, "batch_size": 2 if sharded else 4, "warmup_steps": 0, "bf16": False}
    quick |= {"accumulation": 1, "learning_rate": 1e-2}
    options: dict[str, Any] = {"use_cpu": True, "disable_tqdm": True, "eval_strategy": "no"}
    if sharded:
        options |= FSDP2
        make = run.training_arguments

        def posing(*args: Any, **kwargs: Any) -> Any:
            made = make(*args, **kwargs)
            _pose_as_accelerator(made)
            return made

        run.training_arguments = posing
    for stage in DIFFA2.stages[:2]:
        stage = stage.changed(**quick)
        model = tiny_model()
        sizes = AdapterSettings(num_prompts=3, num_queries=4, intermediate_size=16, taps=(1, 2))
        foundation = Foundation(model.encoder, model.backbone, TOKENIZER, sizes)
        previous = None if stage.starts_from is None else folder / stage.starts_from
        made = assemble(foundation, stage, previous=previous).double()
        for module in made.modules():
            # What dropout draws depends on the process.
            if isinstance(module, nn.Dropout):
                module.p = 0.0
            elif isinstance(getattr(module, "dropout", None), float):
                module.dropout = 0.0
        run.run_stage(stage, made, StageData(rows(8), collator()), folder / stage.name, **options)
        if sharded:
            from torch.distributed.tensor import DTensor

            assert all(isinstance(p, DTensor) for p in made.parameters())


def _pose_as_deepspeed() -> None:
    """accelerate runs DeepSpeed on GPUs and the like only; DeepSpeed itself runs on a CPU."""
    import torch
    import transformers.training_args
    from accelerate.state import DistributedType, PartialState

    def on_cpu(state: Any) -> None:
        state.device = torch.device("cpu")

    PartialState._prepare_backend = lambda *_, **__: ("gloo", DistributedType.MULTI_GPU)
    PartialState.set_device = on_cpu
    transformers.training_args.is_torch_bf16_gpu_available = lambda: True
    del os.environ["ACCELERATE_USE_CPU"]
    os.environ |= {"ACCELERATE_USE_DEEPSPEED": "true", "DS_ACCELERATOR": "cpu"}


def train_with_deepspeed(folder: Path, stage: int, options: dict[str, Any]) -> None:
    """Train the tiny model with ZeRO; ``error.txt`` holds what ended the run early."""
    from safetensors.torch import save_file

    from dllm_audio.errors import TrainingError
    from dllm_audio.training import DiffusionTask, ExactTrainer

    from .tiny import arguments, collator, lora_model, rows

    _pose_as_deepspeed()
    options = dict(options)
    poisoned = options.pop("poisoned_step", None)
    auto = dict.fromkeys(
        ("train_batch_size", "train_micro_batch_size_per_gpu", "gradient_accumulation_steps"),
        "auto",
    )
    config = {"zero_optimization": {"stage": stage}, "gradient_clipping": "auto", **auto}
    config |= {"bf16": {"enabled": "auto"}, "zero_allow_untested_optimizer": True}
    args = arguments(
        folder, per_device_train_batch_size=2, save_strategy="steps", save_steps=2,
        use_cpu=False, deepspeed=config, **options,
    )  # fmt: skip
    task = DiffusionTask(lora_model())
    trainer = ExactTrainer(task, args, rows(16), rows(4), collator())
    if poisoned is not None:
        forward = task.forward

        def poisoning(*inputs: Any, **named: Any) -> Any:
            made = forward(*inputs, **named)
            broken = trainer.state.global_step + 1 == poisoned
            return {**made, "loss": made["loss"] * float("nan")} if broken else made

        task.forward = poisoning
    try:
        trainer.resume()
    except TrainingError as error:
        if trainer.is_world_process_zero():
            (folder / "error.txt").write_text(str(error))
        return
    weights = trainer.trained_weights()
    if trainer.is_world_process_zero():
        save_file(weights, folder / "trained.safetensors")
