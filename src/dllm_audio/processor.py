"""``AudioDiffusionProcessor``: conversations and clips to the inputs of ``generate``."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypeAlias

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence
from transformers import BatchFeature, PreTrainedTokenizerBase, ProcessorMixin

from .audio import load_waveform
from .errors import CheckpointError, InvalidArgumentError
from .files import read_json, read_text, write_json, write_text
from .prompts import SYSTEM_PROMPT, ChatTemplate, Conversation, load_tokenizer, read_conversation
from .protocols import AudioSource, Tokenizer
from .weights import resolve_directory

CONFIG, TEMPLATE = "processor_config.json", "chat_template.jinja"
Conversations: TypeAlias = Conversation | Sequence[Conversation]
_MAX_TEMPLATE = 2**20


class AudioDiffusionProcessor(ProcessorMixin):
    """Turns conversations with audio blocks into tensors for ``AudioDiffusionLM.generate``.

    The encoder owns its front end, so what leaves the processor are waveforms, not features.

    Args:
        tokenizer: of transformers.
        chat_template: jinja; None: LLaDA's for its tokenizers, else the tokenizer's own.
        sampling_rate: that the encoder expects, in Hz.
        system: text of the system turn where a conversation has none; None leaves it out.

    Example:
        >>> from dllm_audio.toy import clips, small_model
        >>> model = small_model()
        >>> clip = {"type": "audio", "path": clips()[0].path}
        >>> question = {"type": "text", "text": "What is said?"}
        >>> inputs = model.processor.apply_chat_template(
        ...     [{"role": "user", "content": [clip, question]}], tokenize=True, return_dict=True)
        >>> sorted(inputs)
        ['attention_mask', 'audio_lengths', 'audio_rows', 'audio_start', 'input_ids', 'waveforms']
        >>> model.generate(**inputs).texts
        ['three seven five six']
    """

    def __init__(
        self,
        tokenizer: Tokenizer,
        chat_template: str | None = None,
        sampling_rate: int = 16000,
        system: str | None = SYSTEM_PROMPT,
    ) -> None:
        given: object = tokenizer
        if not isinstance(given, PreTrainedTokenizerBase):
            expected = "a transformers tokenizer, which alone can be saved"
            raise InvalidArgumentError("tokenizer", expected, type(tokenizer).__name__)
        template = ChatTemplate(tokenizer, system, chat_template)
        super().__init__(tokenizer, chat_template=template.template)
        self.chat_template: str = template.template
        self.sampling_rate, self.system = sampling_rate, system

    def apply_chat_template(  # type: ignore[override]
        self,
        conversation: Conversations,
        chat_template: str | None = None,
        *,
        add_generation_prompt: bool = True,
        tokenize: bool = False,
        return_dict: bool = False,
        return_tensors: str = "pt",
    ) -> Any:
        """Text or model inputs of one conversation or a batch.

        Args:
            conversation: turns with ``role`` and ``content`` (a text, or blocks of type ``text``
                and ``audio``), or a list of such conversations.
            chat_template: jinja; None: the processor's.
            add_generation_prompt: end with the header of the assistant's turn; without it there is
                text only.
            tokenize: give tensors; otherwise the text.
            return_dict: with ``tokenize``, all inputs of ``generate``; otherwise the ids alone.
            return_tensors: ``"pt"``.

        Returns:
            The text (a list of them for a batch); or ids ``[B, P]``; or a ``BatchFeature`` as
            :meth:`__call__` gives it.

        Raises:
            InvalidArgumentError: a conversation that is not one, or another kind of tensors.
            AudioError: a clip that cannot be used.
        """
        if return_tensors != "pt":
            raise InvalidArgumentError("return_tensors", "'pt'", repr(return_tensors))
        batch, single = as_batch(conversation)
        if tokenize:
            if not add_generation_prompt:
                raise InvalidArgumentError("add_generation_prompt", "True, to tokenize", False)
            inputs = self(batch, chat_template)
            return inputs if return_dict else inputs["input_ids"]
        template = self.template(chat_template)
        texts = [
            template.text(read_conversation(each).turns, add_generation_prompt) for each in batch
        ]
        return texts[0] if single else texts

    def __call__(
        self, conversations: Sequence[Conversation], chat_template: str | None = None
    ) -> BatchFeature:
        """Inputs of ``generate`` for a batch of conversations.

        Returns:
            ``input_ids [B, P]`` int64 and ``attention_mask [B, P]`` bool, left-padded; and where
            there are clips, ``waveforms [N, T]`` float32 (right-padded), ``audio_lengths [N]``
            samples, ``audio_start [N]`` and ``audio_rows [N]`` int64.
        """
        plain = [
            read_conversation(each, f"messages[{row}]") for row, each in enumerate(conversations)
        ]
        prompts = self.template(chat_template).batch(
            [each.turns for each in plain], [len(each.clips) for each in plain]
        )
        inputs = {"input_ids": prompts.prompt_ids, "attention_mask": prompts.prompt_mask}
        clips = [clip for each in plain for clip in each.clips]
        if clips:
            inputs |= self.waveforms(clips)
            inputs |= {"audio_start": prompts.audio_start, "audio_rows": prompts.audio_rows}
        return BatchFeature(inputs)

    def waveforms(self, clips: Sequence[AudioSource]) -> dict[str, Tensor]:
        """``waveforms [N, T]``, right-padded, and ``audio_lengths [N]``."""
        loaded = [load_waveform(clip, self.sampling_rate).float().cpu() for clip in clips]
        lengths = torch.tensor([len(waveform) for waveform in loaded])
        return {"waveforms": pad_sequence(loaded, batch_first=True), "audio_lengths": lengths}

    def template(self, chat_template: str | None = None) -> ChatTemplate:
        """What builds the prompts."""
        return ChatTemplate(self.tokenizer, self.system, chat_template or self.chat_template)

    def save_pretrained(self, save_directory: str | Path) -> list[Path]:  # type: ignore[override]
        """Write tokenizer, template and settings into a folder."""
        folder = Path(save_directory)
        folder.mkdir(parents=True, exist_ok=True)
        self.tokenizer.save_pretrained(folder)
        write_text(folder / TEMPLATE, self.chat_template)
        settings = {"sampling_rate": self.sampling_rate, "system": self.system}
        write_json(folder / CONFIG, {"processor_class": type(self).__name__, **settings})
        return [folder / TEMPLATE, folder / CONFIG]

    @classmethod
    def from_pretrained(  # type: ignore[override]
        cls,
        pretrained_model_name_or_path: str | Path,
        *,
        revision: str | None = None,
        **hub_options: object,
    ) -> AudioDiffusionProcessor:
        """Load what :meth:`save_pretrained` wrote; only its own few files are read.

        Raises:
            CheckpointError: missing or damaged files.
        """
        patterns = ("*.json", TEMPLATE)
        folder = resolve_directory(pretrained_model_name_or_path, revision, patterns)
        return cls(load_tokenizer(folder), **read_settings(folder))


def as_batch(conversation: Conversations) -> tuple[Sequence[Conversation], bool]:
    """A list of conversations, and whether there was just one."""
    if isinstance(conversation, str | Mapping) or not isinstance(conversation, Sequence):
        raise InvalidArgumentError("messages", "a conversation or a list of them", conversation)
    if not conversation:
        raise InvalidArgumentError("messages", "at least one turn", conversation)
    single = isinstance(conversation[0], Mapping)
    return ([conversation] if single else conversation), single  # type: ignore[list-item, return-value]


def read_settings(folder: Path) -> dict[str, Any]:
    """Arguments of a processor from a folder: template, sampling rate, system text.

    Raises:
        CheckpointError: damaged, or values of another kind.
    """
    settings: dict[str, Any] = {}
    if (folder / CONFIG).exists():
        found = read_json(folder / CONFIG)
        for name, kinds in (("sampling_rate", int), ("system", str | None)):
            if name in found and not isinstance(found[name], kinds):
                got = json.dumps(found[name])[:80]
                raise CheckpointError(f"{folder / CONFIG}: {name}: expected {kinds}, got {got}")
            if name in found:
                settings[name] = found[name]
    path = folder / TEMPLATE
    if path.exists():
        settings["chat_template"] = read_text(path, CheckpointError, _MAX_TEMPLATE)
    return settings
