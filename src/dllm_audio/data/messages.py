"""Conversations with audio content blocks, as transformers' chat templates take them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ..prompts import AUDIO_PLACEHOLDER
from .fields import Row


@dataclass(frozen=True, slots=True)
class Turn:
    """One exchange: what the user says about a clip, and the answer where there is one."""

    audio: Any
    instruction: str
    answer: str | None
    system: str | None


def read_conversation(row: Row, name: str, answered: bool) -> Turn:
    """Read the turns of ``row[name]``: an optional system turn, one user turn, one answer.

    An audio block in front of the text gets the usual introduction from the prompt template; one
    elsewhere leaves ``<audio>`` at its place.

    Args:
        row: holds the conversation.
        name: field that it is in.
        answered: whether an assistant's turn must end it; otherwise there must be none.

    Raises:
        DataError: another order of turns, an unknown block, or more than one clip.
    """
    messages = row.values[name]
    if not messages:
        raise row.error(name, "a list of messages", messages)
    for message in messages:
        if not isinstance(message, Mapping) or "role" not in message or "content" not in message:
            raise row.error(name, "messages with 'role' and 'content'", message)
    roles = [message["role"] for message in messages]
    expected = ["user", "assistant"] if answered else ["user"]
    if roles[-len(expected) :] != expected or roles[: -len(expected)] not in ([], ["system"]):
        wanted = " and ".join(f"one {role} turn" for role in expected)
        raise row.error(name, f"{wanted}, after at most a system turn", roles)
    user = messages[roles.index("user")]
    audio, instruction = _read_blocks(row, f"{name}[user]", user["content"])
    system = None
    if roles[0] == "system":
        _, system = _read_blocks(row, f"{name}[system]", messages[0]["content"], clips=False)
    answer = None
    if answered:
        _, answer = _read_blocks(row, f"{name}[assistant]", messages[-1]["content"], clips=False)
    return Turn(audio, instruction, answer, system)


def read_answer(row: Row, name: str) -> str:
    """An answer given as text or as a list with one assistant's message."""
    if row.is_list(name):
        value = row.values[name]
        if len(value) != 1 or not isinstance(value[0], Mapping):
            raise row.error(name, "a text or one assistant message", value)
        return _read_blocks(row, name, value[0].get("content"), clips=False)[1]
    return row.text((name,))


def _read_blocks(row: Row, name: str, content: Any, clips: bool = True) -> tuple[Any, str]:
    if isinstance(content, str):
        content = [{"type": "text", "text": content}]
    if not isinstance(content, Sequence):
        raise row.error(name, "a text or a list of content blocks", content)
    audio, parts = None, []
    for block in content:
        kind = block.get("type") if isinstance(block, Mapping) else None
        if kind == "text" and isinstance(block.get("text"), str):
            parts.append(block["text"])
        elif kind == "audio" and clips:
            if audio is not None:
                raise row.error(name, "at most one audio block", "a second one")
            key = next((k for k in ("audio", "path", "url") if block.get(k) is not None), "audio")
            audio = row.audio_value(f"{name}.{key}", block.get(key))
            if parts:
                parts.append(AUDIO_PLACEHOLDER)
        else:
            kinds = "'text' or 'audio'" if clips else "'text'"
            raise row.error(name, f"blocks of type {kinds}", block)
    text = " ".join(part.strip() for part in parts).strip()
    if not text.replace(AUDIO_PLACEHOLDER, "").strip():
        raise row.error(name, "a text that is not blank", text)
    return audio, text
