"""A full-scale run from a JSON file: which parts, which data, which stages, which settings.

Example::

    {
      "recipe": "diffa2",
      "encoder": "openai/whisper-large-v3",
      "backbone": "GSAI-ML/LLaDA-8B-Instruct",
      "data": {"asr": {"train": ["asr.jsonl"], "evaluation": "asr_dev.jsonl"}},
      "optimization": {"stage1": {"batch_size": 20}},
      "loop": {"save_steps": 500, "report_to": "tensorboard"}
    }
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch

from ..checkpoints import load_diffa
from ..data import EosPadding
from ..errors import CheckpointError, InvalidArgumentError
from ..files import read_json
from ..losses import ElboSampling
from ..model import AudioDiffusionLM
from ..parts import build, import_parts, part_class
from ..prompts import load_tokenizer
from ..weights import resolve_directory
from .assembly import Foundation
from .fields import from_json, page
from .loop import StageData
from .lora import LoRASettings
from .run_data import DataConfig, load_data
from .settings import LoopSettings, Optimization
from .stages import DIFFA, DIFFA2, Preference, Recipe, Stage

RECIPES = {recipe.name: recipe for recipe in (DIFFA, DIFFA2)}
# Where a text alone says which weights: the parts that DIFFA is made of.
_USUAL = {"encoder": "whisper", "backbone": "llada"}


@dataclass(frozen=True, slots=True)
class RunConfig:
    """A run.

    Args:
        data: data sets by the name that stages know: ``asr``, ``qa`` and ``preferences`` in the
            published recipes.
        recipe: ``diffa``, ``diffa2``, or a list of stages of one's own.
        encoder: hub id or directory of a Whisper model; or ``{"name": registered name, "from": id
            or directory}``, or ``{"name": ..., "settings": {...}}`` for fresh weights.  Null where
            ``start`` is a whole model.
        backbone: the same; a text alone is a LLaDA.
        tokenizer: hub id or directory; null: that of the backbone or of ``start``.
        start: what a stage starts from when the stage before it was not run in the same folder: a
            saved model (encoder and backbone are its own: leave them out), or a published DIFFA or
            DIFFA-2 folder, or a full training checkpoint of the original code (with the encoder and
            backbone that it was trained with).  LoRA in it is merged.
        start_stage: which stage of the original training a published ``start`` is; 1 holds the
            learned vectors.
        adapters: settings of adapters by registered name, where they differ from the published or
            fitting ones, such as ``{"dual": {"acoustic": {"num_queries": 32}}}``.
        dtype: of the frozen weights.
        eos_multiple: answers are padded with learned EOS tokens to a multiple of this; null pads
            prompt and answer to the longest of the batch as the published training did.
        system: text of the system turn; null: what the recipe was trained with (DIFFA's short
            sentence, DIFFA-2's long one, which is also that of a list of stages).
        optimization: changed settings of a published recipe, by stage.
        loop: how runs are watched, kept and spread.
        import_: modules or ``.py`` files that register parts of yours, imported before anything is
            built.

    Raises:
        InvalidArgumentError: parts that do not go together, or a name that is unknown.
    """

    data: Mapping[str, DataConfig]
    recipe: str | tuple[Stage, ...] = "diffa2"
    encoder: str | Mapping[str, Any] | None = None
    backbone: str | Mapping[str, Any] | None = None
    tokenizer: str | None = None
    start: str | None = None
    start_stage: int = 2
    adapters: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    dtype: str = "bfloat16"
    eos_multiple: int | None = 32
    system: str | None = None
    optimization: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    loop: LoopSettings = field(default_factory=LoopSettings)
    import_: Sequence[str] = ()

    def __post_init__(self) -> None:
        _import_all(self.import_)
        if isinstance(self.recipe, str) and self.recipe not in RECIPES:
            expected = f"one of {sorted(RECIPES)} or a list of stages"
            raise InvalidArgumentError("recipe", expected, repr(self.recipe))
        recipe = (
            RECIPES[self.recipe] if isinstance(self.recipe, str) else Recipe("run", self.recipe)
        )
        names = recipe.names
        unknown = sorted(self.optimization.keys() - set(names))
        if unknown:
            raise InvalidArgumentError("optimization", f"stages among {sorted(names)}", unknown)
        for name, changes in self.optimization.items():
            # Now, and not days later, when the stage begins.
            from_json(Optimization, changes, f"optimization.{name}")
        if not self.data:
            raise InvalidArgumentError("data", "one data set or more", "{}")
        for name, settings in self.data.items():
            settings.parser(name)
        given = [name for name in _USUAL if getattr(self, name) is not None]
        if len(given) == 1 or (self.start is None and not given):
            expected = "both 'encoder' and 'backbone', or neither and a 'start'"
            raise InvalidArgumentError("encoder, backbone", expected, given)
        for name in given:
            _check_part(name, getattr(self, name))
        if not isinstance(getattr(torch, self.dtype, None), torch.dtype):
            raise InvalidArgumentError("dtype", "a name such as bfloat16", self.dtype)

    @classmethod
    def from_file(cls, path: str | Path) -> RunConfig:
        """Read a JSON file.

        Args:
            path: the file.

        Raises:
            InvalidArgumentError: not JSON, a key that is unknown or missing, or a value of another
                kind; names file and key.
        """
        path = Path(path)
        try:
            values = read_json(path)
        except CheckpointError as error:
            raise InvalidArgumentError(path.name, "a readable JSON file", error) from error
        # Before the rest is read: stages and samplers may name what these register.
        _import_all(values.get("import"), f"{path.name}: ")
        return from_json(cls, values, f"{path.name}: ")

    @property
    def stages(self) -> Recipe:
        """The recipe, with this run's settings."""
        if not isinstance(self.recipe, str):
            return Recipe("run", self.recipe)
        recipe = RECIPES[self.recipe]
        changed = (s.changed(**self.optimization.get(s.name, {})) for s in recipe.stages)
        return replace(recipe, stages=tuple(changed))

    @property
    def origin(self) -> dict[str, Any]:
        """What a run is made from, for its record."""
        names = ("encoder", "backbone", "start")
        return {n: getattr(self, n) for n in names if getattr(self, n) is not None}

    def load_foundation(self) -> Foundation:
        """Encoder, backbone and tokenizer, and the adapter of ``start``.

        Raises:
            CheckpointError: anything missing, damaged or of the wrong shape.
        """
        dtype: torch.dtype = getattr(torch, self.dtype)
        if self.start is None:
            encoder, backbone = (_load(kind, getattr(self, kind), dtype) for kind in _USUAL)
            foundation = Foundation(encoder, backbone, None, self.adapters)
        else:
            foundation = Foundation.from_model(self._load_start(), self.adapters)
        if foundation.tokenizer is None or self.tokenizer is not None:
            foundation = replace(foundation, tokenizer=self._tokenizer())
        for part in (foundation.encoder, foundation.backbone):
            part.to(dtype)  # type: ignore[union-attr]
        return foundation

    def load_data(self, stage: Stage, foundation: Foundation) -> StageData:
        """What a stage learns from, checked by one process for all.

        Raises:
            InvalidArgumentError: the run has no data for the stage.
            DataError: names the rows and fields that cannot be learned from.
        """
        if stage.data not in self.data:
            raise InvalidArgumentError("data", f"an entry {stage.data!r}", sorted(self.data))
        return load_data(
            self.data[stage.data],
            stage,
            foundation,
            eos=EosPadding(self.eos_multiple),
            system=self.stages.system if self.system is None else self.system,
            loop=self.loop,
        )

    def _load_start(self) -> AudioDiffusionLM:
        assert self.start is not None
        if self.encoder is None:
            return AudioDiffusionLM.from_pretrained(self.start)
        whisper, llada = self.encoder, self.backbone
        if not isinstance(whisper, str) or not isinstance(llada, str):
            expected = "a Whisper and a LLaDA, because 'start' is a published checkpoint"
            raise InvalidArgumentError("encoder, backbone", expected, (whisper, llada))
        return load_diffa(self.start, whisper=whisper, llada=llada, stage=self.start_stage)

    def _tokenizer(self) -> Any:
        source = self.tokenizer
        if source is None:
            backbone = self.backbone or {}
            source = backbone if isinstance(backbone, str) else backbone.get("from")
        if source is None:
            raise InvalidArgumentError("tokenizer", "one, for a backbone without weights", None)
        return load_tokenizer(resolve_directory(source, None, ("*.json",)))


def explain() -> str:
    """The page that documents every key of a run file, made from the classes themselves."""
    return page(
        [
            ("run.json", RunConfig),
            ('data: {"name": DataConfig}', DataConfig),
            ("loop: LoopSettings", LoopSettings),
            ('optimization: {"stage": Optimization}', Optimization),
            ("recipe: [Stage, ...]", Stage),
            ("recipe[].lora: LoRASettings", LoRASettings),
            ("recipe[].preference: Preference", Preference),
            ("recipe[].preference.sampling: ElboSampling", ElboSampling),
        ]
    )


def _import_all(sources: Any, where: str = "") -> None:
    """Import what a run file names; values of another kind are told when it is read."""
    for index, source in enumerate(sources if isinstance(sources, list | tuple) else ()):
        if isinstance(source, str):
            import_parts(source, f"{where}import[{index}]")


def _check_part(kind: str, source: str | Mapping[str, Any]) -> None:
    """Make sure that an entry says which part."""
    if isinstance(source, str):
        return
    name, rest = source.get("name"), source.keys() - {"name"}
    if not isinstance(name, str) or rest not in ({"from"}, {"settings"}):
        expected = "a text, or an object with 'name' and one of 'from' and 'settings'"
        raise InvalidArgumentError(kind, expected, dict(source))
    cls = part_class(kind, name)
    if "from" in source and not hasattr(cls, "from_pretrained"):
        raise InvalidArgumentError(f"{kind}.from", f"none, for {name!r}", source["from"])


def _load(kind: str, source: str | Mapping[str, Any], dtype: torch.dtype) -> Any:
    """The part that an entry names."""
    if isinstance(source, str):
        source = {"name": _USUAL[kind], "from": source}
    if "settings" in source:
        return build(kind, dict(source), "run")
    cls: Any = part_class(kind, source["name"])
    try:
        return cls.from_pretrained(source["from"], dtype=dtype)
    except OSError as error:
        raise CheckpointError(f"{kind} {source['from']}: {error}") from error
