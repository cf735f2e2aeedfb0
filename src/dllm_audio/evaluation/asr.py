"""Transcription benchmarks: LibriSpeech, any manifest, a folder of spoken digits."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from ..errors import InvalidArgumentError
from .questions import Item, first_text_field, item_id
from .scoring import Counts, ModeScores, Row, Scores
from .sources import HubDataset
from .speech_folders import (
    folder_source,
    kaldi_source,
    librispeech_source,
    spoken_digits_source,
)
from .wer import WordErrors, normalizer_description, upper_case, word_errors

__all__ = [
    "ASR",
    "LIBRISPEECH_CLEAN",
    "LIBRISPEECH_OTHER",
    "Transcription",
    "folder_source",
    "kaldi_source",
    "librispeech_source",
    "spoken_digits_source",
]

INSTRUCTION = "Please transcribe the audio to text."
_TEXT_FIELDS = ("text", "transcription", "transcript", "sentence")


@dataclass(frozen=True)
class Transcription:
    """A benchmark of recordings with transcripts, scored by word error rate.

    Attributes:
        name: as in the command line.
        dataset: where it is published on the hub; None where a manifest must be given.
        groupings: fields that results are broken down by.
        prediction_keys: fields under which a file of predictions may hold them.
        presets: names of samplers' presets by recipe.
        choose_by: None: there is nothing to choose among.
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
    choose_by: str | None = None

    def item(self, row: Row, index: int, choice_seed: int | None = None) -> Item:
        """The question of one row; see ``Benchmark.item``."""
        if choice_seed is not None:
            raise InvalidArgumentError("choice_seed", "None: there are no choices", choice_seed)
        text = first_text_field(row, _TEXT_FIELDS, index)
        return Item(id=item_id(row, index), prompt=INSTRUCTION, answer=text, row=row)

    def score(
        self,
        items: Sequence[Item],
        predictions: Sequence[str | None],
        chosen: Sequence[int | None] | None = None,
    ) -> Scores:
        """Word error rates overall and by group; a missing hypothesis counts as all deleted.

        ``wer`` is after Whisper's normalizer, ``wer_case_insensitive`` before it: words as they
        are spaced, in any case, as WeNet's ``compute-wer.py`` counts them.
        """
        modes = {
            "wer": self._groups(items, predictions, None),
            "wer_case_insensitive": self._groups(items, predictions, upper_case),
        }
        return Scores(normalizer_description(), modes)

    def _groups(
        self,
        items: Sequence[Item],
        predictions: Sequence[str | None],
        normalize: Callable[[str], str] | None,
    ) -> ModeScores:
        everything = [*zip(items, predictions, strict=True)]
        groups: dict[str, dict[str, Counts]] = {"overall": {"all": _errors(everything, normalize)}}
        for name in self.groupings:
            by_value: dict[str, list[tuple[Item, str | None]]] = {}
            for item, prediction in everything:
                if item.row.get(name) is not None:
                    by_value.setdefault(str(item.row[name]), []).append((item, prediction))
            for value, pairs in sorted(by_value.items()):
                groups.setdefault(name, {})[value] = _errors(pairs, normalize)
        return ModeScores(groups)

    def export(self, items: Sequence[Item], predictions: Sequence[str | None]) -> list[Row]:
        """Pairs of reference and hypothesis."""
        return [
            {"id": item.id, "reference": item.answer, "hypothesis": prediction}
            for item, prediction in zip(items, predictions, strict=True)
        ]


def _errors(
    pairs: Sequence[tuple[Item, str | None]], normalize: Callable[[str], str] | None
) -> WordErrors:
    references = [item.answer or "" for item, _ in pairs]
    return word_errors(references, [prediction for _, prediction in pairs], normalize)


ASR = Transcription("asr", presets={})
LIBRISPEECH_CLEAN = Transcription(
    "librispeech-clean", HubDataset("openslr/librispeech_asr", "clean", "test")
)
LIBRISPEECH_OTHER = Transcription(
    "librispeech-other", HubDataset("openslr/librispeech_asr", "other", "test")
)
