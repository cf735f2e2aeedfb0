"""One training loop for all parts: resumable, with a progress bar and averaged weights."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from tqdm import tqdm

from dllm_audio.files import replacing

StepFunction = Callable[[int], tuple[Tensor, dict[str, float]]]


@dataclass(frozen=True)
class Schedule:
    """How long and how fast to learn."""

    steps: int
    learning_rate: float
    warmup: int = 100
    weight_decay: float = 0.02
    average: float = 0.997
    save_every: int = 100

    def rate(self, step: int) -> float:
        """Learning rate: linear warmup, then a cosine to a fiftieth."""
        if step < self.warmup:
            return self.learning_rate * (step + 1) / self.warmup
        done = (step - self.warmup) / max(self.steps - self.warmup, 1)
        return self.learning_rate * (0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * min(done, 1.0))))


def fit(
    name: str,
    module: nn.Module,
    step_function: StepFunction,
    schedule: Schedule,
    folder: Path,
    rates: Mapping[str, float] | None = None,
) -> None:
    """Train ``module`` in place; afterwards it holds the averaged weights.

    A run that was stopped goes on from ``folder/{name}.pt``; a finished one is only loaded.  What
    a step sees depends on its number alone, so that a stopped run ends as an undisturbed one.

    Args:
        name: of the checkpoint and the progress bar.
        module: its parameters that require gradients are trained.
        step_function: from the step's number to the loss and what to show.
        schedule: steps and learning rate.
        folder: where the checkpoint lies.
        rates: factors of the learning rate by the first part of a parameter's name.
    """
    parameters = {key: p for key, p in module.named_parameters() if p.requires_grad}
    averages = {key: p.detach().clone() for key, p in parameters.items()}
    factors = [(rates or {}).get(key.partition(".")[0], 1.0) for key in parameters]
    kinds = sorted(set(factors))
    groups = [
        {"params": [p for p, own in zip(parameters.values(), factors, strict=True) if own == each]}
        for each in kinds
    ]
    optimizer = torch.optim.AdamW(
        groups, lr=schedule.learning_rate, weight_decay=schedule.weight_decay, betas=(0.9, 0.98)
    )
    path, first = folder / f"{name}.pt", 0
    if path.exists():
        saved = torch.load(path, weights_only=True)
        first = saved["step"]
        optimizer.load_state_dict(saved["optimizer"])
        for key, parameter in parameters.items():
            parameter.data.copy_(saved["parameters"][key])
            averages[key] = saved["averages"][key]
    bar = tqdm(range(first, schedule.steps), desc=name, initial=first, total=schedule.steps)
    module.train()
    shown: dict[str, float] = {}
    for step in bar:
        for group, factor in zip(optimizer.param_groups, kinds, strict=True):
            group["lr"] = factor * schedule.rate(step)
        torch.manual_seed(step)  # dropout
        optimizer.zero_grad(set_to_none=True)
        # Fused attention on the CPU has a slow backward pass in bfloat16.
        with sdpa_kernel(SDPBackend.MATH):
            loss, values = step_function(step)
            loss.backward()
        nn.utils.clip_grad_norm_(parameters.values(), 1.0)
        optimizer.step()
        decay = min(schedule.average, (step + 1) / (step + 10))
        for key, parameter in parameters.items():
            averages[key].lerp_(parameter.detach(), 1 - decay)
        for key, value in {"loss": loss.item(), **values}.items():
            shown[key] = 0.95 * shown.get(key, value) + 0.05 * value
        if step % 10 == 0:
            bar.set_postfix({key: f"{value:.3f}" for key, value in shown.items()}, refresh=False)
        if (step + 1) % schedule.save_every == 0 or step + 1 == schedule.steps:
            state = {
                "step": step + 1,
                "parameters": {key: p.detach() for key, p in parameters.items()},
                "averages": averages,
                "optimizer": optimizer.state_dict(),
            }
            with replacing(path) as scratch:
                torch.save(state, scratch)
    for key, parameter in parameters.items():
        parameter.data.copy_(averages[key])
    module.eval()


def load_averages(path: Path) -> dict[str, Tensor]:
    """The averaged weights of a checkpoint that :func:`fit` wrote."""
    return torch.load(path, weights_only=True)["averages"]
