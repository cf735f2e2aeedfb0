"""The chat text of LLaDA, its tokens, and the place where the audio goes.

Shapes: B batch, P prompt tokens.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ..errors import InvalidArgumentError
from ..protocols import Tokenizer
from .tokens import left_pad, split_target

Message = Mapping[str, str]  # a turn: role and content

AUDIO_PLACEHOLDER = "<audio>"
AUDIO_INTRODUCTION = f"This is the audio: {AUDIO_PLACEHOLDER}. "
SYSTEM_PROMPT = "You are a helpful voice assistant."
# What DIFFA-2 was trained with; its published inference uses the sentence above alone.
TRAINING_SYSTEM_PROMPT = (
    f"{SYSTEM_PROMPT} Imagine you can hear the audio clips. "
    "Focus on the audios and respond directly to the prompts."
)

# LLaDA's markers in the jinja language of transformers; a block of audio becomes the introduction.
LLADA_TEMPLATE = (
    "{{ '<|startoftext|>' }}{% for message in messages %}"
    "{{ '<|start_header_id|>' + message['role'] + '<|end_header_id|>\n\n' }}"
    "{% if message['content'] is string %}{{ message['content'] }}{% else %}"
    "{% for block in message['content'] %}"
    "{{ 'This is the audio: <audio>. ' if block['type'] == 'audio' else block['text'] }}"
    "{% endfor %}{% endif %}{{ '<|eot_id|>' }}{% endfor %}"
    "{% if add_generation_prompt %}"
    "{{ '<|start_header_id|>assistant<|end_header_id|>\n\n' }}{% endif %}"
)
# For tokenizers that know no chat at all.
PLAIN_TEMPLATE = (
    "{% for message in messages %}{{ message['role'] + ': ' }}"
    "{% if message['content'] is string %}{{ message['content'] }}{% else %}"
    "{% for block in message['content'] %}"
    "{{ 'This is the audio: <audio>. ' if block['type'] == 'audio' else block['text'] }}"
    "{% endfor %}{% endif %}{{ '\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ 'assistant: ' }}{% endif %}"
)
_END_OF_TURN, _PAD, _MASK = "<|eot_id|>", "<|endoftext|>", "<|mdm_mask|>"
_HEADER_START = "<|start_header_id|>"
_MARKERS = ("<|startoftext|>", _HEADER_START, "<|end_header_id|>", _END_OF_TURN, _PAD)


@dataclass(frozen=True, slots=True)
class PromptBatch:
    """Tokenized prompts, ready for ``condition``.

    Attributes:
        prompt_ids: ``[B, P]`` int64, left-padded.
        prompt_mask: ``[B, P]`` bool, True where a token is real.
        audio_start: ``[N]`` int64, one per clip: its embeddings go in front of the prompt token
            with this index, counted from the first real token of its row.
        audio_rows: ``[N]`` int64, the row of every clip, rising.
    """

    prompt_ids: Tensor
    prompt_mask: Tensor
    audio_start: Tensor
    audio_rows: Tensor


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
    """Build chat prompts with the audio placeholder of DIFFA.

    The user's text is ``This is the audio: <audio>. {instruction}``.  An instruction that holds
    ``<audio>`` itself is taken as the whole text.  The placeholder stays in the prompt as ordinary
    tokens; the embeddings are inserted in front of it.

    Args:
        tokenizer: with LLaDA's chat markers as single tokens, with a chat template of its own, or
            any other (then a plain text of ``role: content`` lines is made).
        system: text of the system turn where a conversation has none; None leaves the turn out.
        template: jinja chat template; None: LLaDA's for its tokenizers, else the tokenizer's own.

    Raises:
        InvalidArgumentError: a tokenizer that knows only some of LLaDA's markers, or ``system``
            holds one.

    Example:
        >>> from dllm_audio.toy import small_model
        >>> template = ChatTemplate(small_model().tokenizer)
        >>> batch = template(["What is said?", "Who are you?"], has_audio=[True, False])
        >>> batch.audio_rows
        tensor([0])
    """

    def __init__(
        self,
        tokenizer: Tokenizer,
        system: str | None = SYSTEM_PROMPT,
        template: str | None = None,
    ) -> None:
        self.tokenizer, self.system = tokenizer, system
        self.published = len(self._encode(_HEADER_START)) == 1
        if self.published:
            for marker in _MARKERS:
                if len(ids := self._encode(marker)) != 1:
                    raise InvalidArgumentError("tokenizer", f"one token for {marker}", ids)
        default = LLADA_TEMPLATE if self.published else PLAIN_TEMPLATE
        own = None if self.published else getattr(tokenizer, "chat_template", None)
        self.template = template or (own if isinstance(own, str) else default)
        self.markers = (*_MARKERS, _MASK, *_special_tokens(tokenizer))
        self.pad_token_id, self.end_of_turn_id = self._end_ids()
        if system is not None:
            self._check("system", system)

    def _end_ids(self) -> tuple[int, int]:
        """What pads, and what ends a turn."""
        if self.published:
            return self._encode(_PAD)[0], self._encode(_END_OF_TURN)[0]
        names = ("eos_token_id", "sep_token_id", "pad_token_id")
        found = next(
            (i for n in names if (i := getattr(self.tokenizer, n, None)) is not None), None
        )
        if found is None:
            raise InvalidArgumentError("tokenizer", f"one that has one of {names}", None)
        closing = self.render([{"role": "user", "content": "a"}], False).rpartition("a")[2].strip()
        ends = self._encode(closing) if closing else []
        return found, ends[0] if closing in self.markers and ends else found

    def render(self, messages: Sequence[Message], add_generation_prompt: bool = True) -> str:
        """Chat text of ``messages`` (each with ``role`` and ``content``).

        Raises:
            InvalidArgumentError: the template does not take these messages.
        """
        from jinja2.exceptions import TemplateError
        from transformers.utils.chat_template_utils import render_jinja_template

        names: dict[str, Any] = {
            f"{name}_token": getattr(self.tokenizer, f"{name}_token", None) or ""
            for name in ("bos", "eos")
        }
        try:
            rendered: Any = render_jinja_template(
                conversations=[[dict(message) for message in messages]],
                chat_template=self.template,
                add_generation_prompt=add_generation_prompt,
                **names,
            )
        except (TemplateError, TypeError, ValueError) as error:
            expected = "turns that the chat template takes"
            raise InvalidArgumentError("messages", expected, error) from error
        return str(rendered[0][0])

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
        pairs = zip(instructions, flags, strict=True)
        turns = [[self._user(text, audio)] for text, audio in pairs]
        return self.batch(turns, [int(flag) for flag in flags], "instructions")

    def batch(
        self,
        conversations: Sequence[Sequence[Message]],
        clips: Sequence[int],
        argument: str = "messages",
    ) -> PromptBatch:
        """Tokenize conversations that end with a user's turn.

        Args:
            conversations: one list of turns a row, each with ``role`` and a text ``content`` in
                which ``<audio>`` marks the place of every clip.
            clips: how many each row has.
            argument: name of the texts in errors.

        Raises:
            InvalidArgumentError: numbers of clips and placeholders that disagree, or a chat marker
                in a text.
        """
        rows, starts, owners = [], [], []
        for number, (turns, count) in enumerate(zip(conversations, clips, strict=True)):
            text = self.render(self._checked(turns, count, argument))
            rows.append(self._encode(text))
            found = self._audio_starts(rows[-1], text)
            starts += found
            owners += [number] * len(found)
        prompt_ids, prompt_mask = left_pad(rows, self.pad_token_id)
        places = torch.tensor([starts, owners], dtype=torch.int64)
        return PromptBatch(prompt_ids, prompt_mask, places[0], places[1])

    def text(self, turns: Sequence[Message], add_generation_prompt: bool = True) -> str:
        """Chat text of a conversation, with the system's turn in front."""
        clips = sum(turn["content"].count(AUDIO_PLACEHOLDER) for turn in turns)
        return self.render(self._checked(turns, clips, "messages"), add_generation_prompt)

    def training_example(
        self, instruction: str, target: str, has_audio: bool = True
    ) -> TrainingExample:
        """Tokenize an exchange for training.

        The prompt ends with the user's turn: the assistant's header belongs to the target.

        Raises:
            InvalidArgumentError: as in ``__call__``, or the target holds a chat marker.
        """
        self._check("target", target)
        turns = self._checked([self._user(instruction, has_audio)], has_audio, "instructions")
        text = self.render(turns, add_generation_prompt=False)
        answered = [*turns, {"role": "assistant", "content": target}]
        full = self.render(answered, add_generation_prompt=False)
        prompt_ids, target_ids = split_target(self._encode(full), self._encode(text))
        starts = self._audio_starts(prompt_ids, text)
        return TrainingExample(prompt_ids, target_ids, starts[0] if starts else 0)

    def answer(self, text: str, argument: str = "text") -> list[int]:
        """Tokens of an answer, without the space around it and without its end.

        Raises:
            InvalidArgumentError: it holds a special token, or no token at all.
        """
        self._check(argument, text)
        ids = self._encode(text.strip())
        if not ids:
            raise InvalidArgumentError(argument, "a text that the tokenizer knows", repr(text))
        return ids

    def _user(self, instruction: str, has_audio: bool) -> Message:
        if has_audio and AUDIO_PLACEHOLDER not in instruction:
            instruction = AUDIO_INTRODUCTION + instruction
        return {"role": "user", "content": instruction}

    def _checked(self, turns: Sequence[Message], clips: int, argument: str) -> list[Message]:
        """The turns with the system's in front."""
        for turn in turns:
            self._check(argument, turn["role"])
            self._check(argument, turn["content"])
        found = sum(turn["content"].count(AUDIO_PLACEHOLDER) for turn in turns)
        if found != clips:
            said = {0: "no clip", 1: "one clip"}.get(int(clips), f"{clips} clips")
            expected = f"as many {AUDIO_PLACEHOLDER} as clips ({said})"
            raise InvalidArgumentError(argument, expected, found)
        if self.system is None or (turns and turns[0]["role"] == "system"):
            return list(turns)
        return [{"role": "system", "content": self.system}, *turns]

    def _check(self, argument: str, content: str) -> None:
        try:
            content.encode()
        except UnicodeEncodeError as error:
            expected = "text that UTF-8 can hold (no lone surrogates)"
            raise InvalidArgumentError(argument, expected, ascii(content)[:80]) from error
        for marker in self.markers:
            if marker in content:
                raise InvalidArgumentError(
                    argument, f"text without the chat marker {marker}", content
                )

    def _audio_starts(self, token_ids: Sequence[int], text: str) -> list[int]:
        """Indices of the tokens that each clip is inserted in front of.

        After a space the published rule holds: the prefix without its last token, the space,
        which joins the placeholder.  Elsewhere: the tokens that prefix and text have in common.
        """
        starts, end = [], text.find(AUDIO_PLACEHOLDER)
        while end >= 0:
            prefix_ids = self._encode(text[:end])
            if self.published and text[:end].endswith(" "):
                starts.append(len(prefix_ids) - 1)
            else:
                pairs = zip(prefix_ids, token_ids, strict=False)
                shared = next((i for i, (a, b) in enumerate(pairs) if a != b), None)
                starts.append(min(len(prefix_ids), len(token_ids)) if shared is None else shared)
            end = text.find(AUDIO_PLACEHOLDER, end + 1)
        return starts

    def _encode(self, text: str) -> list[int]:
        return list(self.tokenizer.encode(text, add_special_tokens=False))


def _special_tokens(tokenizer: Tokenizer) -> list[str]:
    """Texts that the tokenizer reads as one special token, wherever they stand."""
    added: Mapping[int, Any] = getattr(tokenizer, "added_tokens_decoder", {})
    special = [str(token) for token in added.values() if getattr(token, "special", False)]
    named = map(str, getattr(tokenizer, "all_special_tokens", ()))
    return [token for token in dict.fromkeys((*named, *special)) if token != AUDIO_PLACEHOLDER]
