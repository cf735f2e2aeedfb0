"""The published training stages, as data: what trains, from where, on what, with which loss."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, fields, replace
from typing import Any

from ..errors import InvalidArgumentError
from ..losses import (
    DPOLoss,
    ElboSampling,
    IPOLoss,
    PreferenceObjective,
    SimPOLoss,
    VRPOLoss,
    WithSFT,
)
from ..parts import part_class
from ..prompts import SYSTEM_PROMPT, TRAINING_SYSTEM_PROMPT
from .lora import LoRASettings
from .reference import REFERENCE_KINDS
from .settings import Optimization

OBJECTIVES = ("diffusion", "vrpo", "dpo", "ipo", "simpo")


@dataclass(frozen=True, slots=True)
class Preference:
    """A preference objective, by name.

    Args:
        name: ``vrpo``, ``dpo``, ``ipo`` or ``simpo``.
        beta: None takes the objective's own default.
        sampling: of the ELBOs; None takes the objective's own.
        sft_weight: of a supervised term on the chosen answer; 0 leaves it out.
        reference: ``copy``, ``adapter`` or ``base``; see :class:`Reference`.
    """

    name: str = "vrpo"
    beta: float | None = None
    sampling: ElboSampling | None = None
    sft_weight: float = 0.0
    reference: str = "adapter"

    def __post_init__(self) -> None:
        if self.name not in OBJECTIVES[1:]:
            raise InvalidArgumentError("name", f"one of {OBJECTIVES[1:]}", self.name)
        if self.reference not in REFERENCE_KINDS:
            raise InvalidArgumentError("reference", f"one of {REFERENCE_KINDS}", self.reference)

    def objective(self) -> PreferenceObjective:
        """The objective itself."""
        kinds: dict[str, Any] = {
            "vrpo": VRPOLoss,
            "dpo": DPOLoss,
            "ipo": IPOLoss,
            "simpo": SimPOLoss,
        }
        options: dict[str, Any] = {} if self.beta is None else {"beta": self.beta}
        if self.sampling is not None:
            options["sampling"] = self.sampling
        objective: PreferenceObjective = kinds[self.name](**options)
        return WithSFT(objective, self.sft_weight) if self.sft_weight else objective


@dataclass(frozen=True, slots=True)
class Stage:
    """One stage of a recipe.

    Args:
        name: of the stage and of its folder.
        adapter: registered name, such as ``prompted`` (learned vectors and semantic adapter) or
            ``dual`` (acoustic and semantic adapter); the run's ``adapters`` may hold settings.
        data: name of the data set that it learns from.
        optimization: rates, batches, lengths.
        trains: names of what trains; everything else is frozen.
        starts_from: the stage whose weights it takes over; None starts anew.
        lora: low-rank updates of the backbone; None leaves it as it is.
        preference: the objective for pairs; None is the masked-diffusion loss.
    """

    name: str
    adapter: str
    data: str
    optimization: Optimization
    trains: tuple[str, ...] = ("adapter",)
    starts_from: str | None = None
    lora: LoRASettings | None = None
    preference: Preference | None = None

    def __post_init__(self) -> None:
        part_class("adapter", self.adapter)
        if "lora" in self.trains and self.lora is None:
            raise InvalidArgumentError("lora", "settings, because 'lora' trains", None)

    def changed(self, **optimization: Any) -> Stage:
        """The same stage with other settings of its optimization.

        Raises:
            InvalidArgumentError: an unknown setting.
        """
        known = {f.name for f in fields(Optimization)}
        unknown = sorted(optimization.keys() - known)
        if unknown:
            raise InvalidArgumentError("optimization", f"names among {sorted(known)}", unknown)
        return replace(self, optimization=replace(self.optimization, **optimization))


@dataclass(frozen=True, slots=True)
class Recipe:
    """Stages that build on each other.

    Args:
        name: of the recipe.
        stages: in order.
        system: text of the system turn that it was trained with.
    """

    name: str
    stages: tuple[Stage, ...] = field(default=())
    system: str = TRAINING_SYSTEM_PROMPT

    def __post_init__(self) -> None:
        seen: set[str] = set()
        for stage in self.stages:
            if stage.starts_from is not None and stage.starts_from not in seen:
                raise InvalidArgumentError("starts_from", "an earlier stage", stage.starts_from)
            seen.add(stage.name)

    def __getitem__(self, name: str) -> Stage:
        found = next((stage for stage in self.stages if stage.name == name), None)
        if found is None:
            raise InvalidArgumentError("stage", f"one of {self.names}", name)
        return found

    @property
    def names(self) -> Sequence[str]:
        """Names of the stages, in order."""
        return [stage.name for stage in self.stages]


_COSINE = Optimization(
    learning_rate=5e-5, schedule="cosine", epochs=10, warmup_steps=2000, batch_size=4
)

# DIFFA (arXiv 2507.18452): batch 16 x accumulation 2 on 4 GPUs, then 4 x 2.
DIFFA = Recipe(
    "diffa",
    (
        Stage("stage1", "prompted", "asr", Optimization(accumulation=2)),
        Stage("stage2", "dual", "qa", replace(_COSINE, accumulation=2), starts_from="stage1"),
    ),
    system=SYSTEM_PROMPT,
)

# DIFFA-2: 64 GPUs for stages 1 to 3, 16 GPUs for stage 4.
_DIFFA2_QA = replace(_COSINE, batch_size=3, warmup_steps=1000)
DIFFA2 = Recipe(
    "diffa2",
    (
        Stage("stage1", "prompted", "asr", Optimization(epochs=20, batch_size=20)),
        Stage("stage2", "dual", "qa", _DIFFA2_QA, starts_from="stage1"),
        Stage(
            "stage3",
            "dual",
            "qa",
            _DIFFA2_QA,
            trains=("adapter", "lora"),
            starts_from="stage2",
            lora=LoRASettings(),
        ),
        Stage(
            "stage4",
            "dual",
            "preferences",
            replace(_DIFFA2_QA, batch_size=1),
            trains=("adapter", "lora"),
            starts_from="stage3",
            lora=LoRASettings(),
            preference=Preference(),
        ),
    ),
)
