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
from datetime import timedelta
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch.utils.data import ConcatDataset
from transformers import TrainingArguments

from ..audio import LogMel
from ..backbones import LLaDA
from ..data import DiffusionCollator, EosPadding, PreferenceCollator, number_apart
from ..encoders import WhisperEncoder
from ..errors import InvalidArgumentError
from ..prompts import TRAINING_SYSTEM_PROMPT, ChatTemplate, load_tokenizer
from ..weights import resolve_directory
from .arguments import check_options
from .assembly import Foundation
from .loop import StageData
from .processes import from_main_process
from .run_data import PARSERS, DataCheck, DataConfig
from .stages import DIFFA, DIFFA2, Optimization, Stage

T = TypeVar("T")
_STAGES = (*DIFFA.names, *DIFFA2.names)
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
        unknown = sorted(data.keys() - PARSERS.keys())
        if unknown or not data:
            raise InvalidArgumentError("data", f"names among {sorted(PARSERS)}", unknown)
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
        """What a stage learns from, checked by one process for all.

        Raises:
            DataError: names the rows and fields that cannot be learned from.
        """
        if stage.data not in self.data:
            raise InvalidArgumentError("data", f"an entry {stage.data!r}", sorted(self.data))
        settings = self.data[stage.data]
        parser = PARSERS[stage.data]()
        train = number_apart([settings.read(source, parser) for source in settings.train])
        held_out = settings.evaluation
        evaluation = [] if held_out is None else [settings.read(held_out, parser)]
        system = TRAINING_SYSTEM_PROMPT if self.system is None else self.system
        encoder = foundation.encoder
        log_mel = LogMel(encoder.n_mels, chunk_length=encoder.window_seconds)
        kind = PreferenceCollator if stage.preference else DiffusionCollator
        collator = kind(
            ChatTemplate(foundation.tokenizer, system), log_mel, EosPadding(self.eos_multiple)
        )
        check = DataCheck(settings, collator, foundation, stage)
        seconds = self.arguments.get("ddp_timeout", TrainingArguments.ddp_timeout)
        found = from_main_process(
            lambda: [check(part) for part in (train, evaluation)],
            timedelta(seconds=seconds),
            cpu=bool(self.arguments.get("use_cpu", False)),
        )
        train, evaluation = (
            [dataset.select(kept) for dataset, (kept, _) in zip(part, results, strict=True)]
            for part, results in zip((train, evaluation), found, strict=True)
        )
        return StageData(
            ConcatDataset(train),
            collator,
            evaluation[0] if evaluation else None,
            [seconds for _, durations in found[0] for seconds in durations],
        )


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
