"""The chat text of LLaDA, its tokens, and the place where the audio goes.

Shapes: B batch, P prompt tokens.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ..errors import InvalidArgumentError
from ..protocols import Tokenizer

AUDIO_PLACEHOLDER = "<audio>"
AUDIO_INTRODUCTION = f"This is the audio: {AUDIO_PLACEHOLDER}. "
SYSTEM_PROMPT = "You are a helpful voice assistant."
# What DIFFA-2 was trained with; its published inference uses the sentence above alone.
TRAINING_SYSTEM_PROMPT = (
    f"{SYSTEM_PROMPT} Imagine you can hear the audio clips. "
    "Focus on the audios and respond directly to the prompts."
)

_START, _END_OF_TURN, _PAD = "<|startoftext|>", "<|eot_id|>", "<|endoftext|>"
_HEADER_START, _HEADER_END = "<|start_header_id|>", "<|end_header_id|>"
_MARKERS = (_START, _HEADER_START, _HEADER_END, _END_OF_TURN, _PAD)


@dataclass(frozen=True, slots=True)
class PromptBatch:
    """Tokenized prompts, ready for ``condition``.

    Attributes:
        prompt_ids: ``[B, P]`` int64, left-padded.
        prompt_mask: ``[B, P]`` bool, True where a token is real.
        audio_start: ``[B]`` int64; audio embeddings go in front of the prompt token with this
            index, counted from the row's first real token.  0 in rows without audio, where
            there is nothing to insert.
    """

    prompt_ids: Tensor
    prompt_mask: Tensor
    audio_start: Tensor


@dataclass(frozen=True, slots=True)
class TrainingExample:
    """One tokenized exchange, split where the training objective splits it.

    Attributes:
        prompt_ids: system and user turn; never masked.
        target_ids: the assistant's turn with its header and end; may be masked.
        audio_start: as in ``PromptBatch``.
    """

    prompt_ids: list[int]
    target_ids: list[int]
    audio_start: int


class ChatTemplate:
    """Build LLaDA chat prompts with the audio placeholder of DIFFA.

    The user's text is ``This is the audio: <audio>. {instruction}``.  An instruction that holds
    ``<audio>`` itself is taken as the whole text.  The placeholder stays in the prompt as ordinary
    tokens; the embeddings are inserted in front of it.

    Args:
        tokenizer: knows LLaDA's chat markers as single tokens.
        system: text of the system turn; None leaves the turn out.

    Raises:
        InvalidArgumentError: the tokenizer splits or lacks a marker, or ``system`` holds one.

    Example:
        >>> template = ChatTemplate(tokenizer)  # doctest: +SKIP
        >>> batch = template(["What is said?", "Who are you?"], has_audio=[True, False])
        ... # doctest: +SKIP
    """

    def __init__(self, tokenizer: Tokenizer, system: str | None = SYSTEM_PROMPT) -> None:
        if system is not None:
            _check_content("system", system)
        self.tokenizer, self.system = tokenizer, system
        ids = {marker: self._encode(marker) for marker in _MARKERS}
        for marker, tokens in ids.items():
            if len(tokens) != 1:
                raise InvalidArgumentError("tokenizer", f"one token for {marker}", tokens)
        self.pad_token_id = ids[_PAD][0]
        self.end_of_turn_id = ids[_END_OF_TURN][0]

    def render(
        self, messages: Sequence[Mapping[str, str]], add_generation_prompt: bool = True
    ) -> str:
        """Chat text of ``messages`` (each with ``role`` and ``content``)."""
        turns = [self._header(m["role"]) + m["content"] + _END_OF_TURN for m in messages]
        return _START + "".join(turns) + (self._header("assistant") * add_generation_prompt)

    def __call__(
        self, instructions: Sequence[str], has_audio: Sequence[bool] | None = None
    ) -> PromptBatch:
        """Tokenize a batch of instructions, each with at most one audio clip.

        Args:
            instructions: one text per row, with or without ``<audio>``.
            has_audio: which rows have a clip; None: all of them.

        Raises:
            InvalidArgumentError: the numbers of rows, clips and placeholders disagree, or a text
                holds a chat marker.
        """
        if isinstance(instructions, str) or not len(instructions):
            raise InvalidArgumentError("instructions", "a non-empty list of texts", instructions)
        flags = [True] * len(instructions) if has_audio is None else list(has_audio)
        if len(flags) != len(instructions):
            raise InvalidArgumentError("has_audio", f"{len(instructions)} rows", len(flags))
        rows, starts = [], []
        for instruction, audio in zip(instructions, flags, strict=True):
            text, prefix = self._texts(instruction, audio)
            rows.append(self._encode(text + self._header("assistant")))
            starts.append(self._audio_start(rows[-1], prefix))
        prompt_ids, prompt_mask = left_pad(rows, self.pad_token_id)
        return PromptBatch(prompt_ids, prompt_mask, torch.tensor(starts))

    def training_example(
        self, instruction: str, target: str, has_audio: bool = True
    ) -> TrainingExample:
        """Tokenize an exchange for training.

        The prompt ends with the user's turn: the assistant's header belongs to the target.

        Raises:
            InvalidArgumentError: as in ``__call__``, or the target holds a chat marker.
        """
        _check_content("target", target)
        text, prefix = self._texts(instruction, has_audio)
        full = text + self._header("assistant") + target + _END_OF_TURN
        prompt_ids, target_ids = split_target(self._encode(full), self._encode(text))
        return TrainingExample(prompt_ids, target_ids, self._audio_start(prompt_ids, prefix))

    def _header(self, role: str) -> str:
        return f"{_HEADER_START}{role}{_HEADER_END}\n\n"

    def _texts(self, instruction: str, has_audio: bool) -> tuple[str, str | None]:
        """Chat text up to the end of the user's turn, and its part in front of the placeholder."""
        _check_content("instructions", instruction)
        found = instruction.count(AUDIO_PLACEHOLDER)
        if found > 1 or (found and not has_audio):
            clips = "one clip" if has_audio else "no clip"
            raise InvalidArgumentError(
                "instructions", f"as many {AUDIO_PLACEHOLDER} as clips ({clips})", found
            )
        if has_audio and not found:
            instruction = AUDIO_INTRODUCTION + instruction
        messages = [{"role": "user", "content": instruction}]
        if self.system is not None:
            messages.insert(0, {"role": "system", "content": self.system})
        text = self.render(messages, add_generation_prompt=False)
        if not has_audio:
            return text, None
        return text, text[: text.rindex(AUDIO_PLACEHOLDER)]

    def _audio_start(self, token_ids: Sequence[int], prefix: str | None) -> int:
        """Index of the token that the audio is inserted in front of.

        After a space the published rule holds: the prefix without its last token, the space,
        which joins the placeholder.  Elsewhere: the tokens that prefix and text have in common.
        """
        if prefix is None:
            return 0
        prefix_ids = self._encode(prefix)
        if prefix.endswith(" "):
            return len(prefix_ids) - 1
        shared = 0
        while shared < len(prefix_ids) and token_ids[shared] == prefix_ids[shared]:
            shared += 1
        return shared

    def _encode(self, text: str) -> list[int]:
        return list(self.tokenizer.encode(text, add_special_tokens=False))


def split_target(
    token_ids: Sequence[int], prompt_ids: Sequence[int]
) -> tuple[list[int], list[int]]:
    """Split tokens into the prompt and what follows it.

    Raises:
        InvalidArgumentError: ``token_ids`` does not start with ``prompt_ids``.
    """
    length = len(prompt_ids)
    if list(token_ids[:length]) != list(prompt_ids):
        raise InvalidArgumentError("token_ids", "tokens that start with the prompt's", token_ids)
    return list(token_ids[:length]), list(token_ids[length:])


def left_pad(rows: Sequence[Sequence[int]], pad_token_id: int) -> tuple[Tensor, Tensor]:
    """Stack rows of tokens, padded on the left.

    Returns:
        Tokens ``[B, P]`` int64 and mask ``[B, P]`` bool, True where a token is real.
    """
    longest = max(map(len, rows), default=0)
    token_ids = torch.full((len(rows), longest), pad_token_id, dtype=torch.int64)
    mask = torch.zeros(len(rows), longest, dtype=torch.bool)
    for i, row in enumerate(rows):
        token_ids[i, longest - len(row) :] = torch.tensor(row, dtype=torch.int64)
        mask[i, longest - len(row) :] = True
    return token_ids, mask


def _check_content(argument: str, content: str) -> None:
    for marker in _MARKERS:
        if marker in content:
            raise InvalidArgumentError(argument, f"text without the chat marker {marker}", content)
