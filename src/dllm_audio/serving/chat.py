"""Chat completions: OpenAI's request read strictly, and its answers in OpenAI's form."""

from __future__ import annotations

import base64
import binascii
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ..errors import AudioError, InvalidArgumentError
from ..model import AudioDiffusionLM
from ..prompts import read_conversation
from .answering import Answered, Draft
from .decoding import Decoding, read_decoding
from .fields import Fields
from .refusals import ApiError, invalid, translated
from .settings import ServerSettings
from .sounds import hear, window_of

FORMATS = ("wav", "mp3", "flac", "ogg", "oga", "opus", "aiff", "au", "caf")
_MOST_TURNS, _MOST_BLOCKS = 256, 256
_MOST_CHARACTERS = 16  # for each position that the model knows: no tokenizer makes longer tokens
_POSITIONS = 32768  # where a model says nothing
_ROLES = {"developer": "system"}
# Fields of OpenAI's that may only say what is the case here anyway.
_NEUTRAL: Mapping[str, tuple[object, ...]] = {
    "n": (1,), "top_p": (1, 1.0), "frequency_penalty": (0, 0.0), "presence_penalty": (0, 0.0),
    "logprobs": (False,), "store": (False,), "modalities": (["text"],),
    "response_format": ({"type": "text"},), "tools": ([],), "parallel_tool_calls": (False,),
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class ChatRequest:
    """A chat completion that somebody wants.

    Attributes:
        conversation: turns with waveforms in audio blocks, as the model's processor takes them.
        decoding: how it is decoded.
        stream: piece by piece.
        usage: a stream ends with what it took.
        seconds: of sound.
    """

    conversation: list[dict[str, Any]]
    decoding: Decoding
    stream: bool
    usage: bool
    seconds: float


def read_chat(
    values: object, model: AudioDiffusionLM, settings: ServerSettings, seed: int
) -> ChatRequest:
    """Read a request's body.

    Args:
        values: the JSON value.
        model: answers it.
        settings: limits.
        seed: where the request names none.

    Raises:
        ApiError: anything that is missing, unknown, of another type or out of range.
    """
    if not isinstance(values, Mapping):
        raise ApiError(400, "body: expected a JSON object", "body")
    fields = Fields(values)
    check_model(fields, settings.name)
    turns = fields.required("messages", "a list of turns")
    stream = fields.flag("stream")
    options = fields.take("stream_options")
    if options is not None and not (stream and isinstance(options, Mapping)):
        raise invalid("stream_options", "an object beside stream: true", options)
    wanted = Fields(options or {}, "stream_options")
    usage = wanted.flag("include_usage")
    wanted.neutral("include_obfuscation", False)
    wanted.end()
    decoding = read_decoding(fields, model, settings.max_tokens, seed)
    for name, allowed in _NEUTRAL.items():
        fields.neutral(name, *allowed)
    for name in ("user", "safety_identifier", "prompt_cache_key"):
        fields.text(name)
    fields.end()
    reader = _Reader(model, settings.max_audio_seconds)
    conversation = reader.turns(turns)
    try:
        plain = read_conversation(conversation)
    except InvalidArgumentError as error:
        raise translated(error) from error
    _check_length(model, "".join(turn["content"] for turn in plain.turns))
    return ChatRequest(conversation, decoding, stream, usage, reader.heard)


def check_model(fields: Fields, name: str) -> None:
    """The request asks for the model that is there, or for none."""
    asked = fields.text("model")
    if asked is not None and asked != name:
        shown = asked if len(asked) <= 80 and asked.isprintable() else f"{asked[:40]!a}..."
        raise ApiError(404, f"model: expected {name}, got {shown}", "model", code="model_not_found")


def _check_length(model: AudioDiffusionLM, text: str) -> None:
    limit = getattr(model.backbone.config, "max_sequence_length", None) or _POSITIONS
    count = len(text)
    if count <= _MOST_CHARACTERS * limit:
        count = len(model.tokenizer.encode(text, add_special_tokens=False))
        if count <= limit:
            return
    raise ApiError(
        400,
        f"messages: expected texts of at most {limit} tokens, got more",
        "messages",
        "context_length_exceeded",
    )


class _Reader:
    """Turns of a request, with the sound in them decoded within bounds."""

    def __init__(self, model: AudioDiffusionLM, most_seconds: float) -> None:
        self._encoder = model.encoder
        self._most = most_seconds
        self.heard = 0.0

    def turns(self, turns: object) -> list[dict[str, Any]]:
        if not isinstance(turns, list) or not 1 <= len(turns) <= _MOST_TURNS:
            raise invalid("messages", f"a list of 1 to {_MOST_TURNS} turns", turns)
        return [self._turn(turn, f"messages[{number}]") for number, turn in enumerate(turns)]

    def _turn(self, turn: object, where: str) -> dict[str, Any]:
        if not isinstance(turn, Mapping):
            raise invalid(where, "an object with 'role' and 'content'", turn)
        fields = Fields(turn, where)
        role = fields.required("role", "system, developer, user or assistant")
        content = fields.required("content", "a text or a list of blocks")
        fields.text("name")
        if role == "assistant":  # as OpenAI's own answers come back
            fields.take("refusal"), fields.take("annotations"), fields.take("audio")
            fields.neutral("tool_calls", [])
        fields.end()
        if not isinstance(role, str) or role not in ("system", "developer", "user", "assistant"):
            raise invalid(fields.path("role"), "system, developer, user or assistant", role)
        if isinstance(content, list):
            path = fields.path("content")
            if not 1 <= len(content) <= _MOST_BLOCKS:
                raise invalid(path, f"1 to {_MOST_BLOCKS} blocks", len(content))
            content = [self._block(b, f"{path}[{number}]") for number, b in enumerate(content)]
        elif not isinstance(content, str):
            raise invalid(fields.path("content"), "a text or a list of blocks", content)
        return {"role": _ROLES.get(role, role), "content": content}

    def _block(self, block: object, where: str) -> dict[str, Any]:
        if not isinstance(block, Mapping):
            raise invalid(where, "a block of type text or input_audio", block)
        fields = Fields(block, where)
        kind = fields.required("type", "text or input_audio")
        if kind == "text":
            text = fields.required("text", "a text")
            fields.end()
            if not isinstance(text, str):
                raise invalid(fields.path("text"), "a text", text)
            return {"type": "text", "text": text}
        if kind != "input_audio":
            raise invalid(fields.path("type"), "text or input_audio", kind)
        sound = fields.required("input_audio", "an object with 'data' and 'format'")
        fields.end()
        where = fields.path("input_audio")
        if not isinstance(sound, Mapping):
            raise invalid(where, "an object with 'data' and 'format'", sound)
        return {"type": "audio", "audio": self._clip(Fields(sound, where), where)}

    def _clip(self, fields: Fields, where: str) -> Any:
        path = fields.path("data")
        text = fields.required("data", "a sound file in base64")
        fields.text("format", FORMATS)  # what it is shows in the file itself
        fields.end()
        if not isinstance(text, str):
            raise invalid(path, "a sound file in base64", text)
        try:
            data = base64.b64decode(text.encode("ascii"), validate=True)
        except (UnicodeEncodeError, binascii.Error, ValueError) as error:
            raise invalid(path, "base64 without anything else", text) from error
        window = window_of(self._encoder)
        try:
            clips = hear(data, self._encoder, min(window, self._most - self.heard))
        except AudioError as error:
            raise translated(error, path) from error
        self.heard += clips[-1].end
        return clips[0].waveform


def completion(identifier: str, created: int, name: str, found: Answered) -> dict[str, Any]:
    """A whole answer as ``chat.completion``."""
    message = {"role": "assistant", "content": found.text, "refusal": None}
    return {
        "id": identifier,
        "object": "chat.completion",
        "created": created,
        "model": name,
        "choices": [
            {"index": 0, "message": message, "logprobs": None, "finish_reason": _reason(found)}
        ],
        "usage": usage(found),
        "denoising": {"passes": found.nfe, "confidence": finite(found.confidence)},
    }


@dataclass(frozen=True, slots=True)
class Chunks:
    """The pieces of a streamed answer as ``chat.completion.chunk``.

    Attributes:
        identifier: of the answer.
        created: seconds since 1970.
        name: of the model.
    """

    identifier: str
    created: int
    name: str

    def first(self) -> dict[str, Any]:
        """Who speaks."""
        return self._chunk({"role": "assistant", "content": ""})

    def step(self, new: str, draft: Draft) -> dict[str, Any]:
        """What became known in a pass, and the draft as an extension."""
        piece = self._chunk({"content": new} if new else {})
        return {**piece, "denoising": {"passes": draft.nfe, "draft": draft.text}}

    def last(self, new: str, found: Answered) -> dict[str, Any]:
        """The rest, and why it ends."""
        piece = self._chunk({"content": new} if new else {}, _reason(found))
        extra = {"passes": found.nfe, "draft": found.text}
        return {**piece, "denoising": {**extra, "confidence": finite(found.confidence)}}

    def usage(self, found: Answered) -> dict[str, Any]:
        """What it took, without a choice."""
        return {**self._chunk({}), "choices": [], "usage": usage(found)}

    def _chunk(self, delta: dict[str, Any], reason: str | None = None) -> dict[str, Any]:
        choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": reason}
        return {
            "id": self.identifier,
            "object": "chat.completion.chunk",
            "created": self.created,
            "model": self.name,
            "choices": [choice],
        }


def usage(found: Answered) -> dict[str, int]:
    """Tokens of prompt (sound included) and answer."""
    return {
        "prompt_tokens": found.prompt_tokens,
        "completion_tokens": found.tokens,
        "total_tokens": found.prompt_tokens + found.tokens,
    }


def finite(confidence: float) -> float | None:
    """A confidence for JSON; None where there was no token to be sure of."""
    return None if math.isnan(confidence) else round(confidence, 4)


def _reason(found: Answered) -> str:
    return "stop" if found.ended else "length"
