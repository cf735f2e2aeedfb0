"""The data of a run: where they lie, and what is checked of them before it starts."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import ConcatDataset

from ..audio import LogMel
from ..data import (
    DiffusionCollator,
    EosPadding,
    ExampleParser,
    PositionLimit,
    PreferenceCollator,
    PreferenceParser,
    RecordDataset,
    TranscriptionParser,
    check_audio,
    check_positions,
    number_apart,
    read_arrow,
)
from ..data import audio_positions as positions_of
from ..data.rows import Parser
from ..encoders import WhisperEncoder
from ..errors import InvalidArgumentError
from ..prompts import ChatTemplate
from ..protocols import AudioEncoder
from .assembly import Foundation
from .loop import StageData
from .processes import from_main_process
from .settings import LoopSettings
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
            ``{"dataset": id, "split": ...}``, with ``name`` and ``revision`` where needed; of a
            Parquet file or a folder that ``save_to_disk`` wrote, the ``split`` where there are
            several.
        evaluation: one file or data set, or None.
        root: folder that relative audio paths start from; None: the file's own, or that of the
            data set.
        on_unreadable: ``raise`` or ``skip``, for audio that cannot be read.
        index: file in which the check of the audio is remembered.
        max_seconds: longer clips count as unreadable; null: what the encoder hears at once.
        format: how rows are read: ``asr``, ``qa`` or ``preferences``; null: as the data set is
            named.

    Raises:
        InvalidArgumentError: a value of another kind; names the argument.
    """

    train: Sequence[str | Mapping[str, str]]
    evaluation: str | Mapping[str, str] | None = None
    root: str | None = None
    on_unreadable: str = "raise"
    index: str | None = None
    max_seconds: float | None = 30.0
    format: str | None = None

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

    def parser(self, name: str) -> Parser:
        """Reads the rows of the data set of that name.

        Raises:
            InvalidArgumentError: neither name nor format is a known one.
        """
        kind = name if self.format is None else self.format
        if kind not in PARSERS:
            expected = f"names among {sorted(PARSERS)}, or a 'format' that is"
            raise InvalidArgumentError("data", expected, [kind])
        return PARSERS[kind]()

    def read(self, source: Any, parser: Parser) -> RecordDataset:
        """The rows of ``evaluation`` or of one entry of ``train``."""
        if isinstance(source, str):
            return RecordDataset.from_file(source, parser, self.root)
        options = {name: source.get(name) for name in ("name", "split", "revision")}
        found = read_arrow(source["dataset"], **options)
        folder = source["dataset"] if Path(source["dataset"]).is_dir() else None
        return RecordDataset.from_datasets(found, parser, self.root or folder)


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
        limits = (self.settings.max_seconds, self.foundation.encoder.window_seconds)
        longest = min((limit for limit in limits if limit is not None), default=None)
        for dataset in datasets:
            dataset.validate()
            audio = check_audio(
                dataset,
                on_unreadable=self.settings.on_unreadable,
                max_seconds=longest,
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
        adapter = foundation.new_adapter(stage.adapter)
    return positions_of(foundation.encoder, adapter)


def front_end(encoder: AudioEncoder) -> LogMel | Callable[..., tuple[Tensor, Tensor]]:
    """What makes an encoder's features, in the processes that make batches."""
    if isinstance(encoder, WhisperEncoder):  # without the encoder's weights, which may be on a GPU
        return LogMel(encoder.n_mels, chunk_length=encoder.window_seconds)
    return encoder.features


def load_data(
    settings: DataConfig,
    stage: Stage,
    foundation: Foundation,
    *,
    eos: EosPadding,
    system: str,
    loop: LoopSettings,
) -> StageData:
    """What a stage learns from, checked by one process for all.

    Args:
        settings: of the data set that the stage names.
        stage: decides on the collator and the length of sequences.
        foundation: encoder and backbone, whose limits hold.
        eos: EOS tokens that are targets.
        system: text of the system turn, where a row has none.
        loop: device, and how long processes wait for one another.

    Raises:
        DataError: names the rows and fields that cannot be learned from.
    """
    parser = settings.parser(stage.data)
    train = number_apart([settings.read(source, parser) for source in settings.train])
    held_out = settings.evaluation
    evaluation = [] if held_out is None else [settings.read(held_out, parser)]
    kind: Any = PreferenceCollator if stage.preference else DiffusionCollator
    template = ChatTemplate(foundation.tokenizer, system)  # type: ignore[arg-type]
    rate = foundation.encoder.sampling_rate
    collator = kind(template, front_end(foundation.encoder), eos, sampling_rate=rate)
    check = DataCheck(settings, collator, foundation, stage)
    found = from_main_process(
        lambda: [check(part) for part in (train, evaluation)],
        timedelta(seconds=loop.timeout),
        cpu=loop.use_cpu,
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


def _is_source(source: Any) -> bool:
    if not isinstance(source, Mapping):
        return isinstance(source, str)
    name, known = source.get("dataset"), {"dataset", "split", "name", "revision"}
    if not isinstance(name, str) or not source.keys() <= known:
        return False
    return "split" in source or Path(name).exists()  # of the hub, datasets gives all at once


def _is_positive(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and value > 0
