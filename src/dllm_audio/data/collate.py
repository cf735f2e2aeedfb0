"""From records to batches: left-padded prompts, responses padded with EOS, exact masks.

Shape letters: B batch, P prompt tokens, R response tokens.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from ..audio import load_audio
from ..errors import AudioError, DataError, InvalidArgumentError
from ..prompts import ChatTemplate, TrainingExample, left_pad
from .features import EncoderFeatures
from .records import Example, PreferencePair, Record, name_of

# transformers' label of a position that does not count.
IGNORED = -100

Batch = dict[str, Any]
# From waveforms ``[T]`` to features and their lengths.
FrontEnd = Callable[[list[Tensor]], tuple[Tensor, Tensor]]


@dataclass(frozen=True, slots=True)
class EosPadding:
    """How many EOS tokens after an answer are targets too, so that the model learns to end.

    Args:
        multiple: each answer is padded to the next multiple of this, with one EOS at least.  A
            row's targets then do not depend on its batch, and accumulation or more processes give
            exactly the large batch.  None pads prompt and answer to the longest such sequence of
            the batch, as the published training did: a short prompt is followed by many EOS.

    Example:
        >>> EosPadding(None).lengths(prompts=[10, 35], answers=[12, 7])  # 10 + 32 = 35 + 7
        [32, 7]
        >>> EosPadding(8).lengths(prompts=[10, 35], answers=[12, 8])
        [16, 16]
    """

    multiple: int | None = 32

    def __post_init__(self) -> None:
        if self.multiple is not None and self.multiple < 1:
            raise InvalidArgumentError("multiple", "an integer >= 1 or None", self.multiple)

    def lengths(self, prompts: Sequence[int], answers: Sequence[int]) -> list[int]:
        """Response lengths of rows whose prompts and answers have these many tokens."""
        if self.multiple is None:
            longest = max(p + n for p, n in zip(prompts, answers, strict=True))
            return [longest - p for p in prompts]
        return [(n // self.multiple + 1) * self.multiple for n in answers]


@dataclass
class _Collator:
    """What both collators share: the prompt and the audio of a batch.

    Args:
        template: builds prompts and targets.
        front_end: ``encoder.features``, or ``EncoderFeatures`` where the frozen encoder's output
            was computed beforehand.
        eos_padding: EOS tokens that are targets.
        header_in_target: the assistant's header is learned too, as in the published training;
            otherwise it ends the prompt, as it does when answers are generated.
        sampling_rate: that the front end expects (``encoder.sampling_rate``).
    """

    template: ChatTemplate
    front_end: FrontEnd | EncoderFeatures
    eos_padding: EosPadding = field(default_factory=EosPadding)
    header_in_target: bool = True
    sampling_rate: int = 16_000

    def _inputs(self, records: Sequence[Record], examples: Sequence[TrainingExample]) -> Batch:
        prompt_ids, prompt_mask = left_pad(
            [e.prompt_ids for e in examples], self.template.pad_token_id
        )
        return {
            "prompt_ids": prompt_ids,
            "prompt_mask": prompt_mask,
            "audio_start": torch.tensor([e.audio_start for e in examples]),
            "row": torch.tensor([r.row for r in records]),
            **self._audio(records),
        }

    def _audio(self, records: Sequence[Record]) -> Batch:
        if isinstance(self.front_end, EncoderFeatures):
            return self.front_end.collate([record.audio for record in records])
        waveforms = [self._waveform(record) for record in records]
        try:
            features, lengths = self.front_end(waveforms)
        except AudioError:
            for record, waveform in zip(records, waveforms, strict=True):  # which one is it?
                try:
                    self.front_end([waveform])
                except AudioError as error:
                    raise DataError(f"{name_of(record)}, field 'audio': {error}") from error
            raise
        return {"features": features, "feature_lengths": lengths}

    def _waveform(self, record: Record) -> Tensor:
        try:
            return load_audio(record.audio, self.sampling_rate)
        except (AudioError, InvalidArgumentError) as error:
            raise DataError(
                f"{name_of(record)}, field 'audio': {error}; check_audio() finds and skips such "
                "clips before a run"
            ) from error

    def _tokenize(self, record: Record, field: str) -> TrainingExample:
        """Prompt and one answer of a record: ``field`` is target, chosen or rejected."""
        template, target = self.template, getattr(record, field)
        try:
            if record.system is not None and record.system != template.system:
                template = ChatTemplate(template.tokenizer, record.system)
            if self.header_in_target:
                return template.training_example(record.instruction, target)
            return _answer_alone(template, record.instruction, target)
        except InvalidArgumentError as error:
            names = {"instructions": "instruction", "target": field, "system": "system"}
            found = names.get(error.argument)
            if found is None:
                raise DataError(f"{name_of(record)}: {error}") from error
            text = repr(error.got)
            text = text if len(text) <= 80 else text[:77] + "..."
            raise DataError(
                f"{name_of(record)}, field {found!r}: expected {error.expected}, got {text}"
            ) from error

    def _measure(self, record: Record, fields: Sequence[str]) -> tuple[int, int]:
        examples = [self._tokenize(record, field) for field in fields]
        return len(examples[0].prompt_ids), max(self._lengths([e])[0] for e in examples)

    def _lengths(self, examples: Sequence[TrainingExample]) -> list[int]:
        prompts = [len(example.prompt_ids) for example in examples]
        return self.eos_padding.lengths(prompts, [len(example.target_ids) for example in examples])

    def _labels(self, examples: Sequence[TrainingExample]) -> Tensor:
        """``[B, R]`` int64: tokens of the answers, EOS behind them, IGNORED beyond the targets."""
        lengths = self._lengths(examples)
        labels = torch.full((len(examples), max(lengths)), IGNORED)
        for row, (example, length) in enumerate(zip(examples, lengths, strict=True)):
            labels[row, :length] = self.template.pad_token_id
            labels[row, : len(example.target_ids)] = torch.tensor(example.target_ids)
        return labels


@dataclass
class DiffusionCollator(_Collator):
    """Batches for the masked-diffusion loss.

    Args:
        template: builds prompts and targets.
        front_end: ``encoder.features`` or ``EncoderFeatures``.
        eos_padding: EOS tokens that are targets.
        header_in_target: whether the assistant's header is learned too.
        sampling_rate: that the front end expects.

    Returns (when called with examples) a dictionary of
        ``prompt_ids [B, P]`` and ``prompt_mask [B, P]`` (left-padded), ``audio_start [B]``,
        ``features [B, ...]`` and ``feature_lengths [B]`` of the front end, ``labels [B, R]``
        (-100 where nothing is to be learned) and ``row [B]``.
    """

    def __call__(self, records: Sequence[Example]) -> Batch:
        """Collate; raises DataError that names the row."""
        examples = [self._tokenize(record, "target") for record in records]
        return {**self._inputs(records, examples), "labels": self._labels(examples)}

    def measure(self, record: Example) -> tuple[int, int]:
        """Tokens of a record's prompt, without audio, and of its response with the EOS behind it.

        Raises:
            DataError: a text that cannot be tokenized; names the row and the field.
        """
        return self._measure(record, ("target",))


@dataclass
class PreferenceCollator(_Collator):
    """Batches for preference objectives.

    Args:
        template: builds prompts and targets.
        front_end: ``encoder.features`` or ``EncoderFeatures``.
        eos_padding: EOS tokens that are targets.
        header_in_target: whether the assistant's header is learned too.
        sampling_rate: that the front end expects.

    Returns (when called with pairs) what :class:`DiffusionCollator` does, with
        ``chosen [B, R1]`` and ``rejected [B, R2]`` instead of labels, -100 where nothing counts,
        and ``labels [B]``, one per pair, from which a trainer counts the pairs of a step.
    """

    def __call__(self, records: Sequence[PreferencePair]) -> Batch:
        """Collate; raises DataError that names the row."""
        chosen = [self._tokenize(record, "chosen") for record in records]
        rejected = [self._tokenize(record, "rejected") for record in records]
        return {
            **self._inputs(records, chosen),
            "chosen": self._labels(chosen),
            "rejected": self._labels(rejected),
            "labels": torch.ones(len(records), dtype=torch.int64),
        }

    def measure(self, record: PreferencePair) -> tuple[int, int]:
        """Tokens of a pair's prompt, without audio, and of its longer response with its EOS.

        Raises:
            DataError: a text that cannot be tokenized; names the row and the field.
        """
        return self._measure(record, ("chosen", "rejected"))


def _answer_alone(template: ChatTemplate, instruction: str, target: str) -> TrainingExample:
    """An exchange whose prompt ends with the assistant's header."""
    whole = template.training_example(instruction, target)  # also checks both texts
    prompt = template([instruction])
    answer = template.tokenizer.encode(target, add_special_tokens=False)
    target_ids = [*answer, template.end_of_turn_id]
    return TrainingExample(prompt.prompt_ids[0].tolist(), target_ids, whole.audio_start)
