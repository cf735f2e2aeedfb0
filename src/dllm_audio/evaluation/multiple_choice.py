"""Benchmarks of multiple-choice questions: MMSU, MMAU, MMAR and whatever shares their format."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from string import ascii_uppercase
from typing import Any

from ..errors import DataError
from . import mmau, mmsu
from .choices import parse_choices, permute_choices
from .items import Item, item_id, text_field
from .robust import normalize
from .sources import HubDataset
from .tally import tally_groups
from .verdict import MODES, SCORER_VERSION, Verdict

Judge = Callable[[str | None, str, Sequence[str | None], str], Verdict]


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
        answer_field: field with the text of the right choice.
        choices_of: reads the choices from a row; None: the field ``choices``.
        presets: names of samplers' presets by recipe.
    """

    name: str
    dataset: HubDataset | None
    build_prompt: Callable[[str, Sequence[str | None]], str]
    judge: Judge
    groupings: tuple[tuple[str, ...], ...]
    prediction_keys: tuple[str, ...]
    presets: Mapping[str, str]
    answer_field: str = "answer"
    choices_of: Callable[[Mapping[str, Any]], list[str | None]] | None = None

    def item(self, row: Mapping[str, Any], index: int, choice_seed: int | None = None) -> Item:
        """The question of one row; see ``Benchmark.item``."""
        identifier = item_id(row, index)
        question = text_field(row, "question", index)
        answer = text_field(row, self.answer_field, index)
        raw = self.choices_of(row) if self.choices_of else row.get("choices")
        choices = parse_choices(raw, f"row {index}, choices")
        if answer.strip() and normalize(answer) not in {normalize(c) for c in choices if c}:
            raise DataError(
                f"row {index}, field {self.answer_field!r}: expected the text of one of the "
                f"choices, got {answer!r}"
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
        )

    def score(self, items: Sequence[Item], predictions: Sequence[str | None]) -> dict[str, Any]:
        """Tallies in both modes, overall and by group, and how positions were chosen."""
        modes: dict[str, Any] = {}
        for mode in MODES:
            judged = [
                (item, self.judge(prediction, item.answer or "", item.choices, mode))
                for item, prediction in zip(items, predictions, strict=True)
            ]
            tallies = tally_groups([(item.row, v) for item, v in judged], self.groupings)
            modes[mode] = {
                "groups": {
                    grouping: {name: tally.to_json() for name, tally in groups.items()}
                    for grouping, groups in tallies.items()
                },
                "chosen_position": _letters(v.choice for _, v in judged),
            }
        return {
            "scorer": f"{self.name} v{SCORER_VERSION}",
            "modes": modes,
            "answer_position": _letters(_answer_position(item) for item in items),
        }

    def export(self, items: Sequence[Item], predictions: Sequence[str | None]) -> list[dict]:
        """Every row with its prediction, under the key that the official script reads.

        A permuted question is exported as it was asked, because official scripts judge letters.
        """
        rows = []
        for item, prediction in zip(items, predictions, strict=True):
            row = dict(item.row)
            if item.choice_order is not None:
                row |= self._shown(item)
            rows.append({**row, self.prediction_keys[0]: prediction})
        return rows

    def _shown(self, item: Item) -> dict[str, Any]:
        if self.choices_of is not None:
            return dict(zip(mmsu.CHOICE_FIELDS, item.choices, strict=True))
        return {"choices": list(item.choices)}


def _letters(positions: Any) -> dict[str, int]:
    counts = Counter("none" if p is None else ascii_uppercase[p] for p in positions)
    return dict(sorted(counts.items()))


def _answer_position(item: Item) -> int | None:
    return item.choices.index(item.answer) if item.answer in item.choices else None


_SIXTEEN = {"diffa-2": "diffa", "diffa": "diffa"}

MMSU = MultipleChoice(
    name="mmsu",
    dataset=HubDataset("ddwang2000/MMSU", split="train"),
    build_prompt=mmsu.build_prompt,
    judge=mmsu.judge,
    groupings=mmsu.GROUPINGS,
    prediction_keys=("response", *mmau.PREDICTION_KEYS),
    answer_field="answer_gt",
    choices_of=mmsu.choices_of,
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
