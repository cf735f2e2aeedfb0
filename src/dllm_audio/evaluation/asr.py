"""Transcription benchmarks: LibriSpeech, any manifest, a folder of spoken digits."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from ..errors import DataError, InvalidArgumentError
from ..files import read_text
from .questions import Item, first_text_field, item_id
from .scoring import Counts, ModeScores, Row, Scores
from .sources import HubDataset, Source, open_source, rows_source
from .wer import WordErrors, normalizer_description, word_errors

INSTRUCTION = "Please transcribe the audio to text."
_TEXT_FIELDS = ("text", "transcription", "transcript", "sentence")
_TEST_TAKES = 5  # recordings 0 to 4 of a speaker and digit are the customary test split


@dataclass(frozen=True)
class Transcription:
    """A benchmark of recordings with transcripts, scored by word error rate.

    Attributes:
        name: as in the command line.
        dataset: where it is published on the hub; None where a manifest must be given.
        groupings: fields that results are broken down by.
        prediction_keys: fields under which a file of predictions may hold them.
        presets: names of samplers' presets by recipe.
    """

    name: str
    dataset: HubDataset | None = None
    groupings: tuple[str, ...] = ("speaker",)
    prediction_keys: tuple[str, ...] = ("hypothesis", "prediction", "response")
    presets: Mapping[str, str] = field(
        default_factory=lambda: {
            "diffa-2": "diffa-librispeech",
            "diffa": "diffa-librispeech",
        }
    )

    def item(self, row: Row, index: int, choice_seed: int | None = None) -> Item:
        """The question of one row; see ``Benchmark.item``."""
        if choice_seed is not None:
            raise InvalidArgumentError("choice_seed", "None: there are no choices", choice_seed)
        text = first_text_field(row, _TEXT_FIELDS, index)
        return Item(id=item_id(row, index), prompt=INSTRUCTION, answer=text, row=row)

    def score(self, items: Sequence[Item], predictions: Sequence[str | None]) -> Scores:
        """Word error rate overall and by group; a missing hypothesis counts as all deleted."""
        groups: dict[str, dict[str, Counts]] = {"overall": {"all": _errors(items, predictions)}}
        for name in self.groupings:
            values = sorted({str(i.row[name]) for i in items if i.row.get(name) is not None})
            for value in values:
                pairs = [
                    (item, prediction)
                    for item, prediction in zip(items, predictions, strict=True)
                    if str(item.row.get(name)) == value
                ]
                groups.setdefault(name, {})[value] = _errors(*zip(*pairs, strict=True))
        return Scores(normalizer_description(), {"wer": ModeScores(groups)})

    def export(self, items: Sequence[Item], predictions: Sequence[str | None]) -> list[Row]:
        """Pairs of reference and hypothesis."""
        return [
            {"id": item.id, "reference": item.answer, "hypothesis": prediction}
            for item, prediction in zip(items, predictions, strict=True)
        ]


def _errors(items: Sequence[Item], predictions: Sequence[str | None]) -> WordErrors:
    return word_errors([item.answer or "" for item in items], list(predictions))


ASR = Transcription("asr", presets={})
LIBRISPEECH_CLEAN = Transcription(
    "librispeech-clean", HubDataset("openslr/librispeech_asr", "clean", "test")
)
LIBRISPEECH_OTHER = Transcription(
    "librispeech-other", HubDataset("openslr/librispeech_asr", "other", "test")
)


def librispeech_source(folder: str | Path) -> Source:
    """Rows of an unpacked LibriSpeech folder (``*.trans.txt`` beside ``*.flac``).

    Raises:
        DataError: there is no transcript, or a transcript names a file that is not there.
    """
    root = Path(folder)
    rows = []
    for transcript in sorted(root.rglob("*.trans.txt")):
        for line in read_text(transcript).splitlines():
            identifier, _, text = line.partition(" ")
            audio = transcript.parent / f"{identifier}.flac"
            if not audio.exists():
                raise DataError(f"{transcript}: expected {audio.name} beside it, got no such file")
            path = audio.relative_to(root).as_posix()
            speaker = identifier.split("-")[0]
            rows.append({"id": identifier, "audio": path, "text": text, "speaker": speaker})
    if not rows:
        raise DataError(f"{root}: expected *.trans.txt files somewhere inside, got none")
    return rows_source(rows, f"LibriSpeech folder {root.name}", root)


def spoken_digits_source(folder: str | Path, split: str = "test") -> Source:
    """Rows of the Free Spoken Digit Dataset (``{digit}_{speaker}_{index}.wav`` files).

    It is public: https://github.com/Jakobovski/free-spoken-digit-dataset, folder ``recordings``.

    Args:
        folder: where the recordings are.
        split: ``"test"`` (indices 0 to 4, as is the custom), ``"train"`` or ``"all"``.

    Raises:
        InvalidArgumentError: unknown split.
        DataError: the folder holds no such recordings.
    """
    if split not in ("test", "train", "all"):
        raise InvalidArgumentError("split", '"test", "train" or "all"', split)
    from ..toy import HumanDigits  # loads torch, which the definitions here do without

    rows = []
    for take in HumanDigits(folder).recordings:
        index = int(take.path.stem.rpartition("_")[2])
        if split in ("all", "test" if index < _TEST_TAKES else "train"):
            row = {"id": take.path.stem, "audio": take.path.name, "text": take.text}
            rows.append({**row, "speaker": take.speaker})
    if not rows:
        raise DataError(f"{folder}: holds no recordings of the {split} split")
    return rows_source(rows, f"spoken digits, {split}", Path(folder))


def folder_source(folder: str | Path, split: str | None = None) -> Source:
    """A folder of speech, recognized by its files: LibriSpeech, spoken digits, or a data set.

    Args:
        folder: an unpacked LibriSpeech folder, recordings of the Free Spoken Digit Dataset, or a
            folder written by ``datasets``.
        split: of the latter two.

    Raises:
        DataError: it is none of these.
    """
    root = Path(folder)
    if next(root.rglob("*.trans.txt"), None) is not None:
        return librispeech_source(root)
    if next(root.glob("[0-9]_*_[0-9]*.wav"), None) is not None:
        return spoken_digits_source(root, split or "test")
    return open_source(root, split=split)
