"""The data of a run: where they lie, and what is checked of them before it starts."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch.utils.data import ConcatDataset

from ..audio.units import HOP_LENGTH, SAMPLING_RATE
from ..data import (
    DiffusionCollator,
    ExampleParser,
    PositionLimit,
    PreferenceCollator,
    PreferenceParser,
    RecordDataset,
    TranscriptionParser,
    check_audio,
    check_positions,
)
from ..data.rows import Parser
from ..errors import InvalidArgumentError
from .assembly import Foundation
from .stages import Stage

PARSERS: dict[str, Any] = {
    "asr": TranscriptionParser,
    "qa": ExampleParser,
    "preferences": PreferenceParser,
}
_SOURCE = "a file or {'dataset': id, 'split': ...}"


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

    def read(self, source: Any, parser: Parser) -> RecordDataset:
        """The rows of ``evaluation`` or of one entry of ``train``."""
        if isinstance(source, str):
            return RecordDataset.from_file(source, parser, self.root)
        from datasets import load_dataset

        options = {k: v for k, v in source.items() if k != "dataset"}
        found = load_dataset(source["dataset"], **options)
        return RecordDataset.from_datasets(found, parser, self.root)


@dataclass(frozen=True, slots=True)
class DataCheck:
    """Everything that would end a run later, if a record had it.

    Args:
        settings: of the data set.
        collator: of the stage.
        foundation: encoder and backbone, whose limits hold.
        stage: decides on the adapter and the rows of a batch.
    """

    settings: DataConfig
    collator: DiffusionCollator | PreferenceCollator
    foundation: Foundation
    stage: Stage

    def __call__(self, datasets: Sequence[RecordDataset]) -> list[tuple[list[int], list[float]]]:
        """Check data sets that are learned from together.

        Returns:
            Of each, the indices of the records to keep and their seconds of audio.

        Raises:
            DataError: names the rows and fields that are wrong.
        """
        found, checked = [], []
        # A longer clip has no place in the encoder's window, whatever the settings allow.
        window = self.foundation.encoder.window_seconds
        for dataset in datasets:
            dataset.validate()
            audio = check_audio(
                dataset,
                on_unreadable=self.settings.on_unreadable,
                max_seconds=min(self.settings.max_seconds or window, window),
                index=self.settings.index,
            )
            checked.append(audio.dataset)
            found.append((audio.positions, audio.durations))
        if checked:
            positions = audio_positions(self.foundation, self.stage)
            limit = getattr(self.foundation.backbone.config, "max_sequence_length", None)
            check_positions(
                ConcatDataset(checked),
                self.collator,
                [positions(seconds) for _, durations in found for seconds in durations],
                limit and PositionLimit(limit, self.stage.optimization.batch_size),
            )
        return found


def audio_positions(foundation: Foundation, stage: Stage) -> Callable[[float], int]:
    """How many positions the audio of so many seconds takes in a stage's sequences."""
    with torch.device("meta"):
        adapter: Any = foundation.new_adapter(stage.adapter)
    prefix = adapter.acoustic.num_queries if stage.adapter == "dual" else adapter.num_prompts
    stride = adapter.semantic.stride

    def positions(seconds: float) -> int:
        mel_frames = -(-round(seconds * SAMPLING_RATE) // HOP_LENGTH)
        encoder_frames = -(-mel_frames // 2)  # Whisper halves them
        return prefix + encoder_frames // stride

    return positions


def _is_source(source: Any) -> bool:
    # Without a split, datasets gives all of them at once.
    named = isinstance(source, Mapping) and {"dataset", "split"} <= source.keys()
    return isinstance(source, str) or named


def _is_positive(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and value > 0
