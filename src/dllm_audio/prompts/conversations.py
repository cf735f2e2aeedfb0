"""Conversations as transformers writes them: turns whose content is a text or a list of blocks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

from ..errors import InvalidArgumentError
from ..protocols import AudioSource
from .template import AUDIO_INTRODUCTION, AUDIO_PLACEHOLDER

_ROLES = ("system", "user", "assistant")
_SOURCES = ("audio", "path", "url")


# A turn: ``role`` (system, user or assistant) and ``content``, a text or a list of blocks. A block
# is ``{"type": "text", "text": ...}`` or ``{"type": "audio", "audio": ...}``; the clip may also
# stand under ``path`` or ``url``.
Turn: TypeAlias = Mapping[str, object]
Conversation: TypeAlias = Sequence[Turn]


@dataclass(frozen=True, slots=True)
class PlainConversation:
    """A conversation as text, apart from its clips.

    Attributes:
        turns: ``role`` and text ``content``; ``<audio>`` stands where a clip was.
        clips: in the order of their places.
    """

    turns: list[dict[str, str]]
    clips: list[AudioSource]


def read_conversation(conversation: Conversation, where: str = "messages") -> PlainConversation:
    """Separate a conversation's text from its clips.

    An audio block in front of everything gets the introduction that DIFFA was trained with, one
    between texts leaves ``<audio>`` at its place.

    Args:
        conversation: turns that end with a user's.
        where: named in errors.

    Raises:
        InvalidArgumentError: something else than turns with text and audio blocks; names the turn.

    Example:
        >>> audio = {"type": "audio", "path": "clip.wav"}
        >>> text = {"type": "text", "text": "What is said?"}
        >>> read_conversation([{"role": "user", "content": [audio, text]}])
        PlainConversation(turns=[{'role': 'user', 'content': 'This is the audio: <audio>. What is \
said?'}], clips=['clip.wav'])
    """
    if isinstance(conversation, str | Mapping) or not isinstance(conversation, Sequence):
        raise InvalidArgumentError(where, "a list of turns", type(conversation).__name__)
    turns: list[dict[str, str]] = []
    clips: list[AudioSource] = []
    for number, turn in enumerate(conversation):
        place = f"{where}[{number}]"
        if not isinstance(turn, Mapping) or not {"role", "content"} <= turn.keys():
            raise InvalidArgumentError(place, "a turn with 'role' and 'content'", repr(turn))
        if turn["role"] not in _ROLES:
            raise InvalidArgumentError(f"{place}.role", f"one of {_ROLES}", repr(turn["role"]))
        text, found = _read_content(turn["content"], f"{place}.content")
        if found and turn["role"] != "user":
            raise InvalidArgumentError(f"{place}.content", "audio in user turns only", turn["role"])
        turns.append({"role": str(turn["role"]), "content": text})
        clips += found
    if not turns or turns[-1]["role"] != "user":
        got = turns[-1]["role"] if turns else "no turn"
        raise InvalidArgumentError(where, "a user's turn at the end", got)
    return PlainConversation(turns, clips)


def _read_content(content: Any, where: str) -> tuple[str, list[AudioSource]]:
    if isinstance(content, str):
        content = [{"type": "text", "text": content}]
    if not isinstance(content, Sequence):
        raise InvalidArgumentError(where, "a text or a list of blocks", type(content).__name__)
    parts: list[str] = []
    clips: list[AudioSource] = []
    for number, block in enumerate(content):
        kind = block.get("type") if isinstance(block, Mapping) else None
        if kind == "text" and isinstance(block.get("text"), str):
            if AUDIO_PLACEHOLDER in block["text"]:
                expected = f"text without {AUDIO_PLACEHOLDER}; an audio block marks the place"
                raise InvalidArgumentError(f"{where}[{number}]", expected, block["text"])
            parts.append(block["text"])
        elif kind == "audio":
            key = next((name for name in _SOURCES if block.get(name) is not None), None)
            if key is None:
                raise InvalidArgumentError(f"{where}[{number}]", f"one of {_SOURCES}", repr(block))
            parts.append(AUDIO_PLACEHOLDER if parts else AUDIO_INTRODUCTION)
            clips.append(block[key])
        else:
            expected = "a block of type 'text' or 'audio'"
            raise InvalidArgumentError(f"{where}[{number}]", expected, repr(block))
    return _joined(parts), clips


def _joined(parts: list[str]) -> str:
    """The parts, with a space between those that have none."""
    text = ""
    for part in parts:
        text += part if not text or text[-1].isspace() or part[:1].isspace() else f" {part}"
    return text
