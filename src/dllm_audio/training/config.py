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
from dataclasses import MISSING, dataclass, field, fields
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
from .arguments import check_options
from .run import AdapterSettings, Foundation, StageData
from .stages import DIFFA, DIFFA2, Optimization, Stage

T = TypeVar("T")
_PARSERS: dict[str, Any] = {
    "asr": TranscriptionParser,
    "qa": ExampleParser,
    "preferences": PreferenceParser,
}
_STAGES = (*DIFFA.names, *DIFFA2.names)
_SOURCE = "a file or {'dataset': id, 'split': ...}"
# TrainingArguments that a run file must not set, and where they are set instead.
_ELSEWHERE = {
    "seed": "nothing here: the seed is given to run_stage (--seed of the examples)",
    "output_dir": "nothing here: the folder is given to run_stage (--output of the examples)",
    **dict.fromkeys(
        Optimization().arguments().keys() - {"per_device_eval_batch_size"},
        "nothing here: it is one of a stage's settings under 'optimization'",
    ),
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

    Raises:
        InvalidArgumentError: a value of another kind; names the argument.
    """

    train: Sequence[Any]
    evaluation: Any = None
    root: str | None = None
    on_unreadable: str = "raise"
    index: str | None = None
    max_seconds: float | None = 30.0

    def __post_init__(self) -> None:
        train, sources = self.train, "a list of files or {'dataset': id, 'split': ...}, one or more"
        if isinstance(train, str) or not isinstance(train, Sequence) or not train:
            raise InvalidArgumentError("train", sources, train)
        for source in train:
            if not _is_source(source):
                raise InvalidArgumentError("train", sources, train)
        if self.evaluation is not None and not _is_source(self.evaluation):
            raise InvalidArgumentError("evaluation", f"{_SOURCE}, or null", self.evaluation)
        for name in ("root", "index"):
            if not isinstance(getattr(self, name), str | None):
                raise InvalidArgumentError(name, "a path or null", getattr(self, name))
        if self.on_unreadable not in ("raise", "skip"):
            raise InvalidArgumentError("on_unreadable", "'raise' or 'skip'", self.on_unreadable)
        if self.max_seconds is not None and not _is_positive(self.max_seconds):
            raise InvalidArgumentError("max_seconds", "a number > 0 or null", self.max_seconds)


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

    Raises:
        InvalidArgumentError: arguments that transformers does not have, that exact runs fix, or
            that are set elsewhere.
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

    def __post_init__(self) -> None:
        for name, value in self.arguments.items():
            if name in _ELSEWHERE:
                raise InvalidArgumentError(f"arguments.{name}", _ELSEWHERE[name], repr(value))
        check_options(self.arguments, "arguments.")

    @classmethod
    def from_file(cls, path: str | Path, stages: Sequence[str] = _STAGES) -> RunConfig:
        """Read a JSON file.

        Args:
            path: the file.
            stages: names that ``optimization`` may speak of; as given, those of DIFFA and DIFFA-2.

        Raises:
            InvalidArgumentError: not JSON, a name that is unknown or missing, or a value of
                another kind.
        """
        try:
            values = json.loads(Path(path).read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise InvalidArgumentError("config", "a readable JSON file", error) from error
        config = dict(_checked(cls, values, "config"))
        for name in config.keys() & {"encoder", "backbone", "dtype", "system"}:
            if not isinstance(config[name], str) and (name, config[name]) != ("system", None):
                raise InvalidArgumentError(name, "a text", config[name])
        adapters = dict(_checked(AdapterSettings, config.get("adapters", {}), "adapters"))
        if adapters.get("taps") is not None:
            adapters["taps"] = tuple(_list(adapters["taps"], "adapters.taps"))
        data = _object(config["data"], "data")
        unknown = sorted(data.keys() - _PARSERS.keys())
        if unknown or not data:
            raise InvalidArgumentError("data", f"names among {sorted(_PARSERS)}", unknown)
        optimization = _object(config.get("optimization", {}), "optimization")
        unknown = sorted(optimization.keys() - set(stages))
        if unknown:
            expected = f"stages among {sorted(set(stages))}"
            raise InvalidArgumentError("optimization", expected, unknown)
        for name, settings in optimization.items():
            # Now, and not days later, when the stage begins.
            _made(Optimization, settings, f"optimization.{name}")
        return cls(
            **{
                **config,
                "data": {k: _made(DataConfig, v, f"data.{k}") for k, v in data.items()},
                "adapters": AdapterSettings(**adapters),
                "arguments": _object(config.get("arguments", {}), "arguments"),
            }
        )

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
    from datasets import load_dataset

    options = {k: v for k, v in source.items() if k != "dataset"}
    return RecordDataset.from_datasets(load_dataset(source["dataset"], **options), parser, root)


def _checked(kind: type[T], values: Any, where: str) -> Mapping[str, Any]:
    """Values whose names are those of a dataclass, with all that have no default."""
    _object(values, where)
    known = {f.name for f in fields(kind)}  # type: ignore[arg-type]
    unknown = sorted(values.keys() - known)
    if unknown:
        raise InvalidArgumentError(where, f"names among {sorted(known)}", unknown)
    for each in fields(kind):  # type: ignore[arg-type]
        needed = each.default is MISSING and each.default_factory is MISSING
        if needed and each.name not in values:
            raise InvalidArgumentError(where, f"an entry {each.name!r}", sorted(values))
    return values


def _made(kind: type[T], values: Any, where: str) -> T:
    """A dataclass from values; its own errors get the place in the file in front."""
    values = _checked(kind, values, where)
    try:
        return kind(**values)
    except InvalidArgumentError as error:
        name = f"{where}.{error.argument}"
        raise InvalidArgumentError(name, error.expected, error.got) from error
    except TypeError as error:  # a text where a number belongs
        raise InvalidArgumentError(where, "numbers and texts as documented", error) from error


def _object(values: Any, where: str) -> Mapping[str, Any]:
    if not isinstance(values, Mapping):
        raise InvalidArgumentError(where, "an object", repr(values))
    return values


def _list(values: Any, where: str) -> list[Any]:
    if not isinstance(values, list):
        raise InvalidArgumentError(where, "a list", repr(values))
    return values


def _is_source(source: Any) -> bool:
    return isinstance(source, str) or (isinstance(source, Mapping) and "dataset" in source)


def _is_positive(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and value > 0
