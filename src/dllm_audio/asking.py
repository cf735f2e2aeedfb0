"""What a model is asked: prompts about clips, conversations, or tensors, in one form."""

from __future__ import annotations

import numbers
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias, TypedDict

import torch
from torch import Tensor

from .audio import load_waveform
from .errors import AudioTooLongError, InvalidArgumentError
from .processor import Conversations, as_batch
from .prompts import ChatTemplate, PromptBatch, read_conversation
from .protocols import AudioEncoder, AudioSource

Choices: TypeAlias = Sequence[str] | Sequence[Sequence[str]]
Audio: TypeAlias = AudioSource | Sequence[AudioSource | None] | None


@dataclass(frozen=True, slots=True)
class Asked:
    """Prompts, and the clips that go into them.

    Attributes:
        prompts: tokens, and the place of every clip.
        clips: one a place; or a single one that serves them all.
    """

    prompts: PromptBatch
    clips: list[AudioSource]


class ProcessorInputs(TypedDict, total=False):
    """What ``AudioDiffusionProcessor`` gives; see there for the shapes."""

    input_ids: Tensor
    attention_mask: Tensor
    waveforms: Tensor
    audio_lengths: Tensor
    audio_start: Tensor
    audio_rows: Tensor


def from_prompts(template: ChatTemplate, prompts: str | Sequence[str], audio: Audio) -> Asked:
    """One text a row, each about one clip or none.

    Args:
        template: builds the chat text.
        prompts: texts; a single one is asked about every clip.
        audio: a list with a clip or None a row; or one clip for all rows; or None.

    Raises:
        InvalidArgumentError: numbers that do not match, or a text that cannot be a prompt.
    """
    single = not _is_batch(audio)
    clips: list[AudioSource | None] = [audio] if single else list(audio)  # type: ignore[arg-type, list-item]
    texts = [prompts] * len(clips) if isinstance(prompts, str) else list(prompts)
    if not texts or not all(isinstance(text, str) for text in texts):
        raise InvalidArgumentError("prompts", "at least one text", texts)
    if not single and len(texts) != len(clips):
        raise InvalidArgumentError("prompts", f"one text a clip ({len(clips)})", len(texts))
    has_audio = [clip is not None for clip in clips] * (len(texts) if single else 1)
    return Asked(template(texts, has_audio), [clip for clip in clips if clip is not None])


def from_messages(template: ChatTemplate, messages: Conversations) -> Asked:
    """One conversation a row, its clips in audio blocks.

    Raises:
        InvalidArgumentError: something that is no conversation; names the turn.
    """
    batch, _ = as_batch(messages)
    plain = [read_conversation(each, f"messages[{row}]") for row, each in enumerate(batch)]
    prompts = template.batch([each.turns for each in plain], [len(each.clips) for each in plain])
    return Asked(prompts, [clip for each in plain for clip in each.clips])


def from_inputs(inputs: ProcessorInputs) -> Asked:
    """What a processor made.

    Raises:
        InvalidArgumentError: waveforms without their lengths or places.
    """
    input_ids = inputs["input_ids"]
    mask = inputs.get("attention_mask", torch.ones_like(input_ids)).bool()
    if "waveforms" not in inputs:
        none = torch.zeros(0, dtype=torch.int64)
        return Asked(PromptBatch(input_ids, mask, none, none), [])
    missing = sorted({"audio_lengths", "audio_start", "audio_rows"} - inputs.keys())
    if missing:
        raise InvalidArgumentError("waveforms", f"{missing} beside them", "none")
    pairs = zip(inputs["waveforms"], inputs["audio_lengths"].tolist(), strict=True)
    clips: list[AudioSource] = [waveform[:length] for waveform, length in pairs]
    return Asked(PromptBatch(input_ids, mask, inputs["audio_start"], inputs["audio_rows"]), clips)


def read_choices(
    template: ChatTemplate, choices: Choices, rows: int
) -> tuple[list[list[str]], list[list[list[int]]]]:
    """The texts that may be answers, and their tokens, one list a row.

    Args:
        template: whose tokenizer reads them, without the space around them.
        choices: texts for all rows, or a list of texts a row.
        rows: how many rows there are.

    Raises:
        InvalidArgumentError: no choices, an empty one, equal ones, a special token in one, or
            lists for another number of rows.
    """
    expected = "a list of texts, or one such list a row"
    if isinstance(choices, str) or not isinstance(choices, Sequence):
        raise InvalidArgumentError("choices", expected, type(choices).__name__)
    if not choices:
        raise InvalidArgumentError("choices", "at least one text", "none")
    texts: list[list[Any]]
    if any(isinstance(each, str) for each in choices):
        texts = [list(choices)] * rows
        lists = {"choices": texts[0]}
    elif len(choices) == rows:
        texts = [
            list(each) if isinstance(each, Sequence) else [each]  # the check below names it
            for each in choices
        ]
        lists = {f"choices[{row}]": each for row, each in enumerate(texts)}
    else:
        raise InvalidArgumentError("choices", f"one list a row ({rows})", len(choices))
    tokens = [_read_choices(template, each, name) for name, each in lists.items()]
    return texts, tokens * (rows if len(tokens) < rows else 1)


def _read_choices(template: ChatTemplate, choices: Sequence[object], where: str) -> list[list[int]]:
    if not choices:
        raise InvalidArgumentError(where, "at least one text", "none")
    read: dict[tuple[int, ...], int] = {}
    for number, choice in enumerate(choices):
        name = f"{where}[{number}]"
        if not isinstance(choice, str) or not choice.strip():
            raise InvalidArgumentError(name, "a text that is not empty", repr(choice))
        tokens = tuple(template.answer(choice, name))
        if tokens in read:
            expected = f"another text than {where}[{read[tokens]}]"
            raise InvalidArgumentError(name, expected, repr(choice))
        read[tokens] = number
    return [list(tokens) for tokens in read]


def load_clip(source: AudioSource | None, encoder: AudioEncoder, crop: bool) -> Tensor:
    """A clip as the encoder's front end takes it, ``[T]`` at its rate.

    Args:
        source: anything that a sound comes from.
        encoder: whose window bounds it.
        crop: keep the first window of a longer clip instead of raising.

    Raises:
        AudioError: a clip that cannot be used.
    """
    rate, window = encoder.sampling_rate, encoder.window_seconds
    waveform = load_waveform(source, rate)
    if window is None or len(waveform) <= round(window * rate):
        return waveform
    if not crop:
        raise AudioTooLongError(
            f"audio: expected at most {window:g} s, got {len(waveform) / rate:.2f} s; pass "
            "crop=True to keep the beginning, or cut it into windows first"
        )
    return waveform[: round(window * rate)]


def _is_batch(audio: Audio) -> bool:
    """Whether it is a list of clips: (array, rate) is one clip."""
    if isinstance(audio, tuple):
        return not (len(audio) == 2 and isinstance(audio[1], numbers.Real))
    return isinstance(audio, list)
