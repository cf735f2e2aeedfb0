"""The benchmarks by name, and multiple choice: MMSU, MMAU, MMAR and whatever shares their form."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from string import ascii_uppercase
from typing import Protocol

from ..errors import DataError, InvalidArgumentError
from . import mmau, mmsu
from .asr import ASR, LIBRISPEECH_CLEAN, LIBRISPEECH_OTHER
from .questions import Benchmark, Item, item_id, parse_choices, permute_choices, text_field
from .robust import normalize
from .scoring import (
    MODES,
    OFFICIAL,
    SCORER_VERSION,
    ModeScores,
    Row,
    Scores,
    Verdict,
    tally_groups,
    unreadable,
)
from .sources import HubDataset
from .voicebench import SUBSETS, VoiceBench


class PromptBuilder(Protocol):
    """Question and choices to prompt; choices that are None are left out."""

    def __call__(self, question: str, choices: Sequence[str | None]) -> str:
        """The prompt."""
        ...


class Judge(Protocol):
    """A scoring rule; see ``mmau.judge``."""

    def __call__(
        self, prediction: str | None, answer: str, choices: Sequence[str | None], mode: str
    ) -> Verdict:
        """The verdict on one prediction."""
        ...


@dataclass(frozen=True)
class MultipleChoice:
    """A benchmark of multiple-choice questions.

    Attributes:
        name: as in the command line.
        dataset: where it is published on the hub; None where it is distributed as files only.
        build_prompt: question and choices to prompt.
        judge: scoring rule.
        groupings: fields that results are broken down by.
        prediction_keys: fields under which a file of predictions may hold them; results are
            exported under the first.
        presets: names of samplers' presets by recipe.
        answer_field: field with the text of the right choice.
        choice_fields: the field that lists the choices, or one field for each choice.
        asks_letter: whether the prompt asks for a letter instead of the text of a choice.
    """

    name: str
    dataset: HubDataset | None
    build_prompt: PromptBuilder
    judge: Judge
    groupings: tuple[tuple[str, ...], ...]
    prediction_keys: tuple[str, ...]
    presets: Mapping[str, str]
    answer_field: str = "answer"
    choice_fields: tuple[str, ...] = ("choices",)
    asks_letter: bool = False

    @property
    def choose_by(self) -> str:
        """Letters are what an answer begins with, texts are whole answers."""
        return "beginning" if self.asks_letter else "answer"

    def item(self, row: Row, index: int, choice_seed: int | None = None) -> Item:
        """The question of one row; see ``Benchmark.item``."""
        identifier = item_id(row, index)
        question = text_field(row, "question", index)
        answer = text_field(row, self.answer_field, index)
        values = [row.get(name) for name in self.choice_fields]
        listed = values[0] if len(values) == 1 else values
        choices = parse_choices(listed, f"row {index}, {' '.join(self.choice_fields)}")
        if answer.strip() and normalize(answer) not in {normalize(c) for c in choices if c}:
            raise DataError(
                f"row {index}, field {self.answer_field!r}: expected the text of one of the "
                f"choices, got {answer!r:.80}"
            )
        order = None
        if choice_seed is not None:
            choices, order = permute_choices(choices, choice_seed, identifier)
        return Item(
            id=identifier,
            prompt=self.build_prompt(question, choices),
            answer=answer,
            row=row,
            choices=tuple(choices),
            choice_order=None if order is None else tuple(order),
            answers=_letters_of(choices) if self.asks_letter else tuple(choices),
        )

    def score(
        self,
        items: Sequence[Item],
        predictions: Sequence[str | None],
        chosen: Sequence[int | None] | None = None,
    ) -> Scores:
        """Tallies in both modes, overall and by group, and how positions were chosen."""
        modes = {}
        known = [None] * len(items) if chosen is None else chosen
        for mode in MODES:
            verdicts = [
                self._verdict(item, prediction, index, mode)
                for item, prediction, index in zip(items, predictions, known, strict=True)
            ]
            judged = zip((item.row for item in items), verdicts, strict=True)
            modes[mode] = ModeScores(
                tally_groups(judged, self.groupings),
                _letters(verdict.choice for verdict in verdicts),
                unreadable((item.id for item in items), predictions, verdicts),
            )
        right = _letters(_answer_position(item) for item in items)
        return Scores(f"{self.name} v{SCORER_VERSION}", modes, right)

    def _verdict(
        self, item: Item, prediction: str | None, chosen: int | None, mode: str
    ) -> Verdict:
        answer = item.answer or ""
        verdict = self.judge(prediction, answer, item.choices, mode)
        if chosen is None:
            return verdict
        # Known without reading; the published rule still decides what it counts as right.
        right = normalize(item.choices[chosen] or "") == normalize(answer)
        return Verdict(verdict.correct if mode == OFFICIAL else right, valid=True, choice=chosen)

    def export(self, items: Sequence[Item], predictions: Sequence[str | None]) -> list[Row]:
        """Every row with its prediction, under the key that the official script reads.

        A permuted question is exported as it was asked, because official scripts judge letters.
        """
        return [
            {**item.row, **self._shown(item), self.prediction_keys[0]: prediction}
            for item, prediction in zip(items, predictions, strict=True)
        ]

    def _shown(self, item: Item) -> Row:
        """The choices in the order in which they were shown, under the data set's own names."""
        if item.choice_order is None:
            return {}
        if len(self.choice_fields) == 1:
            return {self.choice_fields[0]: list(item.choices)}
        return dict(zip(self.choice_fields, item.choices, strict=True))


def _letters_of(choices: Sequence[str | None]) -> tuple[str | None, ...]:
    lettered = zip(ascii_uppercase, choices, strict=False)
    return tuple(None if choice is None else letter for letter, choice in lettered)


def _letters(positions: Iterable[int | None]) -> dict[str, int]:
    counts = Counter("none" if p is None else ascii_uppercase[p] for p in positions)
    return dict(sorted(counts.items()))


def _answer_position(item: Item) -> int | None:
    texts = [None if choice is None else normalize(choice) for choice in item.choices]
    answer = normalize(item.answer or "")
    return texts.index(answer) if answer and answer in texts else None


_SIXTEEN = {"diffa-2": "diffa", "diffa": "diffa"}

MMSU = MultipleChoice(
    name="mmsu",
    dataset=HubDataset("ddwang2000/MMSU", split="train"),
    build_prompt=mmsu.build_prompt,
    judge=mmsu.judge,
    groupings=mmsu.GROUPINGS,
    prediction_keys=("response", *mmau.PREDICTION_KEYS),
    answer_field="answer_gt",
    choice_fields=mmsu.CHOICE_FIELDS,
    asks_letter=True,
    presets={"diffa-2": "diffa", "diffa": "diffa-mmsu"},
)
MMAU = MultipleChoice(
    name="mmau",
    dataset=HubDataset("lmms-lab/mmau", split="test_mini"),
    build_prompt=mmau.build_prompt,
    judge=mmau.judge,
    groupings=mmau.MMAU_GROUPINGS,
    prediction_keys=mmau.PREDICTION_KEYS,
    presets=_SIXTEEN,
)
MMAR = MultipleChoice(
    name="mmar",
    dataset=None,
    build_prompt=mmau.build_prompt,
    judge=mmau.judge,
    groupings=mmau.MMAR_GROUPINGS,
    prediction_keys=("answer_prediction", "model_prediction", "model_output"),
    presets=_SIXTEEN,
)
TOY = MultipleChoice(
    name="toy",
    dataset=None,
    build_prompt=mmau.build_prompt,
    judge=mmau.judge,
    groupings=(("task",), ("category",)),
    prediction_keys=mmau.PREDICTION_KEYS,
    presets={},
)

_ALL: tuple[Benchmark, ...] = (
    MMSU,
    MMAU,
    MMAR,
    TOY,
    ASR,
    LIBRISPEECH_CLEAN,
    LIBRISPEECH_OTHER,
    *(VoiceBench(subset) for subset in SUBSETS),
)
BENCHMARKS: dict[str, Benchmark] = {benchmark.name: benchmark for benchmark in _ALL}


def get_benchmark(name: str) -> Benchmark:
    """The benchmark with this name.

    Raises:
        InvalidArgumentError: there is none; the message lists those that are.

    Example:
        >>> get_benchmark("mmsu").presets["diffa"]
        'diffa-mmsu'
    """
    if name not in BENCHMARKS:
        raise InvalidArgumentError("benchmark", f"one of {', '.join(BENCHMARKS)}", name)
    return BENCHMARKS[name]
