"""A full-scale run from a JSON file: which weights, which data, which settings.

Example::

    {
      "encoder": "openai/whisper-large-v3",
      "backbone": "GSAI-ML/LLaDA-8B-Instruct",
      "data": {"asr": {"train": ["asr.jsonl"], "evaluation": "asr_dev.jsonl"}},
      "optimization": {"stage1": {"batch_size": 20}},
      "arguments": {"save_steps": 500, "report_to": "tensorboard"}
    }
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch.utils.data import ConcatDataset

from ..audio import LogMel
from ..backbones import LLaDA
from ..data import (
    DiffusionCollator,
    EosPadding,
    ExampleParser,
    PreferenceCollator,
    PreferenceParser,
    RecordDataset,
    TranscriptionParser,
    check_audio,
)
from ..encoders import WhisperEncoder
from ..errors import InvalidArgumentError
from ..prompts import TRAINING_SYSTEM_PROMPT, ChatTemplate, load_tokenizer
from ..weights import resolve_directory
from .run import AdapterSettings, Foundation, StageData
from .stages import Stage

T = TypeVar("T")
_PARSERS: dict[str, Any] = {
    "asr": TranscriptionParser,
    "qa": ExampleParser,
    "preferences": PreferenceParser,
}


@dataclass(frozen=True, slots=True)
class DataConfig:
    """One data set of a run.

    Args:
        train: JSON or JSON Lines files, or Hugging Face data sets as objects
            ``{"dataset": id, "split": ..., "name": ...}``.
        evaluation: one file or data set, or None.
        root: folder that relative audio paths start from; None: the file's own.
        on_unreadable: ``raise`` or ``skip``, for audio that cannot be read.
        index: file in which the check of the audio is remembered.
        max_seconds: longer clips count as unreadable.
    """

    train: Sequence[Any]
    evaluation: Any = None
    root: str | None = None
    on_unreadable: str = "raise"
    index: str | None = None
    max_seconds: float | None = 30.0


@dataclass(frozen=True, slots=True)
class RunConfig:
    """A run.

    Args:
        encoder: Whisper, hub id or directory.
        backbone: LLaDA, hub id or directory; its tokenizer is used.
        data: data sets by the name that stages know: ``asr``, ``qa``, ``preferences``.
        adapters: sizes of the adapters.
        dtype: of the frozen weights.
        eos_multiple: see ``EosPadding``; None pads to the batch as the published training did.
        system: text of the system turn; None is the published one of training.
        optimization: changed settings, by stage.
        arguments: further ``TrainingArguments``.
    """

    encoder: str
    backbone: str
    data: Mapping[str, DataConfig]
    adapters: AdapterSettings = field(default_factory=AdapterSettings)
    dtype: str = "bfloat16"
    eos_multiple: int | None = 32
    system: str | None = None
    optimization: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    arguments: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def from_file(cls, path: str | Path) -> RunConfig:
        """Read a JSON file.

        Raises:
            InvalidArgumentError: not JSON, or a name that is unknown or missing.
        """
        try:
            values = json.loads(Path(path).read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise InvalidArgumentError("config", "a readable JSON file", error) from error
        config = dict(_checked(cls, values, "config"))
        data = {
            name: DataConfig(**_checked(DataConfig, value, f"data.{name}"))
            for name, value in config["data"].items()
        }
        unknown = sorted(data.keys() - _PARSERS.keys())
        if unknown:
            raise InvalidArgumentError("data", f"names among {sorted(_PARSERS)}", unknown)
        adapters = _checked(AdapterSettings, config.get("adapters", {}), "adapters")
        if "taps" in adapters:
            adapters = {**adapters, "taps": tuple(adapters["taps"])}
        return cls(**{**config, "data": data, "adapters": AdapterSettings(**adapters)})

    def stage(self, stage: Stage) -> Stage:
        """A stage with this run's settings."""
        return stage.changed(**self.optimization.get(stage.name, {}))

    def load_foundation(self) -> Foundation:
        """Encoder, backbone and tokenizer."""
        dtype = getattr(torch, self.dtype, None)
        if not isinstance(dtype, torch.dtype):
            raise InvalidArgumentError("dtype", "a name such as bfloat16", self.dtype)
        encoder = WhisperEncoder.from_pretrained(self.encoder, dtype=dtype)
        backbone = LLaDA.from_pretrained(self.backbone, dtype=dtype)
        tokenizer = load_tokenizer(resolve_directory(self.backbone, None, ("*.json",)))
        return Foundation(encoder, backbone, tokenizer, self.adapters)

    def load_data(self, stage: Stage, foundation: Foundation) -> StageData:
        """What a stage learns from, with its audio checked."""
        if stage.data not in self.data:
            raise InvalidArgumentError("data", f"an entry {stage.data!r}", sorted(self.data))
        settings = self.data[stage.data]
        checked = [self._checked_audio(source, settings, stage) for source in settings.train]
        evaluation = None
        if settings.evaluation is not None:
            evaluation = self._checked_audio(settings.evaluation, settings, stage).dataset
        system = TRAINING_SYSTEM_PROMPT if self.system is None else self.system
        template = ChatTemplate(foundation.tokenizer, system)
        encoder = foundation.encoder
        log_mel = LogMel(encoder.n_mels, chunk_length=encoder.window_seconds)
        kind = PreferenceCollator if stage.preference else DiffusionCollator
        return StageData(
            ConcatDataset([each.dataset for each in checked]),
            kind(template, log_mel, EosPadding(self.eos_multiple)),
            evaluation,
            [seconds for each in checked for seconds in each.durations],
        )

    @staticmethod
    def _checked_audio(source: Any, settings: DataConfig, stage: Stage) -> Any:
        from accelerate import PartialState

        dataset = _read(source, _PARSERS[stage.data](), settings.root)
        # One process decodes; the others then find the result in the index.
        with PartialState().main_process_first():
            dataset.validate()
            return check_audio(
                dataset,
                on_unreadable=settings.on_unreadable,
                max_seconds=settings.max_seconds,
                index=settings.index,
            )


def _read(source: Any, parser: Any, root: str | None) -> RecordDataset:
    if isinstance(source, str):
        return RecordDataset.from_file(source, parser, root)
    if not isinstance(source, Mapping) or "dataset" not in source:
        raise InvalidArgumentError("train", "files or {'dataset': id, 'split': ...}", source)
    from datasets import load_dataset

    options = {k: v for k, v in source.items() if k != "dataset"}
    return RecordDataset.from_datasets(load_dataset(source["dataset"], **options), parser, root)


def _checked(kind: type[T], values: Any, where: str) -> Mapping[str, Any]:
    """Values whose names are those of a dataclass."""
    if not isinstance(values, Mapping):
        raise InvalidArgumentError(where, "an object", values)
    known = {f.name for f in fields(kind)}  # type: ignore[arg-type]
    unknown = sorted(values.keys() - known)
    if unknown:
        raise InvalidArgumentError(where, f"names among {sorted(known)}", unknown)
    return values
