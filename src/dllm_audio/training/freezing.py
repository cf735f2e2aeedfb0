"""What of a model trains, and how large that is."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from torch import nn

from ..errors import InvalidArgumentError


@dataclass(frozen=True, slots=True)
class ParameterCount:
    """Numbers of parameters.

    Attributes:
        trainable: those that an optimizer updates.
        total: all of them, each counted once.
    """

    trainable: int
    total: int

    @property
    def share(self) -> float:
        """Trainable share of all parameters."""
        return self.trainable / self.total if self.total else 0.0

    def __str__(self) -> str:
        return f"{self.trainable:,} of {self.total:,} parameters train ({self.share:.2%})"


def train_only(model: nn.Module, prefixes: Iterable[str]) -> None:
    """Let the parameters under the given names train and freeze all others.

    A frozen parameter gets no gradient and takes no optimizer memory.

    Args:
        model: its parameters are changed in place.
        prefixes: names of modules or parameters; ``lora`` stands for every LoRA weight of the
            adapter named ``default``.

    Raises:
        InvalidArgumentError: a name that matches nothing.

    Example:
        >>> model = nn.Sequential(nn.Linear(2, 3), nn.Linear(3, 1))
        >>> train_only(model, ["1"])
        >>> str(count_parameters(model))
        '4 of 13 parameters train (30.77%)'
    """
    wanted = list(prefixes)
    found = dict.fromkeys(wanted, False)
    for name, parameter in model.named_parameters():
        matches = [prefix for prefix in wanted if _matches(name, prefix)]
        found.update(dict.fromkeys(matches, True))
        parameter.requires_grad_(bool(matches))
    missing = [prefix for prefix, hit in found.items() if not hit]
    if missing:
        children = sorted({name.rpartition(".")[0] for name, _ in model.named_parameters()})
        raise InvalidArgumentError(
            "prefixes", f"names of parameters, for example {children[:8]}", missing
        )


def count_parameters(model: nn.Module) -> ParameterCount:
    """Count trainable and all parameters, on any device (also ``meta``)."""
    parameters = list(model.parameters())
    return ParameterCount(
        sum(p.numel() for p in parameters if p.requires_grad), sum(p.numel() for p in parameters)
    )


def _matches(name: str, prefix: str) -> bool:
    if prefix == "lora":
        return ".lora_" in name and ".default." in name
    return name == prefix or name.startswith(prefix + ".")
